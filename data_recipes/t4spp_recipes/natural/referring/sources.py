"""Where the referring and reasoning datasets come from, and under which licence."""

from __future__ import annotations

from t4spp.components import Source

COCO_PICTURES = Source(
    url="http://images.cocodataset.org/zips/train2014.zip",
    licence="pictures under their Flickr licences",
    note="COCO's train2014 pictures, into images/mscoco/images/train2014",
)
_REFER = "the repository is Apache-2.0, the data state none; COCO's annotations CC BY 4.0"


def refer_source(archive: str, licence: str = _REFER) -> Source:
    """The archive of one REFER dataset; its own server is gone, the Web Archive keeps a copy."""
    return Source(
        url="https://web.archive.org/web/2022/https://bvisionweb1.cs.unc.edu/licheng/referit/data/"
        f"{archive}.zip",
        licence=licence,
        note=f"{archive}/ with refs(...).p and instances.json "
        "(API: https://github.com/lichengunc/refer)",
    )


REFCOCO_SOURCES = (refer_source("refcoco"), COCO_PICTURES)
REFCOCO_PLUS_SOURCES = (refer_source("refcoco+"), COCO_PICTURES)
REFCOCOG_SOURCES = (refer_source("refcocog"), COCO_PICTURES)
REFCLEF_SOURCES = (
    refer_source("refclef", "the repository is Apache-2.0, the data state none"),
    Source(
        url="https://web.archive.org/web/2022/http://bvisionweb1.cs.unc.edu/licheng/referit/data/"
        "images/saiapr_tc-12.zip",
        licence="IAPR TC-12: free of charge and without copyright restrictions (imageclef.org)",
        note="19,997 pictures, into images/saiapr_tc-12",
    ),
)
GREFCOCO_SOURCES = (
    Source(
        url="https://huggingface.co/datasets/FudanCVL/gRefCOCO",
        licence="not stated in its repository (https://github.com/henghuiding/gRefCOCO)",
        note="grefcoco/ with grefs(unc).json and instances.json",
    ),
    COCO_PICTURES,
)
REASONSEG_SOURCES = (
    Source(
        url="https://drive.google.com/drive/folders/125mewyg5Ao6tZ3ZdJ-1-E3n04LGVELqy",
        licence="not stated for the data; the code (https://github.com/dvlab-research/LISA) is "
        "Apache-2.0; pictures are of OpenImages and ScanNetv2, under their terms",
        note="ReasonSeg/ with train, val and test",
    ),
)
PHRASECUT_SOURCES = (
    Source(
        url="https://github.com/ChenyunWu/PhraseCutDataset",
        licence="not stated; Visual Genome's annotations CC BY 4.0, pictures under Flickr's terms",
        note="VGPhraseCut_v0/, which its download_dataset.py makes",
    ),
)
