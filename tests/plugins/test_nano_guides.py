from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from t4spp.testing import build_scheme
from t4spp_plugins.backbones.guiding import axis_shares, place_loss, token_shares
from t4spp_plugins.backbones.nano.guides import Guide, cursor_loss
from t4spp_plugins.backbones.nano.learner import pointing_loss, text_loss
from t4spp_plugins.backbones.nano.vocabulary import build_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer(build_scheme("next-brick").special_tokens)


def test_a_guide_counts_written_cells_and_finds_both_ends_of_runs(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    names = ["<seg>", "<|loc0|>", "<|loc250|>", "<|loc500|>", "<|loc750|>"]
    names += ["<|bg16|>", "<|bg4|>", "<|fg8|>", "<|bg4|>", "<|fg16|>"]
    ids = tokenizer.convert_tokens_to_ids(names)
    cursor, runs = Guide(tokenizer, (16, 16))(ids, ids)
    assert cursor.tolist() == [-1, -1, -1, -1, 0, 16, 20, 28, 32, -1]
    assert not runs[:4].any() and not runs[9].any()
    half_row = 0.5 / 32
    assert runs[4].tolist() == pytest.approx([half_row, 0.25, 0.75])
    assert runs[5].tolist() == pytest.approx([3 * half_row, 0.25, 0.375])
    assert runs[6].tolist() == pytest.approx([3 * half_row, 0.375, 0.625])
    assert runs[8].tolist() == pytest.approx([5 * half_row, 0.25, 0.75])


def test_a_guide_starts_anew_with_each_region_and_ignores_cells_beyond_the_grid(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    box = [f"<|loc{step}|>" for step in (0, 0, 999, 999)]
    names = [*box, *["<|fg16|>"] * 17, *box, "<|fg3|>"]
    ids = tokenizer.convert_tokens_to_ids(names)
    cursor, _ = Guide(tokenizer, (16, 16))(ids, ids)
    assert cursor.tolist() == [-1] * 3 + [16 * row for row in range(16)] + [-1] * 5 + [0, -1]


def test_cursor_loss_is_zero_where_row_and_column_are_right() -> None:
    logits = torch.zeros(2, 5)
    logits[0, 1] = logits[0, 2 + 2] = 50.0
    logits[1, 0] = logits[1, 2 + 0] = 50.0
    loss, right = cursor_loss(logits, torch.tensor([5, 0]), (2, 3))
    assert loss.item() < 1e-6 and right == 1.0
    loss, right = cursor_loss(logits, torch.tensor([5, 1]), (2, 3))
    assert loss.item() > 1 and right == 0.5
    loss, right = cursor_loss(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64), (2, 3))
    assert loss.item() == right == 0.0


def test_token_shares_are_bilinear_weights_of_the_nearest_tokens() -> None:
    shares = token_shares(torch.tensor([[0.125, 0.375], [0.25, 0.5], [0.0, 1.0]]), 4)
    assert shares[0].tolist() == [0, 1, 0, 0] + [0] * 12
    assert shares[1].reshape(4, 4)[:2, 1:3].flatten().tolist() == [0.25] * 4
    assert shares[2].tolist() == [0, 0, 0, 1] + [0] * 12
    torch.testing.assert_close(shares.sum(1), torch.ones(3))


def test_axis_shares_are_linear_weights_of_the_two_nearest_bins() -> None:
    shares = axis_shares(torch.tensor([[0.125, 0.3], [0.0, 1.0]]), 4)
    assert shares.shape == (2, 2, 4)
    assert shares[0, 0].tolist() == [1, 0, 0, 0]
    assert shares[0, 1].tolist() == pytest.approx([0.3, 0.7, 0, 0], abs=1e-6)
    assert shares[1].tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]


def test_place_loss_falls_where_the_bins_are_right_and_reads_those_within_one() -> None:
    logits = torch.zeros(2, 2 * 8)
    logits[0, 2] = logits[0, 8 + 7] = logits[1, 2] = logits[1, 8 + 7] = 50.0
    right = torch.tensor([[2.5, 7.5], [2.5, 7.5]]) / 8
    loss, near = place_loss(logits, right)
    assert loss.item() < 1e-6 and near == 1.0
    off = torch.tensor([[1.0, 7.5], [4.0, 5.5]]) / 8  # on the edge of the bin beside: within one
    loss, near = place_loss(logits, off)
    assert loss.item() > 20 and near == 0.75
    loss, near = place_loss(torch.zeros(0, 16), torch.zeros(0, 2))
    assert loss.item() == near == 0.0


def test_pointing_loss_of_nothing_is_zero_not_nan() -> None:
    loss, on_target = pointing_loss(torch.zeros(0, 256), torch.zeros(0, 256))
    assert loss.item() == on_target == 0.0


def test_pointing_loss_wants_all_attention_on_the_region() -> None:
    wanted = torch.tensor([[0.0, 1.0, 0.0]])
    loss, on_target = pointing_loss(torch.tensor([[0.0, 50.0, 0.0]]), wanted)
    assert loss.item() < 1e-6 and on_target == 1.0
    loss, on_target = pointing_loss(torch.tensor([[50.0, 0.0, 0.0]]), wanted)
    assert loss.item() == pytest.approx(50.0) and on_target == 0.0


def test_text_loss_smooths_coordinates_and_reads_each_kind_of_token() -> None:
    first = 10
    labels = torch.tensor([first + 500, first + 1000 + 3, 2, first + 20])
    logits = torch.full((4, first + 1032), -30.0)
    logits[0, first + 495] = 30  # five steps off, within one pixel of 128
    logits[1, first + 1003] = 30
    logits[2, 3] = 30  # a wrong word
    logits[3, first + 60] = 30  # forty steps off
    decides = torch.tensor([False, False, True, False])
    near, readings = text_loss(logits, labels, decides, first, sigma=4.0)
    assert readings == {
        "within_pixel": 0.5,
        "loc_error": 22.5,
        "bricks": 1.0,
        "words": 0.0,
        "decisions": 0.0,
    }
    logits[3] = -30.0
    logits[3, first + 15] = 30
    nearer, _ = text_loss(logits, labels, decides, first, sigma=4.0)
    assert nearer < near
    light, _ = text_loss(logits, labels, torch.zeros(4, dtype=torch.bool), first, sigma=4.0)
    assert light < nearer, "a wrong decision weighs more than another wrong word"
