"""The live view: a picture in its place on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest

from t4spp.cli.live import LiveView, painted, picture_lines, small
from t4spp.decoding.answers import Growing
from t4spp.testing import build_scheme
from t4spp.types import Target

SIZE = (32, 32)


@pytest.fixture(autouse=True)
def _large_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "60")
    monkeypatch.setenv("COLUMNS", "100")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def growing(text: str, *, ended: bool = False) -> Growing:
    return Growing(id="0", text=text, num_tokens=12, num_passes=4, ended=ended)


def descriptor(rows: int) -> str:
    """The answer so far: the first rows of a dog in the upper left quarter."""
    scheme = build_scheme("image-rrle", grid=4)
    mask = np.zeros(SIZE, dtype=np.bool_)
    mask[:16, :16] = True
    lines = scheme.encode((Target(label="dog", mask=mask),), SIZE).splitlines(keepends=True)
    return "Here it is.\n<seg>" + "".join(lines[:rows]) + ("</seg>" if rows == 4 else "")


def view(stream: io.StringIO, clock=lambda: 0.0) -> LiveView:
    image = np.full((*SIZE, 3), 200, dtype=np.uint8)
    return LiveView(stream, build_scheme("image-rrle", grid=4), image, ("dog",), clock)


def test_a_pipe_gets_lines_without_escape_codes() -> None:
    stream = io.StringIO()
    seen = view(stream, clock=iter(range(100)).__next__)
    seen.title("photo.png: dog")
    for rows in (0, 1, 4):
        seen(growing(descriptor(rows), ended=rows == 4))
    assert stream.getvalue() == (
        "photo.png: dog\n"
        "12 tokens in 4 passes (3.0 a pass), 0.0% of the picture masked\n"
        "12 tokens in 4 passes (3.0 a pass), 12.5% of the picture masked\n"
        "12 tokens in 4 passes (3.0 a pass), 25.0% of the picture masked, done\n"
    )


def test_a_terminal_is_drawn_over_in_its_place() -> None:
    stream = Terminal()
    seen = view(stream, clock=iter(range(100)).__next__)
    seen(growing(descriptor(1)))
    first = stream.getvalue()
    seen(growing(descriptor(4), ended=True))
    second = stream.getvalue()[len(first) :]
    lines = first.count("\n")
    assert lines == 32 + 2  # two pixels a line; the text, the numbers
    assert not first.startswith("\x1b[") or "F" not in first[:6]
    assert second.startswith(f"\x1b[{lines}F")
    assert second.count("\n") == lines
    assert "</seg>" in second and "done" in second


def test_pictures_that_follow_too_fast_are_left_out_but_never_the_last() -> None:
    stream = io.StringIO()
    seen = view(stream)
    for rows in (0, 1, 2, 3):
        seen(growing(descriptor(rows)))
    seen(growing(descriptor(4), ended=True))
    assert stream.getvalue().count("\n") == 2
    assert stream.getvalue().endswith("done\n")


def test_what_is_masked_so_far_has_the_colour_of_its_label() -> None:
    ground = np.full((8, 8, 3), 100, dtype=np.uint8)
    scheme = build_scheme("image-rrle", grid=4)
    decoded = growing(descriptor(1)).decode(scheme, (8, 8), ("dog",))
    found = painted(ground, decoded, ("dog",), {"dog": (255, 0, 0)})
    assert found[0, 0].tolist() == [193, 40, 40]
    assert (found[2:] == 100).all() and (found[:2, 4:] == 100).all()


def test_two_pixels_stand_in_a_character() -> None:
    image = np.array([[[1, 2, 3]], [[4, 5, 6]]], dtype=np.uint8)
    assert picture_lines(image) == ["\x1b[38;2;1;2;3;48;2;4;5;6m\u2580\x1b[0m"]


@pytest.mark.parametrize("size", [(10, 4000), (4000, 10), (1, 1), (480, 640)])
def test_pictures_of_any_shape_fit(size: tuple[int, int]) -> None:
    rows, columns = small(np.zeros((*size, 3), dtype=np.uint8)).shape[:2]
    assert rows % 2 == 0 and 2 <= rows <= 64 and 1 <= columns <= 64


@pytest.mark.parametrize("lines", [6, 24, 80])
@pytest.mark.parametrize("size", [(360, 480), (480, 360), (50, 20)])
def test_a_picture_leaves_room_for_the_lines_below_it(
    size: tuple[int, int], lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINES", str(lines))
    monkeypatch.setenv("COLUMNS", "80")
    drawn = small(np.zeros((*size, 3), dtype=np.uint8))
    assert len(picture_lines(drawn)) + 2 < lines


def test_control_characters_of_a_model_do_not_reach_the_terminal() -> None:
    stream = Terminal()
    view(stream)(growing("<seg>\x1b[31mdog\x07"))
    assert "\x1b[31m" not in stream.getvalue() and "\x07" not in stream.getvalue()
    assert re.search(r"<seg>\?\[31mdog\?", stream.getvalue())
