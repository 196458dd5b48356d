from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from t4spp_plugins.backbones.nano.backbone import NanoBackbone


@pytest.fixture(scope="session")
def nano_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the package ships one, with random weights of nano's architecture."""
    from t4spp.testing import build_scheme
    from t4spp_plugins.backbones.nano.model import build_model, save_weights
    from t4spp_plugins.backbones.nano.vocabulary import build_tokenizer

    folder = tmp_path_factory.mktemp("nano") / "weights"
    tokenizer = build_tokenizer(build_scheme("next-brick").special_tokens)
    save_weights(build_model(tokenizer, seed=0), tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def nano(nano_weights: Path) -> NanoBackbone:
    """nano with those weights and the tokens of next-brick."""
    from support_nano import loaded

    from t4spp.testing import build_scheme

    return loaded(nano_weights, build_scheme("next-brick").special_tokens)


@pytest.fixture(scope="session")
def tiny_vlm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a tiny checkpoint of a family of hf-vlm, by its name; each is made once."""
    from support_hf_vlm import FAMILIES, write_checkpoint

    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp("vlm") / family
            write_checkpoint(FAMILIES[family], made[family])
        return made[family]

    return folder
