"""How polygons are spelt and read: as tokens, or in digits."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from t4spp.schemes.box_wise import NUMBER, STEPS, Steps
from t4spp.schemes.expecting import label_ahead
from t4spp.schemes.grammar import label_terminal, quote
from t4spp.schemes.parsing import Notes, shorten, strip_blanks
from t4spp.schemes.rows import bounded
from t4spp.schemes.simplifying import LEAST
from t4spp.types import BACKGROUND

Vertex = tuple[int, int]
Rings = tuple[tuple[Vertex, ...], ...]
Kind = Literal["part", "hole"]

PART, HOLE = "<|part|>", "<|hole|>"
_TOKEN = re.compile(r"<\|(loc|pt|part|hole)([0-9]{0,6}(?:-[0-9]{1,6})?)\|>")
_WORD = re.compile(r"[0-9]+|part|hole|;|[^\s0-9;]+")
BOX_NUMBERS = 4


@dataclass(kw_only=True)
class Draft:
    """A region while its numbers come in.

    Attributes:
        label: as it stands in the text, stripped.
        boxed: whether a box comes before the vertices.
        most: vertices that are read.
        box: the box's numbers.
        rings: kind and vertices of each ring that has begun.
        half: a vertex's first number that waits for the second.
    """

    label: str
    boxed: bool
    most: int
    box: list[int] = field(default_factory=list)
    rings: list[tuple[Kind, list[Vertex]]] = field(default_factory=lambda: [("part", [])])
    half: int | None = None
    num_vertices: int = 0
    num_cut: int = 0

    @property
    def steps(self) -> Steps | None:
        """The box, where there is one."""
        if not self.boxed:
            return None
        y0, x0, y1, x1 = (min(number, STEPS - 1) for number in self.box)
        return y0, x0, y1, x1

    @property
    def complete(self) -> bool:
        """Whether another region may follow."""
        return self.half is None and len(self.rings[-1][1]) >= LEAST

    def number(self, value: int) -> None:
        """A number of the box, or half a vertex."""
        if self.boxed and len(self.box) < BOX_NUMBERS:
            self.box.append(value)
        elif self.half is None:
            self.half = value
        else:
            self.vertex((self.half, value))
            self.half = None

    def vertex(self, vertex: Vertex) -> None:
        """A whole vertex; those beyond the budget are counted only."""
        if self.num_vertices < self.most:
            self.num_vertices += 1
            self.rings[-1][1].append(vertex)
        else:
            self.num_cut += 1

    def begin(self, kind: Kind, notes: Notes) -> None:
        """Another ring."""
        self.close(notes)
        if len(self.rings) < self.most:
            self.rings.append((kind, []))

    def close(self, notes: Notes) -> None:
        """The end of a ring."""
        if self.half is not None:
            notes.add("half-vertex", f"{shorten(self.label)}: a vertex has one number: left out")
            self.half = None

    def parts(self, steps: int, notes: Notes) -> tuple[Rings, ...] | None:
        """The rings, checked; None, and a problem, where nothing can be drawn."""
        name = shorten(self.label)
        self.close(notes)
        if not self.label:
            notes.add("missing-label", "a region without a label is left out")
            return None
        if self.boxed:
            if len(self.box) < BOX_NUMBERS:
                notes.add("bad-box", f"{name} has {len(self.box)} of 4 coordinates: left out")
                return None
            if max(self.box) >= STEPS:
                notes.add("bad-box", f"{name} has coordinates beyond {STEPS - 1}: clipped")
        if self.num_cut:
            notes.add(
                "too-many-vertices",
                f"{name}: only the first max_vertices={self.most} are read, {self.num_cut} are not",
            )
        found: list[list[tuple[Vertex, ...]]] = []
        whole = False
        for kind, vertices in self.rings:
            if len(vertices) < LEAST:
                if not self.num_cut or vertices:
                    notes.add(
                        "short-ring",
                        f"{name}: a ring of {len(vertices)} vertices encloses nothing: left out",
                    )
                whole = whole and kind == "hole"
                continue
            if any(max(vertex) >= steps for vertex in vertices):
                notes.add("bad-vertex", f"{name} has numbers beyond {steps - 1}: clipped")
            ring = tuple((min(y, steps - 1), min(x, steps - 1)) for y, x in vertices)
            if kind == "part":
                found.append([ring])
                whole = True
            elif whole:
                found[-1].append(ring)
            else:
                notes.add("orphan-hole", f"{name}: a hole in no part is left out")
        if not found:
            notes.add("no-outline", f"{name} has no ring of {LEAST} vertices: region left out")
            return None
        return tuple(tuple(rings) for rings in found)


class PolygonSpelling(ABC):
    """One way to write polygons."""

    explained: str
    """How a region is written, in plain English."""
    special_tokens: tuple[str, ...]

    def __init__(self, bins: int | None, max_vertices: int) -> None:
        """Keep what the format says.

        Args:
            bins: steps of a vertex in its box; None where there is no box.
            max_vertices: of a region.
        """
        self.bins = bins
        self.max_vertices = max_vertices

    @abstractmethod
    def spell(self, label: str, steps: Steps | None, parts: Sequence[Rings]) -> str:
        """One region."""

    @abstractmethod
    def drafts(self, text: str, notes: Notes) -> Iterator[Draft]:
        """The regions of a block in their order, not yet checked."""

    @abstractmethod
    def most_tokens(self) -> int:
        """A bound on the tokens of one region without its label."""

    @abstractmethod
    def ahead(self, text: str, labels: Sequence[str] | None) -> Iterator[str]:
        """How a descriptor goes on, as far as that can be guessed."""

    @abstractmethod
    def _rules(self) -> tuple[str, list[str]]:
        """What stands between label and first ring, and the rules that it and vertices need."""

    _separators: tuple[str, str]
    """Part and hole, as the grammar writes them."""
    _end = ""
    """A region's last characters."""

    def rules(self, names: Sequence[str] | None, max_label_chars: int) -> list[str]:
        """Rules of llguidance's Lark, ``region`` among them."""
        head, rules = self._rules()
        end = f" {quote(self._end)}" if self._end else ""
        return [
            f"region: LABEL {head} ring{self.max_vertices}{end}",
            label_terminal(names, max_label_chars, background=False),
            *rules,
            *self._counting(),
        ]

    def _counting(self) -> Iterator[str]:
        """Rules of rings that have ``n`` vertices left: ``ring{n}`` at their start, ``more{n}``."""
        for left in range(self.max_vertices, LEAST - 1, -1):
            rest = left - LEAST
            yield f"ring{left}: vertex vertex vertex" + (f" more{rest}?" if rest else "")
        for left in range(self.max_vertices - LEAST, 0, -1):
            choices = [f"vertex more{left - 1}?" if left > 1 else "vertex"]
            if left >= LEAST:
                choices += [f"{separator} ring{left}" for separator in self._separators]
            yield f"more{left}: " + " | ".join(choices)


