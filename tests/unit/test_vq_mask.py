"""``vq-mask``: bytes, laws, repairs, grammar, what it expects, what the shipped ones reach."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support_tokenizer import write_tokenizer

from t4spp.errors import ConfigError, SchemeError
from t4spp.mask_tokenizer.tokenizer import SHIPPED, load_tokenizer
from t4spp.schemes.base import Scheme
from t4spp.schemes.mask_fields import field_of, spread_logits
from t4spp.testing import (
    GrammarWalker,
    assert_same_regions,
    build_scheme,
    build_tokenizer,
    check_decoding_never_raises,
    check_grammar,
    check_labels,
    check_round_trip,
    check_scheme,
    check_tokenizer,
)
from t4spp.types import BoolMask, Target

BOX = "<|loc0|><|loc0|><|loc999|><|loc999|>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tokenizer(tmp_path / "box")


@pytest.fixture
def places(tmp_path: Path) -> Path:
    return write_tokenizer(tmp_path / "image", layout="image", patch=4, codes_per_patch=1, kernel=3)


def full(size: tuple[int, int] = (8, 8)) -> Target:
    return Target(label="dog", mask=np.ones(size, dtype=np.bool_))


def problems(scheme: Scheme, text: str) -> tuple[str, set[str], int]:
    decoded = scheme.decode(text, (8, 8))
    return decoded.status, {problem.code for problem in decoded.problems}, len(decoded.regions)


def check_all_but_the_fingerprint(scheme: Scheme) -> None:
    tokenizer = build_tokenizer(scheme.special_tokens)
    check_round_trip(scheme, max_examples=40)
    check_labels(scheme, max_examples=15)
    check_decoding_never_raises(scheme, max_examples=40)
    check_tokenizer(scheme, tokenizer, max_examples=15)
    check_grammar(scheme, tokenizer, max_examples=15)


@pytest.mark.parametrize(
    "params",
    [{}, {"num_codes": 1}, {"coordinates": "digits"}, {"max_regions": 2, "num_codes": 2}],
)
def test_box_layout_keeps_the_laws(folder: Path, params: dict[str, Any]) -> None:
    check_all_but_the_fingerprint(
        build_scheme("vq-mask", tokenizer=str(folder), max_label_chars=12, **params)
    )


def test_image_layout_keeps_the_laws(places: Path) -> None:
    params = {"layout": "image", "tokenizer": str(places), "max_label_chars": 12}
    check_all_but_the_fingerprint(build_scheme("vq-mask", **params))


def test_shipped_box_tokenizer_obeys_every_law() -> None:
    check_scheme(build_scheme("vq-mask", max_label_chars=12), max_examples=8)


def test_shipped_image_tokenizer_obeys_the_laws_of_text() -> None:
    scheme = build_scheme("vq-mask", layout="image", max_regions=2)
    check_round_trip(scheme, max_examples=8)
    check_decoding_never_raises(scheme, max_examples=8)


def test_region_is_label_box_and_one_token_a_code(folder: Path) -> None:
    scheme = build_scheme("vq-mask", tokenizer=str(folder))
    codes = load_tokenizer(folder, "box").encode(np.ones((8, 8)))
    written = "".join(f"<|vq{code}|>" for code in codes)
    assert scheme.encode([full()], (8, 8)) == f"dog{BOX}{written}"
    digits = build_scheme("vq-mask", tokenizer=str(folder), coordinates="digits")
    assert digits.encode([full()], (8, 8)) == f"dog| 0 0 999 999{written}"
    assert scheme.encode([], (8, 8)) == "others"


def test_fewer_codes_are_a_prefix_of_more(folder: Path) -> None:
    whole = build_scheme("vq-mask", tokenizer=str(folder)).encode([full()], (8, 8))
    part = build_scheme("vq-mask", tokenizer=str(folder), num_codes=2).encode([full()], (8, 8))
    assert whole.startswith(part) and whole.count("<|vq") == 3 and part.count("<|vq") == 2


def test_special_tokens_are_coordinates_then_codes(folder: Path, places: Path) -> None:
    tokens = build_scheme("vq-mask", tokenizer=str(folder)).special_tokens
    assert (len(tokens), tokens[999], tokens[1000], tokens[-1]) == (
        1012,
        "<|loc999|>",
        "<|vq0|>",
        "<|vq11|>",
    )
    image = build_scheme("vq-mask", layout="image", tokenizer=str(places))
    assert image.special_tokens == tuple(f"<|vq{code}|>" for code in range(12))
    assert not image.writes_boxes


def test_targets_of_one_label_are_one_region_of_the_image_layout(places: Path) -> None:
    scheme = build_scheme("vq-mask", layout="image", tokenizer=str(places))
    halves = np.zeros((2, 8, 8), dtype=np.bool_)
    halves[0, :4], halves[1, 4:] = True, True
    parts = [Target(label="dog", mask=half) for half in halves]
    assert scheme.encode(parts, (8, 8)) == scheme.encode([full()], (8, 8))
    with pytest.raises(SchemeError, match="must have one size"):
        scheme.encode([full((4, 4)), full()], (8, 8))


@pytest.mark.parametrize(
    ("text", "status", "codes", "num_regions"),
    [
        (f"dog{BOX}<|vq1|><|vq2|>", "repaired", {"missing-codes"}, 1),
        (f"dog{BOX}<|vq1|><|vq2|><|vq3|><|vq4|>", "repaired", {"extra-codes"}, 1),
        (f"dog{BOX}<|vq1|><|vq12|><|vq3|>", "repaired", {"bad-code"}, 1),
        (f"dog{BOX}<|vq1|><|vq99999999|><|vq3|>", "repaired", {"bad-code"}, 1),
        (f"dog{BOX}", "repaired", {"missing-codes", "unfinished-region"}, 0),
        (f"dog{BOX}<|vq1|> x <|vq2|><|vq3|>", "repaired", {"stray-text"}, 1),
        ("dog<|vq1|><|vq2|><|vq3|>", "invalid", {"bad-box"}, 0),
        ("<|vq1|><|vq2|><|vq3|>", "invalid", {"orphan-token"}, 0),
        ("a dog", "invalid", {"unreadable"}, 0),
        ("others", "ok", set(), 0),
    ],
)
def test_damaged_text_is_repaired_and_listed(
    folder: Path, text: str, status: str, codes: set[str], num_regions: int
) -> None:
    scheme = build_scheme("vq-mask", tokenizer=str(folder))
    assert problems(scheme, text) == (status, codes, num_regions)


def test_a_missing_code_is_read_as_the_shorter_prefix(folder: Path) -> None:
    text = f"dog{BOX}<|vq1|><|vq2|>"
    whole = build_scheme("vq-mask", tokenizer=str(folder))
    short = build_scheme("vq-mask", tokenizer=str(folder), num_codes=2)
    assert short.decode(text, (9, 7)).status == "ok"
    assert_same_regions(whole.decode(text, (9, 7)).regions, short.decode(text, (9, 7)).regions)


def test_places_without_codes_are_outside(places: Path) -> None:
    scheme = build_scheme("vq-mask", layout="image", tokenizer=str(places))
    decoded = scheme.decode("dog<|vq1|><|vq2|>", (8, 8))
    assert decoded.status == "repaired"
    soft = decoded.regions[0].soft
    assert soft is not None and soft[6:].max() < 0.01


def test_code_of_a_region_is_never_read_from_another(folder: Path) -> None:
    scheme = build_scheme("vq-mask", tokenizer=str(folder))
    good = f"cat{BOX}<|vq5|><|vq6|><|vq7|>"
    alone = scheme.decode(good, (8, 8)).regions
    beside = scheme.decode(f"dog{BOX}<|vq1|>{good}", (8, 8))
    after = scheme.decode(f"dog{BOX}<|vq1|><|vq2|><|vq3|>{good}", (8, 8)).regions
    assert_same_regions(after[1:], alone)
    assert beside.status == "repaired"


@pytest.mark.parametrize(
    ("text", "admitted"),
    [
        (f"dog{BOX}<|vq1|><|vq2|><|vq11|>", True),
        (f"dog{BOX}<|vq1|><|vq2|><|vq3|>cat{BOX}<|vq1|><|vq2|><|vq3|>", True),
        (f"dog{BOX}<|vq1|><|vq2|>", False),
        (f"dog{BOX}<|vq1|><|vq2|><|vq3|><|vq4|>", False),
        ("dog<|vq1|><|vq2|><|vq3|>", False),
        ("others", True),
    ],
)
def test_regions_are_of_one_length(folder: Path, text: str, admitted: bool) -> None:
    scheme = build_scheme("vq-mask", tokenizer=str(folder))
    walker = GrammarWalker(scheme.grammar(["dog", "cat"]), build_tokenizer(scheme.special_tokens))
    assert walker.admits(text) is admitted


@pytest.mark.parametrize("layout", ["box", "image"])
def test_grammar_of_the_shipped_tokenizer_compiles(layout: str) -> None:
    scheme = build_scheme("vq-mask", layout=layout)
    walker = GrammarWalker(scheme.grammar(None), build_tokenizer(scheme.special_tokens))
    assert walker.admits(scheme.encode([full((40, 50))], (40, 50)))


@pytest.mark.parametrize(
    ("text", "ahead"),
    [
        ("", ["dog" + BOX]),
        ("do", ["g" + BOX]),
        ("dog<|loc7|>", ["<|loc0|><|loc999|><|loc999|>"]),
        (f"dog{BOX}<|vq1|>", []),
        (f"dog{BOX}<|vq1|><|vq2|><|vq3|>", [""]),
        (f"dog{BOX}<|vq1|><|vq2|><|vq3|>do", ["g" + BOX]),
        (f"dog{BOX}<|vq1|><|vq2|><|vq3|>dog<|loc7|>", ["<|loc0|><|loc999|><|loc999|>"]),
        ("oth", ["ers"]),
    ],
)
def test_box_layout_expects_label_and_box_alone(folder: Path, text: str, ahead: list[str]) -> None:
    scheme = build_scheme("vq-mask", tokenizer=str(folder))
    assert list(scheme.expect(text, ["dog"])) == ahead


def test_image_layout_expects_labels(places: Path) -> None:
    scheme = build_scheme("vq-mask", layout="image", tokenizer=str(places))
    assert list(scheme.expect("d", ["dog"])) == ["og"]
    assert list(scheme.expect("dog<|vq1|><|vq2|>", ["dog"])) == []
    assert list(scheme.expect("dog" + "<|vq1|>" * 4, ["dog"])) == [""]


def test_fingerprint_tells_contents_apart_and_not_places(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    other = write_tokenizer(tmp_path / "other", seed=1)
    first, second, third = (
        build_scheme("vq-mask", tokenizer=str(path)).fingerprint()
        for path in (folder, moved, other)
    )
    assert first == second != third
    assert first.startswith("vq-mask@1:")
    assert load_tokenizer(folder, "box").identity[:12] in first


def test_weights_of_another_tokenizer_are_one_clear_error(folder: Path, tmp_path: Path) -> None:
    other = write_tokenizer(tmp_path / "other", seed=1)
    shutil.copy(other / "tokenizer.safetensors", folder / "tokenizer.safetensors")
    with pytest.raises(SchemeError, match=r"its hash is .* says .* do not belong together"):
        build_scheme("vq-mask", tokenizer=str(folder))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"tokenizer": "nowhere"}, "there is no tokenizer.json"),
        ({"layout": "image", "num_codes": 4}, "Leave num_codes out"),
        ({"num_codes": 17}, "or take 1 to 16"),
    ],
)
def test_what_no_tokenizer_has_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises((SchemeError, ConfigError), match=message):
        build_scheme("vq-mask", **params)


def test_tokenizer_of_the_other_layout_is_refused(folder: Path) -> None:
    with pytest.raises(SchemeError, match="Set layout=box"):
        build_scheme("vq-mask", layout="image", tokenizer=str(folder))


@pytest.mark.parametrize("damage", ["not json", '{"schema": 9}', '{"schema": 1}', "[]"])
def test_damaged_card_is_one_clear_error(folder: Path, damage: str) -> None:
    (folder / "tokenizer.json").write_text(damage)
    with pytest.raises(SchemeError, match=r"tokenizer\.json"):
        build_scheme("vq-mask", tokenizer=str(folder))


def test_card_with_wrong_sizes_names_the_key(folder: Path) -> None:
    card = json.loads((folder / "tokenizer.json").read_text())
    card["shape"]["patch"] = 3
    (folder / "tokenizer.json").write_text(json.dumps(card))
    with pytest.raises(SchemeError, match="patch 3 does not divide side 8"):
        build_scheme("vq-mask", tokenizer=str(folder))


def edge_masks() -> list[tuple[str, BoolMask]]:
    found = []
    for name, rows, columns in (
        ("one pixel", slice(5, 6), slice(7, 8)),
        ("upper border", slice(0, 3), slice(4, 9)),
        ("lower border", slice(17, 20), slice(4, 9)),
        ("left border", slice(4, 9), slice(0, 2)),
        ("right border", slice(4, 9), slice(28, 30)),
        ("corner", slice(19, 20), slice(29, 30)),
        ("everything", slice(0, 20), slice(0, 30)),
        ("a line", slice(3, 4), slice(0, 30)),
    ):
        mask = np.zeros((20, 30), dtype=np.bool_)
        mask[rows, columns] = True
        found.append((name, mask))
    return found


@pytest.mark.parametrize(("name", "mask"), edge_masks(), ids=lambda value: str(value)[:12])
def test_boxes_at_borders_come_back_whole(name: str, mask: BoolMask) -> None:
    scheme = build_scheme("vq-mask")
    decoded = scheme.decode(scheme.encode([Target(label="dog", mask=mask)], (20, 30)), (20, 30))
    assert decoded.status == "ok", name
    assert np.array_equal(decoded.regions[0].mask, mask)


def test_mask_of_no_pixel_is_nothing() -> None:
    scheme = build_scheme("vq-mask")
    nothing = Target(label="dog", mask=np.zeros((8, 8), dtype=np.bool_))
    assert scheme.encode([nothing], (8, 8)) == "others"
    assert scheme.quantize([nothing], (8, 8)) == ()


def test_soft_masks_cross_a_half_where_the_mask_ends() -> None:
    circle = np.hypot(*(np.indices((60, 60)) - 29.5)) < 25
    region = build_scheme("vq-mask").quantize([Target(label="dog", mask=circle)], (60, 60))[0]
    assert region.soft is not None and region.soft.dtype == np.float32
    assert region.soft.min() >= 0 and region.soft.max() <= 1
    assert np.array_equal(region.soft >= 0.5, region.mask)
    assert region.cell is not None and region.cell == pytest.approx((50 / 32, 50 / 32))


def test_region_that_no_pixel_reaches_keeps_its_likeliest() -> None:
    logits = np.full((8, 8), -3, dtype=np.float32)
    logits[2, 5] = -1
    mask, _ = spread_logits(logits, (8, 8))
    assert np.argwhere(mask).tolist() == [[2, 5]]


def test_field_is_the_share_that_is_covered() -> None:
    mask = np.zeros((4, 4), dtype=np.bool_)
    mask[:, :1] = True
    assert field_of(mask, 2).tolist() == [[0.5, 0.0], [0.5, 0.0]]


def test_scheme_loads_no_torch() -> None:
    script = (
        "import sys\n"
        "import numpy as np\n"
        "from t4spp.schemes.vq_mask import VqMask, VqMaskParams\n"
        "from t4spp.types import Target\n"
        "scheme = VqMask(VqMaskParams())\n"
        "text = scheme.encode([Target(label='a', mask=np.ones((9, 9), bool))], (9, 9))\n"
        "scheme.decode(text, (9, 9))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_shipped_tokenizers_take_at_most_four_megabytes() -> None:
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} == {"box", "image"}
    assert sum(path.stat().st_size for path in files) <= 4 * 2**20


def test_shipped_tokenizers_name_free_data_alone() -> None:
    for layout in ("box", "image"):
        card = json.loads((SHIPPED / layout / "tokenizer.json").read_text())
        assert card["trained_on"] == [{"recipe": "mask-shapes", "licences": ["CC0-1.0"]}]
