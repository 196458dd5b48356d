"""Where pictures and masks lie in SAM's square, and which points are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from t4spp.types import Region
from t4spp_plugins.refiners.frames import Frame
from t4spp_plugins.refiners.points import INSIDE, NO_POINT, OUTSIDE, draw_points


def disc(size: tuple[int, int], middle: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: size[0], : size[1]]
    return (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < radius**2


def test_mask_prompt_keeps_its_proportions_and_is_padded() -> None:
    """Fault 5 of the published code: masks of oblong pictures were stretched."""
    frame = Frame(size=(100, 400))
    assert frame.inner == (256, 1024)
    soft = np.ones((100, 400), dtype=np.float32)
    logits = frame.mask_prompt(soft, 0.999)
    assert logits.shape == (256, 256)
    assert torch.all(logits[:64] > 6.9)
    assert torch.all(logits[64:] < -6.9)
    circle = frame.mask_prompt(disc((100, 400), (50, 200), 40).astype(np.float32), 0.999) > 0
    rows, columns = circle.any(1).sum(), circle.any(0).sum()
    assert abs(int(rows) - int(columns)) <= 1
    assert abs(int(rows) - 2 * 40 * 256 / 400) <= 2


def test_mask_prompt_is_the_inverse_sigmoid_of_the_occupancy() -> None:
    soft = np.full((64, 64), 0.25, dtype=np.float32)
    logits = Frame(size=(64, 64)).mask_prompt(soft, 0.999)
    assert torch.allclose(logits, torch.tensor(np.log(0.25 / 0.75), dtype=torch.float32))


def test_stretched_frame_is_covered_whole() -> None:
    frame = Frame(size=(100, 400), stretched=True)
    assert frame.inner == (1024, 1024)
    soft = np.ones((100, 400), dtype=np.float32)
    assert torch.all(frame.mask_prompt(soft, 0.999) > 0)


def test_points_land_where_their_pixels_do() -> None:
    corners = np.array([[0.0, 0.0], [400.0, 100.0]])
    assert Frame(size=(100, 400)).at(corners).tolist() == [[0, 0], [1024, 256]]
    assert Frame(size=(100, 400), stretched=True).at(corners).tolist() == [[0, 0], [1024, 1024]]


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(8, 200),
    width=st.integers(8, 200),
    stretched=st.booleans(),
)
def test_mask_that_goes_there_and_back_is_itself(height: int, width: int, stretched: bool) -> None:
    mask = disc((height, width), (height / 2, width / 3), min(height, width) / 3)
    frame = Frame(size=(height, width), stretched=stretched)
    back = frame.to_picture(frame.mask_prompt(mask.astype(np.float32), 0.999)) > 0
    assert (back != mask).sum() <= 0.5 * (back | mask).any(0).sum() + 4


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (3, 3), (1, 1), (2000, 3000)])
def test_odd_sizes_go_there_and_back(size: tuple[int, int]) -> None:
    frame = Frame(size=size)
    logits = frame.mask_prompt(np.ones(size, dtype=np.float32), 0.999)
    found = frame.to_picture(logits)
    assert found.shape == size
    assert min(frame.inner) >= 1
    assert (found > 0).mean() > 0.99


def test_to_picture_is_what_the_package_computes() -> None:
    sam = pytest.importorskip("segment_anything.modeling.sam")
    logits = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    frame = Frame(size=(300, 500))
    own = sam.Sam.__new__(sam.Sam)
    torch.nn.Module.__init__(own)
    own.image_encoder = torch.nn.Identity()
    own.image_encoder.img_size = 1024
    expected = own.postprocess_masks(logits, frame.inner, (300, 500))[0, 0]
    assert np.allclose(frame.to_picture(logits[0, 0]), expected.numpy(), atol=1e-5)


def region(mask: np.ndarray) -> Region:
    return Region(label="x", mask=mask)


def test_points_lie_on_their_sides_and_repeat_with_the_seed() -> None:
    mask = disc((40, 60), (20, 30), 9)
    places, kinds = draw_points(region(mask), picture="p", num_points=10, seed=0)
    assert kinds.tolist() == [INSIDE] * 10 + [OUTSIDE] * 10
    columns, rows = places.astype(int).T
    assert mask[rows[:10], columns[:10]].all()
    assert not mask[rows[10:], columns[10:]].any()
    assert np.all(places % 1 == 0.5)
    again, _ = draw_points(region(mask), picture="p", num_points=10, seed=0)
    assert np.array_equal(places, again)
    for other in ({"picture": "q", "seed": 0}, {"picture": "p", "seed": 1}):
        assert not np.array_equal(places, draw_points(region(mask), num_points=10, **other)[0])


def test_region_of_one_pixel_repeats_it() -> None:
    mask = np.zeros((5, 7), dtype=np.bool_)
    mask[2, 3] = True
    places, kinds = draw_points(region(mask), picture="p", num_points=3, seed=0)
    assert places[:3].tolist() == [[3.5, 2.5]] * 3
    assert kinds.tolist() == [1, 1, 1, 0, 0, 0]


def test_region_that_fills_the_picture_has_no_points_outside() -> None:
    _, kinds = draw_points(region(np.ones((4, 4), bool)), picture="p", num_points=2, seed=0)
    assert kinds.tolist() == [INSIDE, INSIDE, NO_POINT, NO_POINT]
