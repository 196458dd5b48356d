"""The faults of the published code that concern schemes, each with a test that would catch it.

Fault 6 (overlapping polygons) is held by tests/recipes/test_coco_instances.py, fault 8 (unseeded
prompts) by tests/unit/test_templates.py; fault 5 (stretched mask prompts) concerns SAM refiners.
"""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import t4spp.schemes
from t4spp.errors import SchemeError
from t4spp.schemes import image_text
from t4spp.testing import build_scheme
from t4spp.types import Target

SCHEMES = (
    "image-full",
    "image-irle",
    "image-rrle",
    "semantic-brick",
    "next-brick",
    "span-brick",
    "box-outline",
    "polygon",
    "vq-mask",
)


@pytest.mark.parametrize("name", SCHEMES)
def test_fault_1_full_frame_object_decodes_as_foreground(name: str) -> None:
    scheme = build_scheme(name)
    full = np.ones((120, 90), bool)
    text = scheme.encode([Target(label="wall", mask=full)], (120, 90))
    assert "others" not in text
    for labels in (None, ["wall"], ["floor", "wall"]):
        decoded = scheme.decode(f"Sure.\n<seg>{text}</seg>", (120, 90), labels)
        assert [region.label for region in decoded.regions] == ["wall"]
        assert decoded.regions[0].mask.all()


@pytest.mark.parametrize("first", ["others *4\n a *4\n", "a *4\n others *4\n"])
def test_fault_1_labels_count_by_name_not_by_first_appearance(first: str) -> None:
    decoded = build_scheme("image-rrle", grid=[2, 4]).decode(first, (2, 4), ["b", "a"])
    (region,) = decoded.regions
    assert region.label == "a"
    assert region.mask[0].all() == first.startswith("a")
    assert region.mask[1].all() == first.startswith("others")
    assert region.mask.sum() == 4


@pytest.mark.parametrize("run", ["dog *2| ", "", "dog *4| "])
def test_fault_2_missing_or_extra_cell_leaves_other_rows_alone(run: str) -> None:
    scheme = build_scheme("image-rrle", grid=[4, 4])
    rows = ["others *4", f"{run}others *1", "dog *1| others *3", "others *3| dog *1"]
    decoded = scheme.decode("\n ".join(rows) + "\n", (4, 4))
    assert decoded.status == "repaired"
    mask = decoded.union("dog", (4, 4))
    assert not mask[0].any()
    assert mask[2].tolist() == [True, False, False, False]
    assert mask[3].tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("image-rrle", "others *2| dog *2\n dog *2"),
        ("image-irle", "others *2| dog *4"),
        ("image-full", "others| others| dog| dog| dog| dog"),
    ],
)
def test_fault_2_tail_is_background_not_the_last_label(name: str, text: str) -> None:
    decoded = build_scheme(name, grid=4).decode(text, (4, 4))
    assert decoded.status == "repaired"
    assert decoded.regions[0].mask.astype(int).tolist() == [
        [0, 0, 1, 1],
        [1, 1, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize(
    "label", ["dog *3", "dog|cat", "dog\ncat", "dog</seg>", "<seg>", "", " dog"]
)
def test_fault_3_labels_that_would_corrupt_decoding_are_refused(name: str, label: str) -> None:
    scheme = build_scheme(name)
    with pytest.raises(SchemeError, match="cannot be written"):
        scheme.encode([Target(label=label, mask=np.ones((9, 9), bool))], (9, 9))


@pytest.mark.parametrize("name", SCHEMES)
def test_fault_3_new_tokens_are_refused_inside_labels(name: str) -> None:
    scheme = build_scheme(name)
    for token in scheme.special_tokens[::97]:
        with pytest.raises(SchemeError):
            scheme.encode([Target(label=f"a {token}", mask=np.ones((9, 9), bool))], (9, 9))


def lost_squares(side: int, **params: object) -> float:
    """Share of squares of ``side`` px on 800 px that a 16 x 16 grid loses altogether."""
    scheme = build_scheme("image-rrle", grid=16, **params)
    source = np.random.default_rng(0)
    lost = 0
    for _ in range(200):
        y, x = source.integers(0, 800 - side, size=2)
        mask = np.zeros((800, 800), bool)
        mask[y : y + side, x : x + side] = True
        lost += scheme.quantize([Target(label="car", mask=mask)], (800, 800)) == ()
    return lost / 200


def test_fault_4_lost_small_objects_are_known_and_can_be_kept() -> None:
    assert lost_squares(20) == pytest.approx(0.85, abs=0.06)
    assert lost_squares(30) == pytest.approx(0.64, abs=0.08)
    assert lost_squares(20, keep_small=True) == 0
    mask = np.zeros((800, 800), bool)
    mask[10:20, 10:20] = True
    for name in ("semantic-brick", "next-brick"):
        (region,) = build_scheme(name).quantize([Target(label="car", mask=mask)], (800, 800))
        assert np.array_equal(region.mask, mask)


@pytest.mark.parametrize("name", SCHEMES)
def test_fault_7_unreadable_answer_is_named_not_an_empty_mask(name: str) -> None:
    decoded = build_scheme(name).decode("I am sorry, there is none.", (9, 9))
    assert decoded.status == "invalid"
    assert decoded.problems and decoded.problems[0].message


def test_fault_7_a_broken_parser_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(image_text, "lay_rows", broken)
    with pytest.raises(ZeroDivisionError):
        build_scheme("image-rrle", grid=1).decode("dog *1\n", (9, 9))


def test_fault_7_no_scheme_has_a_blanket_except() -> None:
    for path in Path(t4spp.schemes.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                names = ast.unparse(node.type) if node.type else "everything"
                assert names not in ("everything", "Exception", "BaseException"), path
