"""What one answer scores: a row a (sample, label) pair and a row an answer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from t4spp.components import Refiner
from t4spp.decoding.prediction import Prediction
from t4spp.evaluation.shapes import Shape, shape_of
from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN, Scheme
from t4spp.types import BACKGROUND, BoolMask, Box, Decoded, Problem, Sample, Status

MASK_IN_WORDS = "mask-in-words"
"""Problem of an answer that holds a ``<seg>`` block although words were asked for."""
NO_WORDS = "no-words"
"""Problem of an answer that holds no word although words were asked for."""
_BLOCK = re.compile(f"{re.escape(SEG_OPEN)}.*?(?:{re.escape(SEG_CLOSE)}|\\Z)", re.DOTALL)
_NO_BOX = Box(y0=0, x0=0, y1=0, x1=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairScore:
    """One (sample, label): the union of its targets against the union of the regions bearing it.

    Attributes:
        position: of the sample in its split.
        id: the sample's id.
        image_id: its picture, which the bootstrap draws; the id where a recipe names none.
        label: the label; empty for a no-target prompt that names none.
        has_target: whether the truth has a pixel of this label.
        intersection: pixels in both, ``ignore`` left out.
        union: pixels in either, ``ignore`` left out.
        predicted_area: predicted pixels, ``ignore`` left out.
        predicted_box: box of the predicted mask, (0, 0, 0, 0) when empty.
        true_box: box of the true mask, likewise.
        status: of the answer.
        tags: of the sample.
        shape: of the true mask, ``ignore`` left out; None where it is empty.
    """

    position: int
    id: str
    image_id: str
    label: str
    has_target: bool
    intersection: int
    union: int
    predicted_area: int
    predicted_box: Box
    true_box: Box
    status: Status
    tags: tuple[str, ...]
    shape: Shape | None = None

    @property
    def iou(self) -> float:
        """Intersection over union; 1 where both masks are empty."""
        return self.intersection / self.union if self.union else 1.0

    @property
    def says_nothing(self) -> bool:
        """Whether the answer could be read, and says that nothing is there."""
        return self.predicted_area == 0 and self.status != "invalid"


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerRow:
    """One answer: how it was read and what it cost.

    Attributes:
        position: of the sample in its split.
        id: the sample's id.
        status: of the answer.
        problems: how often each problem's code occurs in it.
        unasked_labels: regions with a label that was not asked for (only where the prompt leaves
            the labels open; otherwise decoding reports ``unknown-label``).
        num_tokens: answer tokens; None when nothing tokenised it.
        num_passes: forward passes.
        seconds: wall time.
        num_drafted: tokens that passes were given as guesses.
        num_accepted: those of them that were written.
        engine: see :class:`t4spp.decoding.prediction.Prediction`.
        in_words: whether words were asked for.
    """

    position: int
    id: str
    status: Status
    problems: dict[str, int]
    unasked_labels: int
    num_tokens: int | None
    num_passes: int
    seconds: float
    num_drafted: int = 0
    num_accepted: int = 0
    engine: str = ""
    in_words: bool = False


def scored_labels(sample: Sample) -> tuple[str, ...]:
    """The labels that a sample is scored on: those asked for, then the targets' others."""
    labels = dict.fromkeys([*sample.labels, *(target.label for target in sample.targets)])
    labels.pop(BACKGROUND, None)
    return tuple(labels)


def truth_of(sample: Sample, label: str) -> BoolMask:
    """The union of a sample's targets of one label, bool[H, W]."""
    mask = np.zeros(sample.size, dtype=np.bool_)
    for target in sample.targets:
        if target.label == label:
            mask |= target.mask
    return mask


def score_pairs(position: int, sample: Sample, decoded: Decoded) -> list[PairScore]:
    """Compare one decoded answer with the truth, at the picture's resolution.

    A prompt that names no label and has no target is one pair with the label ``""``: every
    region that it was answered with counts. A question in words has no pairs.
    """
    if sample.kind == "dialogue":
        return []
    counted = None if sample.ignore is None else ~sample.ignore
    pairs: list[PairScore] = []
    for label in scored_labels(sample) or ("",):
        truth = truth_of(sample, label)
        predicted = answered_mask(sample, decoded, label)
        has_target = bool(truth.any())
        if counted is not None:
            truth &= counted
            predicted &= counted
            if has_target and not truth.any():
                continue  # every true pixel is ignored: neither a target nor its absence
        intersection = int(np.count_nonzero(truth & predicted))
        area, true_area = int(np.count_nonzero(predicted)), int(np.count_nonzero(truth))
        true_box = Box.of_mask(truth)
        pairs.append(
            PairScore(
                position=position,
                id=sample.id,
                image_id=sample.image_id or sample.id,
                label=label,
                has_target=has_target,
                intersection=intersection,
                union=area + true_area - intersection,
                predicted_area=area,
                predicted_box=Box.of_mask(predicted) or _NO_BOX,
                true_box=true_box or _NO_BOX,
                status=decoded.status,
                tags=sample.tags,
                shape=None
                if true_box is None
                else shape_of(truth, true_box, _num_instances(sample, label)),
            )
        )
    return pairs


