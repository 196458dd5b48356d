"""The procedure around a SAM: what it is asked, and when its mask is taken."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from support_sams import ToldSam, decoded, picture, square

from t4spp.types import Box, Decoded, Problem, Region
from t4spp_plugins.refiners.configs import KEEP_CHOICES, PromptParams
from t4spp_plugins.refiners.keeping import blend, edge_zone
from t4spp_plugins.refiners.prompted import PromptedRefiner
from t4spp_plugins.refiners.prompting import MOST_LOGIT


def refiner(sam: ToldSam, **params: object) -> PromptedRefiner:
    return PromptedRefiner(sam, PromptParams.model_validate(params))


def moved(rows: int) -> object:
    """A SAM that finds everything so many rows of its logits further down."""
    return lambda prompts: torch.roll(prompts.masks[:, 0], rows, dims=1)


def test_regions_of_a_picture_share_one_encoding_and_one_call_a_pass() -> None:
    sam = ToldSam()
    refiner(sam).refine(picture(), decoded(*(square(10 * n, 20, 30) for n in range(1, 8))))
    assert sam.encoded == 1
    assert [len(call.kinds) for call in sam.calls] == [7, 7, 7]


def test_calls_take_no_more_regions_than_they_may() -> None:
    sam = ToldSam()
    many = decoded(*(square(10 * n, 20, 30) for n in range(1, 6)))
    refiner(sam, regions_per_call=2, passes=1).refine(picture(), many)
    assert [len(call.kinds) for call in sam.calls] == [2, 2, 1]


def test_predicted_logits_are_fed_back_within_bounds() -> None:
    sam = ToldSam(answer=lambda prompts: prompts.masks[:, 0] * 100)
    refiner(sam, passes=3).refine(picture(), decoded(square(30, 30, 40)))
    assert len(sam.calls) == 3
    assert float(sam.calls[0].masks.abs().max()) == pytest.approx(np.log(999), rel=1e-3)
    assert float(sam.calls[1].masks.abs().max()) == MOST_LOGIT


def test_points_are_ten_and_ten_in_the_encoders_pixels() -> None:
    sam = ToldSam()
    refiner(sam, passes=1).refine(picture(), decoded(square(30, 40, 50)))
    (call,) = sam.calls
    assert call.kinds.tolist() == [[1] * 10 + [0] * 10]
    inside = call.points[0, :10] * 160 / 1024
    assert float(inside[:, 0].min()) > 40
    assert float(inside[:, 0].max()) < 90
    assert float(inside[:, 1].max()) < 80


def test_written_boxes_are_prompts_and_regions_without_one_are_asked_apart() -> None:
    sam = ToldSam()
    boxed = square(30, 40, 50, box=Box(y0=30, x0=40, y1=80, x1=90))
    both = decoded(boxed, square(10, 10, 40))
    refiner(sam, passes=1).refine(picture(), both)
    assert [call.boxes is None for call in sam.calls] == [True, False]
    boxes = sam.calls[1].boxes
    assert boxes is not None
    assert (boxes * 160 / 1024).tolist() == [[40, 30, 90, 80]]
    sam = ToldSam()
    refiner(sam, passes=1, boxes=False).refine(picture(), both)
    assert [call.boxes for call in sam.calls] == [None]


def test_order_of_regions_does_not_change_what_is_asked_about_one() -> None:
    first, second = square(10, 10, 40), square(50, 60, 50)
    forth, back = ToldSam(), ToldSam()
    refiner(forth, passes=1).refine(picture(), decoded(first, second))
    refiner(back, passes=1).refine(picture(), decoded(second, first))
    assert torch.equal(forth.calls[0].points[0], back.calls[0].points[1])


def test_edge_moves_within_reach_and_the_core_stands() -> None:
    # one row of logits is 160 / 256 pixels: 5 of them are 3 pixels, the reach is 5
    sam = ToldSam(answer=moved(5))
    before = square(30, 40, 50)
    refined = refiner(sam, passes=1).refine(picture(), decoded(before))
    (after,) = refined.regions
    assert after.mask[35:80, 41:89].all()
    assert not after.mask[:32].any()
    assert after.mask[80:82, 41:89].all()
    assert after.soft is not None
    assert np.array_equal(after.mask, after.soft > 0.5)


def test_mask_far_from_the_coarse_one_is_dropped() -> None:
    sam = ToldSam(answer=moved(40))  # 25 pixels
    before = square(30, 40, 50)
    own = refiner(sam, passes=1)
    assert own.refine(picture(), decoded(before)).regions[0] is before
    assert own.counters() == {"kept_disagreeing": 1}
    free = refiner(sam, passes=1, reach=None, min_agreement=0.0)
    after = free.refine(picture(), decoded(before)).regions[0]
    assert Box.of_mask(after.mask) == Box(y0=55, x0=40, y1=105, x1=90)


def test_unsure_mask_is_dropped() -> None:
    own = refiner(ToldSam(answer=moved(5), score=0.79))
    before = square(30, 40, 50)
    assert own.refine(picture(), decoded(before)).regions[0] is before
    assert own.counters() == {"kept_unsure": 1}


def test_mask_of_fine_cells_is_kept_and_the_picture_not_even_encoded() -> None:
    sam = ToldSam()
    before = square(30, 40, 50, cell=(1.8, 1.8))  # 2.9 logits of 0.625 pixels
    own = refiner(sam)
    assert own.refine(picture(), decoded(before)).regions == (before,)
    assert (own.counters(), sam.encoded) == ({"kept_fine": 1}, 0)


def test_without_a_region_nothing_is_computed() -> None:
    sam = ToldSam()
    nothing = Decoded(
        regions=(), status="invalid", problems=(Problem(code="empty", message="no descriptor"),)
    )
    found = refiner(sam).refine(picture(), nothing)
    assert (found.regions, found.status, found.problems) == ((), "invalid", nothing.problems)
    assert sam.encoded == 0


def test_empty_mask_is_kept_and_counted() -> None:
    own = refiner(ToldSam())
    assert not own.refine(picture(), decoded(square(0, 0, 0))).regions[0].mask.any()
    assert own.counters() == {"kept_empty": 1}


def test_region_that_would_vanish_is_kept() -> None:
    own = refiner(ToldSam(answer=lambda p: torch.full((1, 256, 256), -9.0)), min_agreement=0.0)
    before = square(40, 40, 8)
    assert own.refine(picture(), decoded(before)).regions[0] is before
    assert own.counters() == {"kept_empty": 1}


def test_label_box_cell_status_and_problems_stay() -> None:
    box = Box(y0=30, x0=40, y1=80, x1=90)
    coarse = Decoded(
        regions=(square(30, 40, 50, box=box, label="cat"), square(5, 5, 20, label="dog")),
        status="repaired",
        problems=(Problem(code="short-row", message="filled"),),
    )
    fine = refiner(ToldSam(answer=moved(5)), passes=1).refine(picture(), coarse)
    assert [(r.label, r.box, r.cell) for r in fine.regions] == [
        ("cat", box, (10.0, 10.0)),
        ("dog", None, (10.0, 10.0)),
    ]
    assert (fine.status, fine.problems) == (coarse.status, coarse.problems)
    assert not np.array_equal(fine.regions[0].mask, coarse.regions[0].mask)


def test_region_without_occupancy_or_cell_is_refined_by_plain_agreement() -> None:
    mask = square(30, 40, 50).mask
    bare = Region(label="x", mask=mask)
    near = refiner(ToldSam(answer=moved(2)), passes=1)  # IoU (50 - 1.25) / (50 + 1.25) = 0.951
    assert near.refine(picture(), decoded(bare)).regions[0] is not bare
    far = refiner(ToldSam(answer=moved(4)), passes=1)
    assert far.refine(picture(), decoded(bare)).regions[0] is bare


@pytest.mark.parametrize("size", [(1, 4000), (3, 3), (1, 1), (4000, 2)])
def test_odd_pictures_are_refined(size: tuple[int, int]) -> None:
    full = np.ones(size, dtype=np.bool_)
    one = np.zeros(size, dtype=np.bool_)
    one[0, 0] = True
    for mask in (full, one):
        region = Region(label="x", mask=mask, soft=mask.astype(np.float32))
        fine = refiner(ToldSam()).refine(picture(size), decoded(region))
        assert fine.regions[0].mask.shape == size
        assert fine.regions[0].mask.any()


def test_trying_thresholds_gives_what_each_alone_gives() -> None:
    regions = decoded(square(30, 40, 50), square(5, 100, 24), square(60, 10, 40, cell=(2.0, 2.0)))
    configs = [
        PromptParams(passes=2, **dict(zip(KEEP_CHOICES, values, strict=True)))
        for values in zip(*(choices[-2:] for choices in KEEP_CHOICES.values()), strict=True)
    ]
    configs.append(PromptParams(passes=1))
    sam = ToldSam(answer=moved(5))
    found = refiner(sam).refine_under(picture(), regions, configs)
    assert sum(len(call.kinds) for call in sam.calls) < 3 * 5
    for config, together in zip(configs, found, strict=True):
        alone = PromptedRefiner(ToldSam(answer=moved(5)), config).refine(picture(), regions)
        for one, other in zip(together.regions, alone.regions, strict=True):
            assert np.array_equal(one.mask, other.mask)


def test_trying_thresholds_counts_nothing() -> None:
    own = refiner(ToldSam())
    own.refine_under(picture(), decoded(square(30, 40, 50)), [PromptParams()])
    assert own.counters() == {}


def test_default_thresholds_are_the_first_choices() -> None:
    defaults = PromptParams().model_dump()
    assert {name: values[0] for name, values in KEEP_CHOICES.items()} == {
        name: defaults[name] for name in KEEP_CHOICES
    }


def test_edge_zone_is_reach_wide_on_both_sides() -> None:
    region = square(30, 40, 50, cell=(10.0, 4.0))
    zone = edge_zone(region, 0.5)
    row = np.flatnonzero(zone[:, 60])
    column = np.flatnonzero(zone[55])
    assert row.tolist() == [*range(25, 35), *range(75, 85)]
    assert column.tolist() == [*range(38, 42), *range(88, 92)]
    assert not edge_zone(region, None).any()
    assert not edge_zone(dataclasses.replace(region, cell=None), 0.5).any()


def test_agreement_without_reach_is_the_iou() -> None:
    region = square(30, 40, 50)
    other = square(40, 40, 50).mask.astype(np.float32)
    assert blend(region, other, None).agreement == pytest.approx(40 / 60)
    assert blend(region, other, 1.0).agreement == 1.0
