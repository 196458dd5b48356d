"""Questions in words in a report: what was answered beside the references, and scores by tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from t4spp.decoding.prediction import Prediction
from t4spp.evaluation.pairs import MASK_IN_WORDS, read_words, words_of
from t4spp.evaluation.words import normalised, soft_accuracy
from t4spp.report.runs import RunView
from t4spp.types import Sample

NUM_SHOWN = 24
"""Questions that a page shows, spread evenly over the split."""
MAX_CHARS = 400
"""Characters of an answer or reference that a page shows."""


@dataclass(frozen=True, kw_only=True)
class QuestionRow:
    """One question.

    Attributes:
        id: of the sample.
        question: as it was asked.
        num_turns: turns before it.
        answer: without masks, cut to ``MAX_CHARS``.
        references: different ones, the learnt one first, cut likewise.
        accuracy: VQA's; None where there is no reference.
        note: what was wrong with the answer.
    """

    id: str
    question: str
    num_turns: int
    answer: str
    references: tuple[str, ...]
    accuracy: float | None
    note: str


@dataclass(frozen=True, kw_only=True)
class TagRow:
    """Scores of the questions that bear a tag; None where a score says nothing about them."""

    tag: str
    num_questions: int
    exact_match: float | None
    vqa_accuracy: float | None
    word_f1: float | None
    yes_no_accuracy: float | None


def candidates(view: RunView) -> list[str]:
    """Ids of answers that may be to questions in words: those without a scored mask."""
    if not view.metrics.get("num_in_words"):
        return []
    scored = {row.id for row in view.scores}
    unscored = [one.id for one in view.predictions if one.id not in scored]
    return unscored[:: max(1, -(-len(unscored) // NUM_SHOWN))]


def question_rows(
    ids: Sequence[str], samples: Mapping[str, Sample], predictions: Mapping[str, Prediction]
) -> list[QuestionRow]:
    """The questions among some samples, those that are answered worst first."""
    rows = [
        _row(samples[key], predictions[key])
        for key in ids
        if key in samples and key in predictions and samples[key].kind == "dialogue"
    ]
    return sorted(rows, key=lambda row: -1.0 if row.accuracy is None else row.accuracy)


def _row(sample: Sample, prediction: Prediction) -> QuestionRow:
    words = words_of(prediction.text)
    references = [normalised(answer) for answer in sample.answers]
    faults = [problem.code for problem in read_words(prediction.text).problems]
    noted = {MASK_IN_WORDS: "holds a mask"}
    note = prediction.refused or prediction.problem or ", ".join(noted.get(f, f) for f in faults)
    return QuestionRow(
        id=sample.id,
        question=_cut(sample.prompt),
        num_turns=len(sample.context),
        answer=_cut(words),
        references=tuple(dict.fromkeys(map(_cut, sample.answers))),
        accuracy=soft_accuracy(normalised(words), references) if references else None,
        note=note,
    )


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]} …"


def question_tags(metrics: Mapping[str, Any]) -> list[TagRow]:
    """What ``metrics.json`` has of questions by tag."""
    told = metrics.get("protocol_counts", {}).get("dialogue", {}).get("by_tag", {})
    return [
        TagRow(
            tag=tag,
            num_questions=int(scores.get("questions", 0)),
            exact_match=scores.get("exact_match"),
            vqa_accuracy=scores.get("vqa_accuracy"),
            word_f1=scores.get("word_f1"),
            yes_no_accuracy=scores.get("yes_no_accuracy"),
        )
        for tag, scores in told.items()
    ]