class TokenSpelling(PolygonSpelling):
    """Two tokens a vertex, or, inside a box, one."""

    _separators = (PART, HOLE)

    def __init__(self, bins: int | None, max_vertices: int) -> None:
        """Name the tokens."""
        super().__init__(bins, max_vertices)
        self._loc = tuple(f"<|loc{n}|>" for n in range(STEPS))
        self._points = [[f"<|pt{y}-{x}|>" for x in range(bins or 0)] for y in range(bins or 0)]
        points = tuple(token for row in self._points for token in row)
        self.special_tokens = (*self._loc, *points, PART, HOLE)
        vertex = (
            "two tokens, <|loc0|> to <|loc999|>"
            if bins is None
            else "one token, <|pta-b|> for a down and b right"
        )
        box = "" if bins is None else ", the four numbers of its box as <|loc0|> to <|loc999|>"
        self.explained = (
            f"A region is its label{box}, then the vertices one after another, each {vertex}. "
            f"Before each further part of the region stands {PART}, before each hole, behind the "
            f"part that it is in, {HOLE}."
        )

    def spell(self, label: str, steps: Steps | None, parts: Sequence[Rings]) -> str:
        """Label, box, vertices."""
        pieces = [label, *(self._loc[step] for step in steps or ())]
        for number, rings in enumerate(parts):
            for place, ring in enumerate(rings):
                if place:
                    pieces.append(HOLE)
                elif number:
                    pieces.append(PART)
                for y, x in ring:
                    if self.bins is None:
                        pieces += (self._loc[y], self._loc[x])
                    else:
                        pieces.append(self._points[y][x])
        return "".join(pieces)

    def most_tokens(self) -> int:
        """The budget in one ring or in many."""
        separators = self.max_vertices // LEAST - 1
        if self.bins is None:
            return 2 * self.max_vertices + separators
        return BOX_NUMBERS + self.max_vertices + separators

    def _rules(self) -> tuple[str, list[str]]:
        loc = "loc: " + " | ".join(self._loc)
        if self.bins is None:
            return "", [loc, "vertex: loc loc"]
        points = " | ".join(token for row in self._points for token in row)
        return "loc loc loc loc", [loc, f"vertex: {points}"]

    def drafts(self, text: str, notes: Notes) -> Iterator[Draft]:
        """See the base class."""
        parts = _TOKEN.split(text)
        if len(parts) == 1:
            read_plain(text, notes)
            return
        draft: Draft | None = None
        before = parts[0]
        for kind, number, after in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            words = strip_blanks(before) if before else ""
            before = after
            opens = words and (draft is None or draft.complete or notes.admits(words))
            if opens or (draft is None and kind in ("loc", "pt")):
                if draft is not None:
                    yield draft
                draft = Draft(label=words, boxed=self.bins is not None, most=self.max_vertices)
            elif words:
                notes.add("stray-text", f"{shorten(words)} between vertices is left out")
            if draft is None:
                notes.add("orphan-token", f"<|{kind}{number}|> before any label is left out")
            else:
                self._take(draft, kind, number, notes)
        rest = strip_blanks(before)
        if rest and draft is not None and not draft.complete:
            notes.add("stray-text", f"{shorten(rest)} behind the last vertex is left out")
        elif rest:
            notes.add("unfinished-region", f"{shorten(rest)} at the end has no outline: left out")
        if draft is not None:
            yield draft

    def _take(self, draft: Draft, kind: str, number: str, notes: Notes) -> None:
        boxing = draft.boxed and len(draft.box) < BOX_NUMBERS
        first, dash, second = number.partition("-")
        if kind in ("part", "hole") and not number and not boxing:
            draft.begin("part" if kind == "part" else "hole", notes)
        elif kind == "loc" and first and not dash and (self.bins is None or boxing):
            draft.number(int(first))
        elif kind == "pt" and first and dash and self.bins is not None and not boxing:
            draft.vertex((int(first), int(second)))
        else:
            notes.add("bad-token", f"<|{kind}{number}|> out of place is left out")

    def ahead(self, text: str, labels: Sequence[str] | None) -> Iterator[str]:
        """The rest of a label that has begun."""
        tokens = list(_TOKEN.finditer(text))
        begun = text[tokens[-1].end() if tokens else 0 :]
        if tokens and not begun:
            return
        found = label_ahead(begun, labels)
        if found is not None:
            yield found[len(begun) :]


