from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4spp.schemes.next_brick import NextBrick
from t4spp.testing import build_scheme
from t4spp.types import BoolMask, Target
from t4spp_plugins.backbones.nano.slips import Slips, run_onward
from t4spp_plugins.backbones.nano.vocabulary import build_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SIZE = (128, 128)
SCHEME = build_scheme("next-brick")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer(SCHEME.special_tokens)


def slips_of(tokenizer: PreTrainedTokenizerBase, edges: float, bricks: float) -> Slips:
    assert isinstance(SCHEME, NextBrick)
    return Slips(SCHEME, tokenizer, edges=edges, bricks=bricks)


def masks() -> list[BoolMask]:
    disc = np.hypot(*(np.indices(SIZE) - 40)) < 21.5
    ring = np.hypot(*(np.indices(SIZE) - 90)) < 14
    return [disc, ring & ~(np.hypot(*(np.indices(SIZE) - 90)) < 7)]


def answer_of(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    text = SCHEME.encode([Target(label="dot", mask=mask) for mask in masks()], SIZE)
    return list(tokenizer(f"<seg>{text}</seg>", add_special_tokens=False)["input_ids"])


def names_of(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return "".join(tokenizer.convert_ids_to_tokens(ids))


def test_without_slips_an_answer_stays_as_it_is(tokenizer: PreTrainedTokenizerBase) -> None:
    answer = answer_of(tokenizer)
    found = slips_of(tokenizer, 0.0, 0.0)(answer, masks(), np.random.default_rng(0))
    assert found == (answer, answer)


def test_bricks_after_a_slipped_box_write_the_mask_inside_that_box(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    answer = answer_of(tokenizer)
    seen = set()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        written, wanted = slips_of(tokenizer, 1.0, 0.0)(answer, masks(), rng)
        for region, mask in zip(
            SCHEME.decode(names_of(tokenizer, written), SIZE).regions, masks(), strict=True
        ):
            box = region.box
            assert box is not None
            seen.add((box.y0, box.x0, box.y1, box.x1))
            window = np.zeros_like(mask)
            window[box.slices] = True
            inside, drawn = mask & window, region.mask & window
            assert (inside & drawn).sum() / (inside | drawn).sum() > 0.8
        first = tokenizer.convert_tokens_to_ids("<|loc0|>")
        coordinates = [token for token in wanted if first <= token < first + 1000]
        assert coordinates == [token for token in answer if first <= token < first + 1000]
    assert len(seen) == 10, "boxes differ by seed and region"


@given(st.integers(0, 10_000))
def test_every_answer_with_slips_fills_its_grids(
    tokenizer: PreTrainedTokenizerBase, seed: int
) -> None:
    answer = answer_of(tokenizer)
    slips = slips_of(tokenizer, 0.5, 0.3)
    written, wanted = slips(answer, masks(), np.random.default_rng(seed))
    assert len(written) == len(wanted)
    decoded = SCHEME.decode(names_of(tokenizer, written), SIZE)
    assert decoded.status == "ok" and len(decoded.regions) == 2
    assert written != wanted
    assert slips(answer, masks(), np.random.default_rng(seed)) == (written, wanted)


def test_slipped_bricks_are_a_cell_off_what_they_should_be(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    answer = answer_of(tokenizer)
    rng = np.random.default_rng(1)
    written, wanted = slips_of(tokenizer, 0.0, 0.5)(answer, masks(), rng)
    lengths = {
        index: (value, length)
        for (value, length), index in slips_of(tokenizer, 0, 0).brick_of_run.items()
    }
    moved = [
        (lengths[one], lengths[other])
        for one, other in zip(written, wanted, strict=True)
        if one != other
    ]
    assert len(moved) > 10
    assert all(one[0] == other[0] and abs(one[1] - other[1]) == 1 for one, other in moved)


@pytest.mark.parametrize(
    ("cells", "value", "length"),
    [
        ("..##.", False, 2),
        ("##.", True, 2),
        ("#..#", False, 3),  # the brick before ended a cell early
        ("##..", False, 1),  # it swallowed the background before these
        ("#", False, 1),
        (".", True, 1),
        ("####", True, 4),
        ("..", True, 1),
    ],
)
def test_a_brick_ends_where_the_other_value_begins(cells: str, value: bool, length: int) -> None:
    assert run_onward([cell == "#" for cell in cells], value) == length
