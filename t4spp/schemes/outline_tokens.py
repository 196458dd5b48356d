"""Tokens of outlines on a lattice: what they are called, and reading them from untrusted text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from t4spp.schemes.box_wise import HEADER
from t4spp.schemes.fitting_rings import LEAST, Points
from t4spp.schemes.parsing import Notes, shorten
from t4spp.schemes.region_tokens import RegionDraft, RegionReader

RING = "<|ring|>"
"""Stands before every further ring of a region."""

_NUMBER = "(?:0|[1-9][0-9]{0,5})"
TOKEN = re.compile(rf"<\|(loc|at|ring)((?:{_NUMBER}(?:-{_NUMBER})?)?)\|>")
"""A token: its kind and its number or numbers."""


def point_token(row: int, column: int) -> str:
    """A vertex at a point of the lattice."""
    return f"<|at{row}-{column}|>"


@dataclass(kw_only=True)
class OutlineDraft(RegionDraft):
    """A region while its tokens come in."""

    rings: list[list[tuple[int, int]]] = field(default_factory=list)
    num_tokens: int = 0
    """Vertices and marks of rings."""


class OutlineReader(RegionReader[OutlineDraft]):
    """Sorts the vertices of one block into regions and rings."""

    token = TOKEN

    def __init__(
        self, shape: tuple[int, int], *, max_points: int, tokens: bool, notes: Notes
    ) -> None:
        """Keep what the format says.

        Args:
            shape: rows and columns of a region's lattice.
            max_points: vertices and marks of rings that a region may have.
            tokens: whether boxes are written as tokens; else in digits.
            notes: takes the problems.
        """
        super().__init__(tokens=tokens, notes=notes)
        self.shape = shape
        self.max_points = max_points

    def rings(self, draft: OutlineDraft) -> list[Points]:
        """A region's rings; none, and a problem, where nothing encloses anything."""
        name = shorten(draft.label)
        if draft.num_tokens > self.max_points:
            self.notes.add(
                "extra-vertices",
                f"{name} has {draft.num_tokens} tokens: the first max_points={self.max_points} "
                "are read",
            )
        whole = [ring for ring in draft.rings if len(ring) >= LEAST]
        if len(whole) < len(draft.rings):
            self.notes.add("short-ring", f"{name} has a ring of under {LEAST} vertices: left out")
        if not whole:
            self.notes.add("missing-outline", f"{name} has no outline: left out")
        return [np.array(ring, dtype=np.int64) for ring in whole]

    def _new(self, label: str, locs: list[int]) -> OutlineDraft:
        return OutlineDraft(label=label, locs=locs)

    def _begun(self, draft: OutlineDraft) -> bool:
        return bool(draft.rings)

    def _complete(self, draft: OutlineDraft) -> bool:
        return bool(draft.rings) and len(draft.rings[-1]) >= LEAST

    def _opens(self, draft: OutlineDraft | None, words: str, kind: str) -> bool:
        """Only a box opens a region: an outline may always go on."""
        if draft is None or kind == "loc":
            return super()._opens(draft, words, kind)
        return HEADER.fullmatch(words) is not None

    def _take(self, draft: OutlineDraft, kind: str, number: str) -> None:
        row, dash, column = number.partition("-")
        if (kind == "at") != bool(dash) or (kind == "ring" and number):
            self.notes.add("bad-token", f"<|{kind}{number}|> is not part of this format: left out")
        elif kind == "ring" and not draft.rings:
            self.notes.add("bad-token", f"{RING} before the first ring is left out")
        else:
            draft.num_tokens += 1
            if draft.num_tokens > self.max_points:
                return
            if kind == "ring" or not draft.rings:
                draft.rings.append([])
            if kind == "at":
                draft.rings[-1].append(self._point(int(row), int(column)))

    def _point(self, row: int, column: int) -> tuple[int, int]:
        inside = min(row, self.shape[0] - 1), min(column, self.shape[1] - 1)
        if inside != (row, column):
            self.notes.add("bad-vertex", f"{row}-{column} is off the lattice: put on its edge")
        return inside
