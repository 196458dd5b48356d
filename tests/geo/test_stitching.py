"""Windows' answers put together: masks, objects, memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from t4spp.geo.blending import border_weights, levels_in, levels_of, mask_in, resized_levels
from t4spp.geo.stitching import SceneObject, Stitcher, Strip
from t4spp.types import Box, Region


@dataclass(frozen=True)
class Placed:
    box: Box


@dataclass
class Collected:
    """Everything that a stitcher hands over."""

    tops: list[int] = field(default_factory=list)
    masks: list[np.ndarray] = field(default_factory=list)
    valid: list[np.ndarray] = field(default_factory=list)
    found: list[SceneObject] = field(default_factory=list)

    def rows(self, strip: Strip) -> None:
        self.tops.append(strip.top)
        self.masks.append(strip.masks)
        self.valid.append(strip.valid)

    def objects(self, objects) -> None:
        self.found.extend(objects)

    @property
    def mask(self) -> np.ndarray:
        return np.concatenate(self.masks, axis=1)[0]


def grid(size, window, stride):
    """Windows from the corner on; the last ones reach beyond the scene."""

    def starts(length):
        return range(0, max(length - window + stride, 1), stride)

    return [
        Placed(Box(y0=y, x0=x, y1=y + window, x1=x + window))
        for y in starts(size[0])
        for x in starts(size[1])
    ]


def padded(truth, box):
    canvas = np.zeros((box.height, box.width), dtype=truth.dtype)
    height, width = truth.shape
    y0, x0, y1, x1 = max(box.y0, 0), max(box.x0, 0), min(box.y1, height), min(box.x1, width)
    canvas[y0 - box.y0 : y1 - box.y0, x0 - box.x0 : x1 - box.x0] = truth[y0:y1, x0:x1]
    return canvas


def stitched(truth, windows, objects="regions", per_class=False):
    """Stitch what every window shows of numbered things, without any error."""
    sink = Collected()
    stitcher = Stitcher(truth.shape, ["thing"], sink, objects=objects)
    for window in windows:
        shown = padded(truth, window.box)
        masks = [shown > 0] if per_class else [shown == n for n in np.unique(shown) if n]
        stitcher.add(window, [Region(label="thing", mask=mask) for mask in masks])
    stitcher.finish()
    return sink, stitcher


@st.composite
def numbered_things(draw):
    """int32[H, W]: rectangles with a pixel or more between them."""
    height, width = draw(st.integers(9, 50)), draw(st.integers(9, 50))
    truth = np.zeros((height, width), dtype=np.int32)
    taken = np.zeros((height, width), dtype=np.bool_)
    number = 0
    for _ in range(draw(st.integers(0, 7))):
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        h, w = draw(st.integers(1, height)), draw(st.integers(1, width))
        if taken[y : y + h, x : x + w].any():
            continue
        number += 1
        truth[y : y + h, x : x + w] = number
        taken[max(y - 1, 0) : y + h + 1, max(x - 1, 0) : x + w + 1] = True
    return truth


@settings(max_examples=150, deadline=None)
@given(numbered_things(), st.integers(3, 20), st.data())
def test_faultless_windows_give_the_scene_back_whatever_the_overlap(truth, window, data):
    stride = data.draw(st.integers(max(window // 4, 1), window))
    windows = grid(truth.shape, window, stride)
    for mode, per_class in (("regions", False), ("parts", False), ("parts", True)):
        sink, _ = stitched(truth, windows, mode, per_class)
        assert np.array_equal(sink.mask, truth > 0)
        assert all(valid.all() for valid in sink.valid)
        sizes = sorted(found.num_pixels for found in sink.found)
        assert sizes == sorted(np.bincount(truth.ravel())[1:].tolist())
        for found in sink.found:
            assert found.outline.is_valid
            assert found.outline.geom_type == "Polygon"
            assert found.outline.area == found.num_pixels
            assert found.score == pytest.approx(1.0, abs=1e-6)


def test_rows_leave_in_order_and_once_and_as_early_as_they_can():
    truth = np.zeros((100, 40), dtype=np.int32)
    sink = Collected()
    stitcher = Stitcher(truth.shape, ["thing"], sink)
    left = []
    for window in grid(truth.shape, 20, 10):
        stitcher.add(window, [])
        left.append((window.box.y0, sum(m.shape[1] for m in sink.masks)))
    assert all(top == rows for top, rows in left)
    stitcher.finish()
    assert sink.tops == [0, 10, 20, 30, 40, 50, 60, 70, 80]
    assert sink.mask.shape == (100, 40)


def test_touching_things_of_one_label_stay_apart_as_regions_and_join_as_parts():
    truth = np.zeros((64, 64), dtype=np.int32)
    truth[10:50, 5:30] = 1
    truth[10:50, 30:60] = 2
    windows = grid(truth.shape, 32, 16)
    apart, _ = stitched(truth, windows)
    joined, _ = stitched(truth, windows, "parts")
    assert sorted(found.num_pixels for found in apart.found) == [40 * 25, 40 * 30]
    assert [found.num_pixels for found in joined.found] == [40 * 55]
    assert not apart.found[0].outline.intersection(apart.found[1].outline).area


def test_a_thing_with_a_hole_across_windows_keeps_its_hole():
    truth = np.zeros((60, 60), dtype=np.int32)
    truth[5:55, 5:55] = 1
    truth[20:40, 20:40] = 0
    for mode in ("regions", "parts"):
        sink, _ = stitched(truth, grid(truth.shape, 24, 18), mode)
        (found,) = sink.found
        assert len(found.outline.interiors) == 1
        assert shapely.Polygon(found.outline.interiors[0]).area == 400


def test_the_middle_of_a_window_outweighs_the_border_of_its_neighbour():
    sink = Collected()
    stitcher = Stitcher((10, 30), ["thing"], sink)
    nothing = np.zeros((10, 20), dtype=np.bool_)
    stitcher.add(Placed(Box(y0=0, x0=0, y1=10, x1=20)), [Region(label="thing", mask=~nothing)])
    stitcher.add(Placed(Box(y0=0, x0=10, y1=10, x1=30)), [])
    stitcher.finish()
    assert sink.mask[:, :15].all()
    assert not sink.mask[:, 15:].any()


def test_one_window_that_errs_is_outvoted_and_counted():
    ghost = np.zeros((20, 20), dtype=np.bool_)
    ghost[:, 17:] = True  # where this window ends and its neighbour is sure of nothing
    sink = Collected()
    stitcher = Stitcher((20, 30), ["thing"], sink)
    stitcher.add(Placed(Box(y0=0, x0=0, y1=20, x1=20)), [Region(label="thing", mask=ghost)])
    stitcher.add(Placed(Box(y0=0, x0=10, y1=20, x1=30)), [])
    stitcher.finish()
    assert not sink.mask.any()
    assert sink.found == []
    assert stitcher.counters == {"objects_outvoted": 1}


def test_a_sliver_beyond_the_border_joins_what_it_was_cut_from_a_pixel_off():
    body, sliver = np.zeros((2, 20, 20), dtype=np.bool_)
    body[5:15, 10:20] = True
    sliver[4, 0] = True  # the descriptor rounded the corner away from row 5
    sink = Collected()
    stitcher = Stitcher((20, 40), ["thing"], sink)
    stitcher.add(Placed(Box(y0=0, x0=0, y1=20, x1=20)), [Region(label="thing", mask=body)])
    stitcher.add(Placed(Box(y0=0, x0=20, y1=20, x1=40)), [Region(label="thing", mask=sliver)])
    stitcher.finish()
    assert [found.num_pixels for found in sink.found] == [101]


def test_windows_are_counted_and_joins_too():
    truth = np.zeros((40, 40), dtype=np.int32)
    truth[15:25, 15:25] = 1
    sink, stitcher = stitched(truth, grid(truth.shape, 20, 20))
    assert sink.found[0].num_windows == 4
    assert stitcher.counters == {"regions_joined": 3}
    sink, _ = stitched(truth, grid(truth.shape, 20, 20), "parts")
    assert sink.found[0].num_windows == 4


def test_pixels_without_data_and_rows_without_windows_are_not_valid():
    sink = Collected()
    stitcher = Stitcher((30, 20), ["thing"], sink)
    mask = np.ones((20, 20), dtype=np.bool_)
    valid = np.ones((20, 20), dtype=np.bool_)
    valid[:5] = False
    stitcher.add(Placed(Box(y0=0, x0=0, y1=20, x1=20)), [Region(label="thing", mask=mask)], valid)
    stitcher.finish()
    seen = np.concatenate(sink.valid)
    assert not seen[:5].any()
    assert seen[5:20].all()
    assert not seen[20:].any()
    assert sink.mask.sum() == 15 * 20


def test_a_picture_of_another_resolution_lands_on_the_scenes_pixels():
    sink = Collected()
    stitcher = Stitcher((40, 40), ["thing"], sink)
    mask = np.zeros((10, 10), dtype=np.bool_)
    mask[2:8, 3:7] = True
    stitcher.add(Placed(Box(y0=0, x0=0, y1=40, x1=40)), [Region(label="thing", mask=mask)])
    stitcher.finish()
    wanted = np.zeros((40, 40), dtype=np.bool_)
    wanted[8:32, 12:28] = True
    assert np.count_nonzero(sink.mask ^ wanted) <= 4  # the rounded corners


def test_what_is_written_beyond_the_scene_is_cut_off_or_left_out():
    inside, across, beyond = np.zeros((3, 20, 20), dtype=np.bool_)
    inside[2:6, 2:6] = True
    across[8:12, 8:18] = True
    beyond[14:18, 16:19] = True
    sink = Collected()
    stitcher = Stitcher((30, 30), ["thing"], sink)
    regions = []
    for mask in (inside, across, beyond):
        soft = np.where(mask, np.float32(0.9), np.float32(0.2))
        regions.append(Region(label="thing", mask=mask, soft=soft, box=Box.of_mask(mask)))
    stitcher.add(Placed(Box(y0=15, x0=15, y1=35, x1=35)), regions)
    stitcher.finish()
    assert sorted(found.num_pixels for found in sink.found) == [16, 28]
    assert sink.mask.sum() == 44


def test_two_phrases_do_not_mix():
    masks = np.zeros((2, 20, 20), dtype=np.bool_)
    masks[0, 2:12, 2:12] = True
    masks[1, 8:18, 8:18] = True
    sink = Collected()
    stitcher = Stitcher((20, 20), ["road", "house"], sink)
    regions = [Region(label=n, mask=m) for n, m in zip(("road", "house"), masks, strict=True)]
    stray = Region(label="tree", mask=masks[0])
    stitcher.add(Placed(Box(y0=0, x0=0, y1=20, x1=20)), [*regions, stray])
    stitcher.finish()
    assert np.array_equal(np.concatenate(sink.masks, axis=1), masks)
    assert {(found.label, found.num_pixels) for found in sink.found} == {
        ("road", 100),
        ("house", 100),
    }


def test_memory_follows_the_windows_and_not_the_scenes_height():
    truth = np.zeros((2000, 40), dtype=np.int32)
    truth[1::5, ::3] = np.arange(1, 400 * 14 + 1).reshape(400, 14)
    most = 0
    sink = Collected()
    stitcher = Stitcher(truth.shape, ["thing"], sink)
    for window in grid(truth.shape, 20, 15):
        shown = padded(truth, window.box)
        regions = [Region(label="thing", mask=shown == n) for n in np.unique(shown) if n]
        stitcher.add(window, regions)
        most = max(most, len(stitcher._things))
    stitcher.finish()
    assert len(sink.found) == 5600
    assert most <= 14 * 9
    assert len(stitcher._things) == 0


def test_windows_out_of_order_are_refused():
    stitcher = Stitcher((40, 40), ["thing"], Collected())
    stitcher.add(Placed(Box(y0=20, x0=0, y1=40, x1=20)), [])
    with pytest.raises(ValueError, match="after rows below it were begun"):
        stitcher.add(Placed(Box(y0=0, x0=20, y1=20, x1=40)), [])
    with pytest.raises(ValueError, match="outside a scene"):
        stitcher.add(Placed(Box(y0=20, x0=40, y1=40, x1=60)), [])


def test_weights_fade_at_borders_inside_the_scene_only():
    assert border_weights(0, 4, 100).tolist() == [1.0, 1.0, 0.75, 0.25]
    assert border_weights(4, 8, 100).tolist() == [0.25, 0.75, 0.75, 0.25]
    assert border_weights(-2, 2, 2).tolist() == [1.0, 1.0]


def test_levels_follow_the_mask_where_the_soft_mask_disagrees():
    mask = np.array([[True, True, False, False]])
    soft = np.array([[0.2, 0.9, 0.8, 0.1]], dtype=np.float32)
    assert levels_of(mask, soft).tolist() == [[128, 230, 127, 26]]
    assert levels_of(mask, None).tolist() == [[255, 255, 0, 0]]


@pytest.mark.parametrize(("factor", "side"), [(2, 22), (4, 44)])
def test_a_small_region_stays_small_at_another_resolution(factor, side):
    mask = np.zeros((64, 64), dtype=np.bool_)
    mask[20:30, 30:40] = True
    box = Box(y0=100, x0=50, y1=100 + 64 * factor, x1=50 + 64 * factor)
    found = levels_in(Region(label="thing", mask=mask), box, (1000, 1000))
    assert found is not None
    assert found.levels.shape == (found.box.height, found.box.width) == (side, side)
    assert found.levels.base is None
    y0, x0 = 100 + 20 * factor, 50 + 30 * factor
    assert found.tight == Box(y0=y0, x0=x0, y1=y0 + 10 * factor, x1=x0 + 10 * factor)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_region_at_another_resolution_is_its_window_resized_and_cut(data):
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    rows, columns = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    y0, x0 = data.draw(st.integers(-30, 30)), data.draw(st.integers(-30, 30))
    size = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    mask = np.zeros((height, width), dtype=np.bool_)
    top, left = rng.integers(height), rng.integers(width)
    mask[top : top + 9, left : left + 9] = True
    soft = rng.random(mask.shape).astype(np.float32) * mask if data.draw(st.booleans()) else None
    box = Box(y0=y0, x0=x0, y1=y0 + rows, x1=x0 + columns)
    canvas = np.zeros((200, 200), dtype=np.uint8)  # the scene's corner is at (60, 60)
    canvas[60 + y0 : 60 + y0 + rows, 60 + x0 : 60 + x0 + columns] = resized_levels(
        levels_of(mask, soft), (rows, columns)
    )
    expected = canvas[60 : 60 + size[0], 60 : 60 + size[1]].astype(int)
    found = levels_in(Region(label="thing", mask=mask, soft=soft), box, size)
    if found is None:
        assert expected.max() <= 128
        return
    shown = np.zeros(size, dtype=int)
    shown[found.box.slices] = found.levels
    assert np.abs(shown - expected).max() <= 1
    tight = Box.of_mask(shown >= 128)
    assert found.tight == tight


def test_validity_is_resized_only_where_the_scene_lies():
    valid = np.zeros((4, 4), dtype=np.bool_)
    valid[1, 2] = True
    window = Box(y0=-2, x0=0, y1=10**9 - 2, x1=8)
    assert mask_in(valid, window, Box(y0=0, x0=0, y1=5, x1=8)).shape == (5, 8)
    part = mask_in(valid, Box(y0=-2, x0=0, y1=6, x1=8), Box(y0=0, x0=2, y1=4, x1=8))
    assert part.astype(int).tolist() == [[0, 0, 1, 1, 0, 0]] * 2 + [[0] * 6] * 2
