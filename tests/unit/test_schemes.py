"""The laws of the schemes, with every parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from t4spp.errors import ConfigError, PluginError, SchemeError
from t4spp.schemes.image_text import ImageRrle
from t4spp.testing import (
    assert_same_regions,
    build_scheme,
    check_damage_stays_in_its_row,
    check_decoding_never_raises,
    check_fingerprint,
    check_labels,
    check_round_trip,
    check_scheme,
)
from t4spp.types import Target

SCHEMES = (
    "image-full",
    "image-irle",
    "image-rrle",
    "semantic-brick",
    "next-brick",
    "span-brick",
    "box-outline",
)
SMALL = {"grid": [3, 4], "max_label_chars": 12}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("image-rrle", {"grid": 5, "downsample": "majority"}),
    ("image-rrle", {"grid": 5, "keep_small": True}),
    ("image-rrle", {"grid": [7, 2], "upsample": "bilinear"}),
    ("image-irle", {"grid": 6, "downsample": "majority", "keep_small": True}),
    ("image-full", {"grid": [2, 9], "downsample": "majority", "upsample": "bilinear"}),
    ("semantic-brick", {"grid": [5, 3], "downsample": "nearest"}),
    ("semantic-brick", {"grid": 4, "keep_small": False, "upsample": "nearest"}),
    ("next-brick", {"grid": [5, 3], "row_marks": True}),
    ("next-brick", {"grid": 4, "coordinates": "digits"}),
    ("next-brick", {"grid": 4, "coordinates": "digits", "row_marks": True}),
    ("next-brick", {"grid": 6, "downsample": "nearest", "upsample": "nearest"}),
    ("next-brick", {"grid": 4, "keep_small": False}),
    ("next-brick", {"grid": 16}),
    ("image-rrle", {"grid": 16}),
    ("next-brick", {"grid": 3, "max_regions": 2}),
    ("polygon", {"max_vertices": 8}),
    ("polygon", {"bins": 6, "keep_small": False}),
    ("polygon", {"coordinates": "digits", "bins": 5}),
    ("vq-mask", {}),
    ("vq-mask", {"coordinates": "digits", "max_regions": 3}),
]


@pytest.mark.parametrize("name", SCHEMES)
def test_scheme_obeys_every_law(name: str) -> None:
    check_scheme(build_scheme(name, **SMALL), max_examples=40)


@pytest.mark.parametrize(("name", "params"), VARIANTS)
def test_every_parameter_keeps_the_laws(name: str, params: dict[str, Any]) -> None:
    scheme = build_scheme(name, **params)
    check_round_trip(scheme, max_examples=40)
    check_labels(scheme, max_examples=15)
    check_decoding_never_raises(scheme, max_examples=30)
    check_damage_stays_in_its_row(scheme, max_examples=40)
    check_fingerprint(scheme)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "params"), VARIANTS)
def test_every_parameter_keeps_the_laws_at_length(name: str, params: dict[str, Any]) -> None:
    check_scheme(build_scheme(name, **params), max_examples=300)


@pytest.mark.parametrize("name", SCHEMES)
def test_large_pictures_keep_the_round_trip(name: str) -> None:
    scheme = build_scheme(name, grid=[16, 24])
    yy, xx = np.mgrid[0:1500, 0:2300]
    disc = (yy - 700) ** 2 + (xx - 1200) ** 2 < 400**2
    hole = (yy - 700) ** 2 + (xx - 1200) ** 2 < 150**2
    targets = [Target(label="ring", mask=disc & ~hole), Target(label="hole", mask=hole)]
    decoded = scheme.decode(scheme.encode(targets, (1500, 2300)), (1500, 2300))
    assert decoded.status == "ok"
    assert_same_regions(decoded.regions, scheme.quantize(targets, (1500, 2300)))


@pytest.mark.parametrize("name", SCHEMES)
def test_no_target_is_ok_and_an_empty_answer_is_not(name: str) -> None:
    scheme = build_scheme(name)
    nothing = scheme.decode(scheme.encode([], (20, 30)), (20, 30))
    assert (nothing.status, nothing.regions) == ("ok", ())
    for text in ("", "   ", "<seg></seg>", "I cannot see it."):
        assert scheme.decode(text, (20, 30)).status == "invalid", text
    assert scheme.encode([Target(label="dog", mask=np.zeros((20, 30), bool))], (20, 30)) == (
        scheme.encode([], (20, 30))
    )


@pytest.mark.parametrize("name", SCHEMES)
def test_every_seg_block_of_an_answer_is_read(name: str) -> None:
    scheme = build_scheme(name, grid=4)
    size = (40, 40)
    left, right = np.zeros(size, bool), np.zeros(size, bool)
    left[:, :20] = True
    right[:, 20:] = True
    one = scheme.encode([Target(label="dog", mask=left)], size)
    two = scheme.encode([Target(label="cat", mask=right)], size)
    both = scheme.decode(f"A dog <seg>{one}</seg> and a cat <seg>{two}</seg>.", size)
    assert both.status == "ok"
    assert [region.label for region in both.regions] == ["dog", "cat"]
    assert np.array_equal(both.union("dog", size), left)
    assert np.array_equal(both.union("cat", size), right)
    unclosed = scheme.decode(f"A dog <seg>{one}", size)
    assert [problem.code for problem in unclosed.problems] == ["unclosed-seg"]
    assert np.array_equal(unclosed.union("dog", size), left)


@pytest.mark.parametrize("name", SCHEMES)
def test_mask_of_another_size_is_refused(name: str) -> None:
    scheme = build_scheme(name)
    with pytest.raises(SchemeError, match=r"'dog'.*\(4, 5\).*20 x 30"):
        scheme.encode([Target(label="dog", mask=np.ones((4, 5), bool))], (20, 30))
    with pytest.raises(SchemeError, match="ignore"):
        scheme.encode([], (20, 30), np.ones((4, 5), bool))


@pytest.mark.parametrize("name", SCHEMES)
def test_mostly_ignored_cells_are_others(name: str) -> None:
    scheme = build_scheme(name, grid=4)
    size = (40, 40)
    ignore = np.zeros(size, bool)
    ignore[:, :20] = True
    (region,) = scheme.quantize([Target(label="dog", mask=np.ones(size, bool))], size, ignore)
    assert not region.mask[:, :15].any()
    assert region.mask[:, 20:].all()


@pytest.mark.parametrize("name", SCHEMES)
def test_fully_ignored_target_is_nothing(name: str) -> None:
    # an outline always stays
    keep = {} if name == "box-outline" else {"keep_small": True}
    scheme = build_scheme(name, grid=4, **keep)
    full = np.ones((40, 40), bool)
    assert scheme.quantize([Target(label="dog", mask=full)], (40, 40), full) == ()


@pytest.mark.parametrize("name", SCHEMES)
def test_adversarial_answers_stay_cheap(name: str) -> None:
    scheme = build_scheme(name)
    for text in (
        "dog *999999999999\n" * 3,
        "dog *" + "9" * 100_000,
        "a| " * 300_000,
        "\n" * 1_000_000,
        "dog<|loc1|>" * 50_000,
        "dog<|loc1|><|loc1|><|loc9|><|loc9|>" + "<|fg999999|>" * 50_000,
        "dog| 1 1 9 9\n" * 50_000,
        "<seg>" * 200_000,
        "<seg>dog *1</seg>" * 50_000,
        "".join(f"l{n} *1| " for n in range(100_000)),
    ):
        decoded = scheme.decode(text, (480, 640))
        assert decoded.status != "ok", text[:40]
        assert len(decoded.problems) <= 210


def test_too_many_regions_are_cut_and_listed() -> None:
    scheme = build_scheme("next-brick", grid=1, max_regions=2)
    text = "".join(f"{n}<|loc0|><|loc0|><|loc99|><|loc99|><|fg1|>" for n in "abc")
    decoded = scheme.decode(text, (10, 10))
    assert [region.label for region in decoded.regions] == ["a", "b"]
    assert [problem.code for problem in decoded.problems] == ["too-many-regions"]
    with pytest.raises(SchemeError, match="max_regions=2"):
        scheme.encode([Target(label="a", mask=np.ones((9, 9), bool))] * 3, (9, 9))


def test_square_grid_has_one_fingerprint_however_it_is_written() -> None:
    assert build_scheme("next-brick", grid=16).fingerprint() == (
        build_scheme("next-brick", grid=[16, 16]).fingerprint()
    )


def test_unknown_names_and_parameters_are_the_users_mistake() -> None:
    with pytest.raises(PluginError, match=r"Did you mean 'next-brick'\?"):
        build_scheme("next-bricks")
    with pytest.raises(ConfigError, match=r"Did you mean 'grid'\?"):
        build_scheme("next-brick", gird=16)
    for wrong in (0, -1, 2.5, [3], [3, 0], "x", 1000):
        with pytest.raises(ConfigError, match="grid"):
            build_scheme("next-brick", grid=wrong)


def test_check_scheme_catches_a_scheme_that_writes_one_cell_wrong() -> None:
    class Off(ImageRrle):
        def _spell(self, names: Any, cells: Any) -> str:
            return super()._spell(names, cells).replace("*1\n", "*2\n", 1)

    scheme = build_scheme("image-rrle", grid=4)
    assert isinstance(scheme, ImageRrle)
    with pytest.raises(AssertionError):
        check_round_trip(Off(scheme.params), max_examples=50)


def test_check_scheme_catches_damage_that_leaves_its_row() -> None:
    class Careless(ImageRrle):
        def _read(self, text: str, names: Any, notes: Any) -> Any:
            cells = super()._read(text, names, notes)
            return None if notes.problems else cells

    scheme = build_scheme("image-rrle", grid=4)
    assert isinstance(scheme, ImageRrle)
    with pytest.raises(AssertionError):
        check_damage_stays_in_its_row(Careless(scheme.params), max_examples=50)