def _num_instances(sample: Sample, label: str) -> int:
    """Targets of a label with a pixel that is scored."""
    masks = (target.mask for target in sample.targets if target.label == label)
    if sample.ignore is None:
        return sum(bool(mask.any()) for mask in masks)
    return sum(bool((mask & ~sample.ignore).any()) for mask in masks)


def answer_row(
    position: int, sample: Sample, prediction: Prediction, decoded: Decoded
) -> AnswerRow:
    """What an answer cost and how it was read."""
    asked = scored_labels(sample)
    unasked = [r for r in decoded.regions if r.label not in asked and r.label != BACKGROUND]
    return AnswerRow(
        position=position,
        id=sample.id,
        status=decoded.status,
        problems=dict(Counter(problem.code for problem in decoded.problems)),
        unasked_labels=len(unasked) if asked else 0,
        num_tokens=prediction.num_tokens,
        num_passes=prediction.num_passes,
        seconds=prediction.seconds,
        num_drafted=prediction.num_drafted,
        num_accepted=prediction.num_accepted,
        engine=prediction.engine,
        in_words=sample.kind == "dialogue",
    )


def asked_labels(labels: Sequence[str]) -> tuple[str, ...] | None:
    """The labels that decoding admits; None where the prompt leaves them open."""
    return tuple(labels) or None


def read_answer(
    sample: Sample, prediction: Prediction, scheme: Scheme, refiner: Refiner | None
) -> tuple[Decoded, Decoded]:
    """An answer's coarse and final reading; the same object where nothing refines.

    The picture is read only where the refiner looks at it. An answer in words has no regions.

    Raises:
        RecipeError: the refiner needs the sample's picture, which is missing or damaged.
    """
    if prediction.refused:
        problem = Problem(code=prediction.refused, message="the model was not asked")
        coarse = Decoded(regions=(), status="invalid", problems=(problem,))
    elif sample.kind == "dialogue":
        coarse = read_words(prediction.text)
    else:
        coarse = scheme.decode(prediction.text, sample.size, asked_labels(prediction.labels))
    if prediction.problem:
        what = "ended before the answer did"
        problem = Problem(code=prediction.problem, message=f"generation {what}")
        coarse = replace(
            coarse,
            status="repaired" if coarse.status == "ok" else coarse.status,
            problems=(*coarse.problems, problem),
        )
    if refiner is None or sample.kind == "dialogue":
        return coarse, coarse
    image = sample.image if refiner.reads_pixels else np.zeros((*sample.size, 3), dtype=np.uint8)
    return coarse, refiner.refine(image, coarse)


def read_words(text: str) -> Decoded:
    """How an answer in words is read: ``invalid`` where it says nothing, no regions in any case.

    ``repaired`` where it holds a mask, which nobody asked for and which :func:`words_of` leaves
    out.
    """
    problems = []
    if SEG_OPEN in text:
        problems.append(Problem(code=MASK_IN_WORDS, message="a mask where words were asked for"))
    if not words_of(text):
        problems.append(Problem(code=NO_WORDS, message="the answer has no words"))
        return Decoded(regions=(), status="invalid", problems=tuple(problems))
    status: Status = "repaired" if problems else "ok"
    return Decoded(regions=(), status=status, problems=tuple(problems))


def words_of(text: str) -> str:
    """An answer without its ``<seg>`` blocks and outer blanks; an open block reaches the end."""
    return _BLOCK.sub(" ", text).strip()


def answered_mask(sample: Sample, decoded: Decoded, label: str) -> BoolMask:
    """What was answered for a label, bool[H, W]; for ``""``, every region that was answered."""
    if label:
        return decoded.union(label, sample.size)
    mask = np.zeros(sample.size, dtype=np.bool_)
    for region in decoded.regions:
        if region.label != BACKGROUND:
            mask |= region.mask
    return mask
