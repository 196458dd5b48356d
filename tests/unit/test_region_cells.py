"""Regions say how coarse the grid was that their mask was written in."""

from __future__ import annotations

import numpy as np
import pytest

from t4spp.schemes.base import Scheme
from t4spp.testing import build_scheme
from t4spp.types import Target

SIZE = (96, 160)


def regions(scheme: Scheme) -> list[tuple[float, float] | None]:
    mask = np.zeros(SIZE, dtype=np.bool_)
    mask[16:64, 32:112] = True  # 48 x 80 pixels
    text = scheme.encode([Target(label="roof", mask=mask)], SIZE)
    quantized = scheme.quantize([Target(label="roof", mask=mask)], SIZE)
    decoded = scheme.decode(text, SIZE).regions
    assert [region.cell for region in quantized] == [region.cell for region in decoded]
    return [region.cell for region in decoded]


@pytest.mark.parametrize("name", ["image-full", "image-irle", "image-rrle"])
def test_cell_of_an_image_wise_region_is_the_pictures_share(name: str) -> None:
    assert regions(build_scheme(name, grid=[8, 16])) == [(12.0, 10.0)]


@pytest.mark.parametrize("name", ["semantic-brick", "next-brick"])
def test_cell_of_a_box_wise_region_is_the_boxs_share(name: str) -> None:
    assert regions(build_scheme(name, grid=[8, 16])) == [(6.0, 5.0)]
