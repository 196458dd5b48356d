"""The backbone smol and the refiner sam on the same real weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support_smol import write_language_model

pytest.importorskip("timm", reason="smol and sam need timm (the extras smol and sam)")
pytest.importorskip("segment_anything", reason="sam needs segment-anything (the extra sam)")

from t4spp.data.conversation import Conversation
from t4spp.features import FeatureCache, shared_cache
from t4spp.plugins import load_catalogue
from t4spp.testing import build_scheme
from t4spp.types import Target
from t4spp.weights import CACHE_VARIABLE, fetch


@pytest.mark.slow
@pytest.mark.parametrize("on_disk", [True, False])
def test_a_picture_is_encoded_once_for_backbone_and_refiner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_disk: bool
) -> None:
    tower = fetch("mobilesam") / "mobile_sam.pt"
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    picture = np.full((200, 300, 3), 60, dtype=np.uint8)
    picture[40:160, 50:250] = [230, 200, 40]
    mask = picture[:, :, 0] == 230
    scheme = build_scheme("image-rrle", grid=8)
    catalogue = load_catalogue()
    smol = catalogue.build(
        "backbone",
        "smol",
        {
            "tower": str(tower),
            "language_model": str(write_language_model(tmp_path / "llama")),
            "cache_features": on_disk,
        },
    )
    sam = catalogue.build("refiner", "sam", {"weights": str(tower)})
    cache: FeatureCache = shared_cache(on_disk=on_disk)
    before = cache.counters["encoded"]

    smol.load(scheme.special_tokens)
    asked = Conversation(
        id="a", question="Where?", answer=None, size=(200, 300), load_image=lambda: picture
    )
    smol.collate([asked], training=False)
    coarse = scheme.decode(scheme.encode((Target(label="box", mask=mask),), (200, 300)), (200, 300))
    refined = sam.refine(picture, coarse)

    assert cache.counters["encoded"] == before + 1
    (region,) = refined.regions
    iou = (region.mask & mask).sum() / (region.mask | mask).sum()
    coarse_iou = (coarse.regions[0].mask & mask).sum() / (coarse.regions[0].mask | mask).sum()
    assert iou > coarse_iou
