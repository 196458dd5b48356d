"""One answer to one prompt, as it is kept on disk."""

from __future__ import annotations

from dataclasses import dataclass

PROMPT_TOO_LONG = "prompt-too-long"
"""``refused`` of a prompt that does not fit ``data.max_length``."""
UNWRITABLE_LABEL = "unwritable-label"
"""``refused`` of a prompt for a label that the scheme cannot write."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a backbone answered to one prompt.

    Attributes:
        id: the sample's id.
        prompt: the sample's bare phrase.
        labels: the labels that were asked for.
        text: the raw answer; special tokens stand in it, end and padding tokens do not.
        num_tokens: answer tokens, the end token counted; None when nothing tokenised it.
        num_passes: forward passes of the model, the prompt's pass and all candidates' counted.
        seconds: wall time of its batch over the batch's size.
        refused: why the model was not asked, a problem's code; None where it was.
        others: raw texts of the candidates that this answer was chosen before.
        problem: code of what cut the answer short; empty where nothing did.
        num_drafted: tokens that passes were given as guesses; see ``generation.engine``.
        num_accepted: those of them that the model would have written itself.
        engine: ``fast``, or ``generate`` where a model that was to be driven fast could not be;
            empty where nobody asked for ``fast``.
    """

    id: str
    prompt: str
    labels: tuple[str, ...]
    text: str
    num_tokens: int | None
    num_passes: int
    seconds: float
    refused: str | None = None
    others: tuple[str, ...] = ()
    problem: str = ""
    num_drafted: int = 0
    num_accepted: int = 0
    engine: str = ""