class DigitSpelling(PolygonSpelling):
    """``label| y x y x y x part y x ... hole y x ...``, a line a region, in digits."""

    _separators = (quote(" part"), quote(" hole"))
    _end = "\n"
    special_tokens = ()

    def __init__(self, bins: int | None, max_vertices: int) -> None:
        """See the base class."""
        super().__init__(bins, max_vertices)
        box = "" if bins is None else 'the four numbers of its box and ";", '
        self.explained = (
            f'A region is one line: its label and "|", {box}then the vertices, each two numbers, '
            "with a blank before every number. Before each further part of the region stands "
            '" part", before each hole, behind the part that it is in, " hole".'
        )

    def spell(self, label: str, steps: Steps | None, parts: Sequence[Rings]) -> str:
        """A line."""
        words = []
        for number, rings in enumerate(parts):
            for place, ring in enumerate(rings):
                words += ["hole"] if place else ["part"] if number else []
                words += [f"{y} {x}" for y, x in ring]
        box = "" if steps is None else " " + " ".join(str(step) for step in steps) + ";"
        return f"{label}|{box} {' '.join(words)}\n"

    def most_tokens(self) -> int:
        """As many as characters: no tokenizer takes more for digits and words."""
        longest = len(str(STEPS - 1 if self.bins is None else self.bins - 1)) + 1
        separators = len(" part") * (self.max_vertices // LEAST - 1)
        box = 0 if self.bins is None else len(" 999 999 999 999;")
        return len("|\n") + 1 + box + 2 * longest * self.max_vertices + separators

    def _rules(self) -> tuple[str, list[str]]:
        number = NUMBER
        vertex = 'vertex: " " NUMBER " " NUMBER'
        if self.bins is None:
            return '"|"', [number, vertex]
        box = '"| " NUMBER " " NUMBER " " NUMBER " " NUMBER ";"'
        steps = "BIN: " + " | ".join(quote(str(step)) for step in range(self.bins))
        return box, [number, steps, 'vertex: " " BIN " " BIN']

    def drafts(self, text: str, notes: Notes) -> Iterator[Draft]:
        """See the base class."""
        if "|" not in text:
            read_plain(text, notes)
            return
        for line in text.split("\n"):
            label, bar, rest = line.partition("|")
            if not bar:
                if line.strip():
                    notes.add("orphan-text", f"{shorten(line)} is no region: left out")
                continue
            draft = Draft(
                label=strip_blanks(label), boxed=self.bins is not None, most=self.max_vertices
            )
            self._fill(draft, rest, notes)
            yield draft

    @staticmethod
    def _fill(draft: Draft, text: str, notes: Notes) -> None:
        parted = False
        for found in _WORD.finditer(text):
            word = found.group()
            boxing = draft.boxed and len(draft.box) < BOX_NUMBERS
            if word.isascii() and word.isdigit():
                if draft.boxed and not boxing and not parted:
                    notes.add("bad-box", f"{shorten(draft.label)} has no ; behind its box")
                    parted = True
                draft.number(bounded(word))
            elif word == ";" and draft.boxed and not boxing and not parted:
                parted = True
            elif word in ("part", "hole") and not boxing:
                draft.begin("part" if word == "part" else "hole", notes)
            else:
                notes.add("stray-text", f"{shorten(word)} between vertices is left out")

    def ahead(self, text: str, labels: Sequence[str] | None) -> Iterator[str]:
        """The rest of a label that has begun, and the bar."""
        begun = text.rpartition("\n")[2]
        if (text and not begun) or "|" in begun:
            return
        found = label_ahead(begun, labels)
        if found is not None:
            bar = "" if found == BACKGROUND else "| "
            yield found[len(begun) :] + bar


def read_plain(text: str, notes: Notes) -> None:
    """A block that holds no region."""
    words = strip_blanks(text)
    if words == BACKGROUND:
        notes.read_something = True
    elif words:
        notes.add("unreadable", f"{shorten(words)} is no descriptor")
    else:
        notes.add("empty", "there is no descriptor")
