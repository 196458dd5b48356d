"""The ``dialogue`` protocol: answers in words against references."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torchmetrics import Metric

from t4spp.decoding.answers import BUDGET_ENDED
from t4spp.evaluation.averages import CountRatio, ExactMean
from t4spp.evaluation.bootstrap import Terms
from t4spp.evaluation.pairs import MASK_IN_WORDS, NO_WORDS, words_of
from t4spp.evaluation.protocols.base import Answered, EvaluationProtocol
from t4spp.evaluation.words import (
    NUM_REFERENCES,
    normalised,
    official_accuracy,
    says_either,
    says_yes,
    soft_accuracy,
    word_overlap,
)


@dataclass(frozen=True, kw_only=True)
class DialogueRow:
    """One question.

    Attributes:
        position: of the sample in its split.
        image_id: its picture.
        tags: of the sample.
        num_references: 0 leaves the question out of every score.
        exact: whether the answer is one of the references, both normalised.
        soft: VQA's accuracy, 0..1.
        official: the same with the official code's exception for references that are alike.
        overlap: the best F1 of words, 0..1.
        asks_yes_no: whether every reference is yes or no.
        truth: of such a question, whether the learnt reference is yes.
        said: whether the answer says yes; None where it says nothing.
        says_either: whether it says yes or no in so many words.
        problems: codes of what was wrong with the answer.
    """

    position: int
    image_id: str
    tags: tuple[str, ...]
    num_references: int
    exact: bool
    soft: float
    official: float
    overlap: float
    asks_yes_no: bool
    truth: bool
    said: bool | None
    says_either: bool
    problems: tuple[str, ...]


_MEANS: Mapping[str, Callable[[DialogueRow], float]] = {
    "exact_match": lambda row: float(row.exact),
    "vqa_accuracy": lambda row: row.soft,
    "vqa_accuracy_official": lambda row: row.official,
    "word_f1": lambda row: row.overlap,
}
"""Over all questions with a reference."""

_YES_NO: Mapping[str, Callable[[DialogueRow], tuple[int, int]]] = {
    "yes_no_accuracy": lambda row: (row.said is row.truth, 1),
    "yes_no_precision": lambda row: (row.truth and row.said is True, row.said is True),
    "yes_no_recall": lambda row: (row.truth and row.said is True, row.truth),
    "yes_no_f1": lambda row: (2 * (row.truth and row.said is True), row.truth + (row.said is True)),
    "yes_ratio": lambda row: (row.said is True, 1),
}
"""Numerator and denominator over questions that ask for yes or no; yes is the positive class."""


class DialogueProtocol(EvaluationProtocol[DialogueRow]):
    """Exact match, VQA's accuracy, and POPE's yes and no; prompts for masks are not looked at.

    A ``<seg>`` block in an answer is left out of its words, and counted.
    """

    name = "dialogue"
    summary = "answers in words: exact match, VQA accuracy, POPE's yes and no"
    dialogue = True

    def __init__(self) -> None:
        """Make the metrics."""
        self.metrics: dict[str, Metric] = {
            **{name: ExactMean() for name in _MEANS},
            **{name: CountRatio() for name in _YES_NO},
        }

    def measure(self, answered: Answered) -> Sequence[DialogueRow]:
        """The one row of a question."""
        sample, words = answered.sample, words_of(answered.prediction.text)
        said = normalised(words)
        references = [normalised(answer) for answer in sample.answers]
        yes_no = bool(references) and set(references) <= {"yes", "no"}
        return (
            DialogueRow(
                position=answered.position,
                image_id=sample.image_id or sample.id,
                tags=sample.tags,
                num_references=len(references),
                exact=said in references,
                soft=soft_accuracy(said, references) if references else 0.0,
                official=official_accuracy(words, sample.answers) if references else 0.0,
                overlap=word_overlap(said, references) if references else 0.0,
                asks_yes_no=yes_no,
                truth=yes_no and references[0] == "yes",
                said=says_yes(words),
                says_either=says_either(words),
                problems=tuple(problem.code for problem in answered.decoded.problems),
            ),
        )

    def update(self, rows: Sequence[DialogueRow], device: torch.device | None = None) -> None:
        """Add questions to the metrics; an empty sequence is allowed.

        Args:
            rows: of this process.
            device: where the metrics' states meet other processes'; None for the CPU.
        """
        if device is not None:
            for metric in self.metrics.values():
                metric.to(device)
        known = [row for row in rows if row.num_references]
        for name, value in _MEANS.items():
            values = [value(row) for row in known]
            self.metrics[name].update(torch.tensor(values, dtype=torch.float64))
        asked = [row for row in known if row.asks_yes_no]
        for name, counted in _YES_NO.items():
            pairs = torch.tensor([counted(row) for row in asked], dtype=torch.int64).reshape(-1, 2)
            self.metrics[name].update(pairs[:, 0], pairs[:, 1])

    def terms(self, rows: Sequence[DialogueRow]) -> dict[str, Terms]:
        """The same scores as ratios of sums over questions, for the bootstrap."""
        known = np.array([row.num_references > 0 for row in rows], dtype=np.float64)
        asked = known * np.array([row.asks_yes_no for row in rows], dtype=np.float64)
        found = {
            name: Terms(
                numerator=known * np.array([value(row) for row in rows], dtype=np.float64),
                denominator=known,
            )
            for name, value in _MEANS.items()
        }
        for name, counted in _YES_NO.items():
            pairs = np.array([counted(row) for row in rows], dtype=np.float64).reshape(-1, 2)
            found[name] = Terms(numerator=asked * pairs[:, 0], denominator=asked * pairs[:, 1])
        return found

    def counts(self, rows: Sequence[DialogueRow]) -> Mapping[str, Any]:
        """How many questions of which kind, what was wrong with answers, and scores a tag.

        Args:
            rows: of all processes, in the split's order.
        """
        asked = [row for row in rows if row.asks_yes_no]
        tags = sorted({tag for row in rows for tag in row.tags})
        return {
            "questions": len(rows),
            "without_reference_left_out": sum(not row.num_references for row in rows),
            "with_one_reference": sum(row.num_references == 1 for row in rows),
            "with_fewer_than_ten_references": sum(
                0 < row.num_references < NUM_REFERENCES for row in rows
            ),
            "yes_no_questions": len(asked),
            "neither_yes_nor_no": sum(not row.says_either for row in asked),
            "answers_with_a_mask": _num_with(rows, MASK_IN_WORDS),
            "empty_answers": _num_with(rows, NO_WORDS),
            "answers_cut_short": _num_with(rows, BUDGET_ENDED),
            "by_tag": {tag: self._values([row for row in rows if tag in row.tags]) for tag in tags},
        }

    def _values(self, rows: Sequence[DialogueRow]) -> dict[str, Any]:
        scores = {name: term.value() for name, term in self.terms(rows).items()}
        known = {name: value for name, value in scores.items() if not np.isnan(value)}
        return {"questions": len(rows), **known}


def _num_with(rows: Sequence[DialogueRow], code: str) -> int:
    return sum(code in row.problems for row in rows)
