"""Where the semantic datasets come from, and under which licence."""

from __future__ import annotations

from t4spp.components import Source

_VOC = "pictures under Flickr's terms"

COCO_STUFF_SOURCES = (
    Source(
        url="https://github.com/nightrome/cocostuff",
        licence="annotations CC BY 4.0; pictures under their Flickr licences",
        note="stuffthingmaps_trainval2017.zip with COCO's train2017 and val2017",
    ),
    Source(
        url="https://github.com/nightrome/cocostuff10k",
        licence="annotations CC BY 4.0; pictures under their Flickr licences",
        note="variant 10k: cocostuff-10k-v1.1.zip",
    ),
)
ADE20K_SOURCES = (
    Source(
        url="http://sceneparsing.csail.mit.edu",
        licence="pictures: non-commercial research and education; code and lists BSD-3",
        note="ADEChallengeData2016.zip",
    ),
)
VOC_SOURCES = (
    Source(
        url="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        licence=_VOC,
        note="VOCtrainval_11-May-2012.tar",
    ),
    Source(
        url="http://home.bharathh.info/pubs/codes/SBD/download.html",
        licence="not stated; " + _VOC,
        note="SBD's masks of the split trainaug, as SegmentationClassAug with trainaug.txt",
    ),
)
CONTEXT_SOURCES = (
    Source(
        url="https://cs.stanford.edu/~roozbeh/pascal-context/",
        licence="not stated",
        note="trainval.tar.gz: label maps of 10,103 pictures",
    ),
    Source(
        url="http://host.robots.ox.ac.uk/pascal/VOC/voc2010/",
        licence=_VOC,
        note="the pictures and the lists train and val",
    ),
)
