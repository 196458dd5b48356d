"""What a comparison pictures: a sample or a place, and what every run answered to it."""

from __future__ import annotations

from dataclasses import dataclass

from t4spp.report.gallery import Panel


@dataclass(frozen=True, kw_only=True)
class ComparedCard:
    """One sample under every run; ``panels`` are the picture and the truth."""

    id: str
    prompt: str
    panels: tuple[Panel, ...]
    answers: tuple[ComparedAnswer, ...]


@dataclass(frozen=True, kw_only=True)
class ComparedAnswer:
    """A run's answer; ``iou`` is None where the truth is empty, ``empty``: no scored pixel."""

    run: str
    iou: float | None
    status: str
    problems: tuple[str, ...]
    num_tokens: int | None
    text: str
    panel: Panel
    empty: bool = False


@dataclass(frozen=True, kw_only=True)
class ComparedGroup:
    """A heading with its samples."""

    title: str
    note: str
    cards: tuple[ComparedCard, ...]
