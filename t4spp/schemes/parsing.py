"""Reading untrusted answers: ``<seg>`` blocks, the list of problems, the status."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN
from t4spp.types import Decoded, Problem, Region, Status

MAX_PROBLEMS = 200
"""Problems that one answer lists; a last one says that there were more."""
MAX_BLOCKS = 64
"""``<seg>`` blocks of one answer that are read."""
_TAG = re.compile(f"{SEG_OPEN}|{SEG_CLOSE}")
_BLANK = " \t\r\n"


class Notes:
    """What reading one answer met: problems in order, and whether anything could be read."""

    def __init__(self, labels: Sequence[str] | None) -> None:
        """Keep the names that the prompt admits; None admits any."""
        self.known = None if labels is None else frozenset(labels)
        self.problems: list[Problem] = []
        self.read_something = False

    def add(self, code: str, message: str, row: int = -1, column: int = -1) -> None:
        """List a problem."""
        count = len(self.problems)
        if count < MAX_PROBLEMS:
            self.problems.append(Problem(code=code, message=message, row=row, column=column))
        elif count == MAX_PROBLEMS:
            self.problems.append(
                Problem(code="more-problems", message=f"only the first {MAX_PROBLEMS} are listed")
            )

    def admits(self, label: str) -> bool:
        """Whether the prompt asks for ``label``."""
        return self.known is None or label in self.known

    def decoded(self, regions: Iterable[Region]) -> Decoded:
        """Regions with the status that follows from what was met."""
        kept = tuple(regions)
        status: Status
        if not self.read_something:
            status = "invalid"
            if not self.problems:
                self.add("empty", "there is no descriptor")
        else:
            status = "repaired" if self.problems else "ok"
        return Decoded(regions=kept, status=status, problems=tuple(self.problems))


def blocks(text: str, notes: Notes) -> Iterator[str]:
    """The descriptors of an answer: what stands in ``<seg>`` blocks, or the whole bare text."""
    tags = list(_TAG.finditer(text))
    if not tags:
        yield text
        return
    if not any(tag.group() == SEG_OPEN for tag in tags):
        notes.add("stray-close", f"{SEG_CLOSE} without {SEG_OPEN}: what stands before it is read")
        yield text[: tags[0].start()]
        return
    num_blocks = 0
    for tag, after in zip(tags, [*tags[1:], None], strict=True):
        if tag.group() != SEG_OPEN:
            if after is not None and after.group() == SEG_CLOSE:
                notes.add("stray-close", f"{SEG_CLOSE} without {SEG_OPEN}: left out")
            continue
        num_blocks += 1
        if num_blocks > MAX_BLOCKS:
            notes.add("too-many-blocks", f"only the first {MAX_BLOCKS} blocks are read")
            return
        if after is None:
            notes.add("unclosed-seg", f"{SEG_OPEN} is not closed: read to the end")
            yield text[tag.end() :]
            return
        if after.group() == SEG_OPEN:
            notes.add("unclosed-seg", f"{SEG_OPEN} is not closed: read to the next one")
        yield text[tag.end() : after.start()]


def strip_blanks(text: str) -> str:
    """Without outer spaces and line ends, which carry nothing in any descriptor."""
    return text.strip(_BLANK)


def shorten(text: str) -> str:
    """Untrusted text as a short literal for a message."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
