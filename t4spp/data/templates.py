"""Questions and answer openings of three kinds: partial, conditioned, open.

A *partial* question asks for one named thing, a *conditioned* one for every class of a list, an
*open* one for everything. Which template a sample gets is a pure function of (seed, sample id,
epoch), so that an evaluation asks the same question every time it is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from t4spp.seeds import digest_of
from t4spp.types import PromptKind, Sample

TemplateMode = Literal["fixed", "varied"]

PHRASE = "{prompt}"
"""Where a question takes the prompt; it is replaced literally, so a prompt may hold braces."""


@dataclass(frozen=True, kw_only=True)
class TemplateSet:
    """The templates of one kind; the first of each is the ``fixed`` one."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]


TEMPLATES: Mapping[PromptKind, TemplateSet] = MappingProxyType(
    {
        "partial": TemplateSet(
            questions=(
                "Segment {prompt}.",
                'Where is "{prompt}"? Answer with its mask.',
                'Write the mask of "{prompt}".',
                'Mark every pixel that belongs to "{prompt}".',
                'Outline "{prompt}" in this picture, please.',
                'I am looking for "{prompt}". Which part of the picture is it?',
            ),
            answers=(
                "Here it is.",
                "This is its mask.",
                "I have marked it.",
                "The mask is below.",
                "It covers these pixels.",
                "Its outline follows.",
            ),
        ),
        "conditioned": TemplateSet(
            questions=(
                "Segment by these classes: {prompt}.",
                "Give each pixel one of these labels: {prompt}.",
                "Label the picture. The classes to choose from are {prompt}.",
                "Divide the picture into {prompt}; what fits none of them is background.",
                "Which regions show {prompt}? Write a mask for each class you find.",
                "Make a map of the picture with this legend: {prompt}.",
            ),
            answers=(
                "Here they are.",
                "This is the labelled picture.",
                "I found these regions.",
                "The map is below.",
                "Each class has its mask.",
                "The regions follow.",
            ),
        ),
        "open": TemplateSet(
            questions=(
                "Segment everything.",
                "Name all that you see and write its mask.",
                "Which things are in this picture, and where? Answer with masks.",
                "Divide this picture into regions and name each.",
                "Label every part of the picture in your own words.",
                "Make a full map of the picture: names and masks.",
            ),
            answers=(
                "Here is everything.",
                "This is what I see.",
                "I found these regions.",
                "The whole picture is mapped below.",
                "Every part has its name.",
                "Names and masks follow.",
            ),
        ),
    }
)


def pick(num_choices: int, mode: TemplateMode, key: Sequence[object]) -> int:
    """An index below ``num_choices``: 0 for ``fixed``, a hash of ``key`` for ``varied``.

    The hash is SHA-256 of the key's parts, so the choice is the same on every machine and
    independent of any global random state.
    """
    if mode == "fixed":
        return 0
    return int.from_bytes(digest_of(*key)[:8], "big") % num_choices


def phrase(sample: Sample) -> str:
    """What the question names: the prompt, or the labels joined with ``|`` where it is empty."""
    return sample.prompt or "|".join(sample.labels)


def question(sample: Sample, mode: TemplateMode, *, seed: int, epoch: int | None) -> str:
    """The user's turn for ``sample``; of a dialogue the prompt as it is.

    Args:
        sample: its kind chooses the family, its prompt (or labels) fills the gap.
        mode: ``fixed`` takes the family's first template.
        seed: the run's seed.
        epoch: the training epoch; None for evaluation, which always asks the same.
    """
    if sample.kind == "dialogue":
        return sample.prompt
    choices = TEMPLATES[sample.kind].questions
    when: object = "evaluation" if epoch is None else epoch
    chosen = choices[pick(len(choices), mode, ("question", seed, sample.id, when))]
    return chosen.replace(PHRASE, phrase(sample))


def answer_opening(sample: Sample, mode: TemplateMode, *, seed: int, epoch: int) -> str:
    """The sentence that stands before the ``<seg>`` block of a training answer.

    It never depends on the targets, so it tells the model nothing about the truth.
    """
    choices = TEMPLATES[sample.kind].answers
    return choices[pick(len(choices), mode, ("answer", seed, sample.id, epoch))]
