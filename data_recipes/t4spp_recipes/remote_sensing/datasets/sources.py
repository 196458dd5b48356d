"""Where the published remote-sensing datasets come from, and under which licence."""

from __future__ import annotations

from t4spp.components import Source

LOVEDA_SOURCES = (
    Source(
        url="https://doi.org/10.5281/zenodo.5706578",
        licence="CC BY-NC-SA 4.0, academic use only; Google Earth's terms of use",
        note="Train.zip, Val.zip, Test.zip",
    ),
)
ISAID_SOURCES = (
    Source(
        url="https://captain-whu.github.io/iSAID/dataset.html",
        licence="academic use only",
        note="iSAID's masks: Semantic_masks and Instance_masks of train and val",
    ),
    Source(
        url="https://captain-whu.github.io/DOTA/dataset.html",
        licence="academic use only",
        note="DOTA v1.0's pictures of train, val and test",
    ),
)
RRSIS_D_SOURCES = (
    Source(
        url="https://github.com/Lsan2401/RMSIN",
        licence="not stated; pictures of DIOR, CC BY-NC 4.0",
        note="rrsisd/{refs(unc).p,instances.json} and images/rrsisd/JPEGImages",
    ),
)
REFSEGRS_SOURCES = (
    Source(
        url="https://huggingface.co/datasets/JessicaYuan/RefSegRS",
        licence="CC BY 4.0",
        note="RefSegRS.zip",
    ),
)
RISBENCH_SOURCES = (
    Source(
        url="https://github.com/HIT-SIRS/CroBIM",
        licence="CC BY 4.0; pictures of DOTA-v2 (academic use) and DIOR (CC BY-NC 4.0)",
        note="RISBench_dataset",
    ),
)
EARTHREASON_SOURCES = (
    Source(
        url="https://huggingface.co/datasets/earth-insights/EarthReason",
        licence="Apache-2.0; pictures of Million-AID and fMoW under their own terms",
        note="train, val and test, each with images, labels and QAs",
    ),
)
