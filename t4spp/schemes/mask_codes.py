"""Code tokens of ``vq-mask``: what they are called, and reading them from untrusted text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from t4spp.schemes.parsing import Notes, shorten
from t4spp.schemes.region_tokens import RegionDraft, RegionReader
from t4spp.schemes.rows import bounded

_NUMBER = "((?:0|[1-9][0-9]{0,9})?)"
BOX_TOKEN = re.compile(rf"<\|(loc|vq){_NUMBER}\|>")
"""A token of the box layout: its kind and its number."""
IMAGE_TOKEN = re.compile(rf"<\|(vq){_NUMBER}\|>")
"""A token of the image layout, which writes no boxes."""

UNKNOWN = -1
"""Stands for a code that could not be read."""


def code_token(code: int) -> str:
    """One code."""
    return f"<|vq{code}|>"


@dataclass(kw_only=True)
class CodeDraft(RegionDraft):
    """A region while its tokens come in."""

    codes: list[int] = field(default_factory=list)
    num_surplus: int = 0
    """Codes beyond those that a region has."""


class CodeReader(RegionReader[CodeDraft]):
    """Sorts the codes of one block into regions."""

    def __init__(
        self, *, boxes: bool, tokens: bool, num_codes: int, codebook: int, notes: Notes
    ) -> None:
        """Keep what the format says.

        Args:
            boxes: whether regions have boxes.
            tokens: whether boxes are written as tokens; else in digits.
            num_codes: codes of a region.
            codebook: codes that there are.
            notes: takes the problems.
        """
        super().__init__(tokens=tokens, notes=notes)
        self.token = BOX_TOKEN if boxes else IMAGE_TOKEN
        self.num_codes = num_codes
        self.codebook = codebook

    def codes(self, draft: CodeDraft) -> tuple[int, ...]:
        """A region's codes in their order, as many as were written; its problems are listed."""
        name = shorten(draft.label)
        if draft.num_surplus:
            self.notes.add(
                "extra-codes",
                f"{name} has {self.num_codes + draft.num_surplus} codes: the first "
                f"{self.num_codes} count",
            )
        if len(draft.codes) < self.num_codes:
            self.notes.add(
                "missing-codes", f"{name} has {len(draft.codes)} of {self.num_codes} codes"
            )
        return tuple(draft.codes)

    def _new(self, label: str, locs: list[int]) -> CodeDraft:
        return CodeDraft(label=label, locs=locs)

    def _begun(self, draft: CodeDraft) -> bool:
        return bool(draft.codes)

    def _complete(self, draft: CodeDraft) -> bool:
        return len(draft.codes) >= self.num_codes

    def _take(self, draft: CodeDraft, kind: str, number: str) -> None:
        if self._complete(draft):
            draft.num_surplus += 1
            return
        code = bounded(number) if number else self.codebook
        if code >= self.codebook:
            self.notes.add("bad-code", f"<|{kind}{number}|> is none of {self.codebook} codes")
            code = UNKNOWN
        draft.codes.append(code)
