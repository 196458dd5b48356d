"""Image-wise schemes: bytes, sampling, overlaps, small objects, repairs."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from t4spp.schemes.grid import coverage, nearest_index, sample
from t4spp.testing import build_scheme
from t4spp.types import BoolMask, Target


def mask_of(*rows: str) -> BoolMask:
    return np.array([[cell == "#" for cell in row] for row in rows])


def target(label: str, *rows: str) -> Target:
    return Target(label=label, mask=mask_of(*rows))


def test_rrle_is_written_as_published() -> None:
    scheme = build_scheme("image-rrle", grid=[1, 4])
    assert scheme.encode([target("dog", "...#")], (1, 4)) == "others *3| dog *1\n"
    two = build_scheme("image-rrle", grid=[2, 4])
    assert two.encode([target("dog", "...#", "##..")], (2, 4)) == (
        "others *3| dog *1\n dog *2| others *2\n"
    )


def test_irle_and_full_have_no_terminator() -> None:
    dog = [target("dog", "...#", "##..")]
    irle = build_scheme("image-irle", grid=[2, 4])
    assert irle.encode(dog, (2, 4)) == "others *3| dog *3| others *2"
    full = build_scheme("image-full", grid=[2, 4])
    assert full.encode(dog, (2, 4)) == ("others| others| others| dog| dog| dog| others| others")


def test_nearest_equals_pils_resize_for_every_size() -> None:
    source = np.random.default_rng(0)
    for _ in range(300):
        size = tuple(int(n) for n in source.integers(1, 700, size=2))
        shape = tuple(int(n) for n in source.integers(1, 65, size=2))
        values = source.integers(0, 255, size=size, dtype=np.uint8)
        resized = Image.fromarray(values).resize((shape[1], shape[0]), Image.Resampling.NEAREST)
        assert np.array_equal(sample(values, shape), np.asarray(resized)), (size, shape)


@pytest.mark.slow
def test_nearest_equals_pils_resize_on_every_length() -> None:
    for pixels in range(1, 1400):
        line = Image.fromarray(np.arange(pixels, dtype=np.int32)[None, :], mode="I")
        for cells in (1, 7, 16, 24, 31, 48, 64, 100):
            resized = np.asarray(line.resize((cells, 1), Image.Resampling.NEAREST))
            assert np.array_equal(nearest_index(pixels, cells), resized[0]), (pixels, cells)


def test_coverage_is_exact_where_cells_cut_pixels() -> None:
    mask = mask_of("##.", "...", "..#")
    # cells of 1.5 x 1.5 pixels; areas in quarters of a pixel, nine to a cell
    assert coverage(mask, (2, 2)).tolist() == [[6, 2], [0, 4]]
    assert coverage(np.ones((5, 7), bool), (3, 4)).tolist() == [[35] * 4] * 3


def test_majority_needs_more_than_half() -> None:
    scheme = build_scheme("image-full", grid=[1, 2], downsample="majority")
    assert scheme.encode([target("dog", "#.##")], (1, 4)) == "others| dog"


def test_contested_cell_goes_to_the_target_that_covers_most_of_it() -> None:
    scheme = build_scheme("image-full", grid=1)
    wide = target("wide", "###", "###", "...")
    tall = target("tall", ".#.", ".#.", ".#.")
    assert scheme.encode([tall, wide], (3, 3)) == "wide"
    tie = target("tie", "...", "###", "###")
    assert scheme.encode([tie, wide], (3, 3)) == "tie"
    assert scheme.encode([wide, tie], (3, 3)) == "wide"


def test_targets_of_one_label_are_one_region() -> None:
    scheme = build_scheme("image-rrle", grid=[1, 4])
    dogs = [target("dog", "#..."), target("cat", ".#.."), target("dog", "...#")]
    regions = scheme.quantize(dogs, (1, 4))
    assert [region.label for region in regions] == ["dog", "cat"]
    assert regions[0].mask.tolist() == [[True, False, False, True]]


def test_small_target_claims_the_cell_it_covers_most() -> None:
    size = (100, 100)
    dot = np.zeros(size, bool)
    dot[29:33, 22:24] = True  # rows of three cells of the grid; most of it in the second row
    big = np.zeros(size, bool)
    big[:] = True
    lost = build_scheme("image-rrle", grid=4)
    assert lost.quantize([Target(label="dot", mask=dot)], size) == ()
    kept = build_scheme("image-rrle", grid=4, keep_small=True)
    (region,) = kept.quantize([Target(label="dot", mask=dot)], size)
    assert region.mask[25:50, 0:25].all() and region.mask.sum() == 625
    both = kept.quantize([Target(label="big", mask=big), Target(label="dot", mask=dot)], size)
    assert {region.label: int(region.mask.sum()) for region in both} == {"big": 9375, "dot": 625}


def test_small_target_never_takes_anothers_only_cell() -> None:
    scheme = build_scheme("image-full", grid=[1, 2], keep_small=True)
    first = target("first", "##..", "##..")
    second = target("second", "..##", "..##")
    small = target("small", "#...", "....")
    assert scheme.encode([first, second, small], (2, 4)) == "first| second"


def test_equal_neighbouring_runs_are_read_as_written() -> None:
    decoded = build_scheme("image-rrle", grid=[1, 4]).decode("dog *1| dog *2| others *1\n", (1, 4))
    assert decoded.status == "ok"
    assert decoded.regions[0].mask.tolist() == [[True, True, True, False]]


def test_blanks_between_runs_and_rows_carry_nothing() -> None:
    scheme = build_scheme("image-rrle", grid=[2, 4])
    wanted = scheme.decode("others *3| dog *1\n dog *4\n", (2, 4))
    loose = scheme.decode("others *3|dog *1 \ndog *4", (2, 4))
    assert loose.status == wanted.status == "ok"
    assert np.array_equal(loose.regions[0].mask, wanted.regions[0].mask)


@pytest.mark.parametrize(
    ("text", "cells", "code", "row", "column"),
    [
        ("a *2| others *1\n a *4\n", ["##..", "####"], "missing-cells", 0, 3),
        ("a *2| others *9\n a *4\n", ["##..", "####"], "extra-cells", 0, 4),
        ("a *2| othe| a *1\n a *4\n", ["##.#", "####"], "bad-run", 0, 2),
        ("\n a *4\n", ["....", "####"], "missing-cells", 0, 0),
        ("a *4\n", ["####", "...."], "missing-rows", 1, -1),
        ("a *4\n a *4\n a *4\n", ["####", "####"], "extra-rows", 2, -1),
        ("a *4\n\n a *4\n", ["####", "####"], "blank-line", 1, -1),
        ("a *4\n b *2| a *2\n", ["####", "..##"], "unknown-label", 1, 0),
        ("a *4\n a *0| a *4\n", ["####", "####"], "bad-run", 1, 0),
        ("a *4\n x *3 *2| a *2\n", ["####", "..##"], "bad-label", 1, 0),
    ],
)
def test_rrle_repair(text: str, cells: list[str], code: str, row: int, column: int) -> None:
    decoded = build_scheme("image-rrle", grid=[2, 4]).decode(text, (2, 4), ["a", "c"])
    assert decoded.status == "repaired"
    assert [(p.code, p.row, p.column) for p in decoded.problems] == [(code, row, column)]
    assert np.array_equal(decoded.union("a", (2, 4)), mask_of(*cells))


def test_irle_tail_is_background() -> None:
    decoded = build_scheme("image-irle", grid=[2, 4]).decode("others *3| a *3", (2, 4))
    assert [(p.code, p.row, p.column) for p in decoded.problems] == [("missing-cells", 1, 2)]
    assert np.array_equal(decoded.union("a", (2, 4)), mask_of("...#", "##.."))


def test_full_tail_is_background() -> None:
    decoded = build_scheme("image-full", grid=[2, 2]).decode("a| others| a", (2, 2))
    assert [(p.code, p.row, p.column) for p in decoded.problems] == [("missing-cells", 1, 1)]
    assert np.array_equal(decoded.union("a", (2, 2)), mask_of("#.", "#."))
