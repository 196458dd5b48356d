"""A sample as the model sees it: one question about one picture, and its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from t4spp.types import BoolMask, Image


@dataclass(frozen=True, kw_only=True, eq=False)
class Conversation:
    """One question with its answer.

    Attributes:
        id: the sample's id.
        question: the user's turn, templated, without image placeholder tokens.
        answer: the assistant's whole turn (template, ``<seg>`` block); None for generation.
        in_words: whether an answer in plain words is asked for: no grammar of masks holds for it.
        turns: earlier turns about the same picture, as (question, answer), in order; the picture
            stands before the first.
        size: (H, W) of the picture in pixels.
        load_image: reads uint8[H, W, 3].
        image_id: equal for conversations about one picture.
        examples: answered conversations about other pictures, the turns before this one, in order;
            they have no examples themselves. A backbone that cannot take them refuses.
        load_target: bool[H, W], where what is asked for lies, the union of the targets; for losses
            that teach where to look. None for generation, and where words are asked for.
    """

    id: str
    question: str
    answer: str | None
    size: tuple[int, int]
    load_image: Callable[[], Image] = field(repr=False)
    image_id: str = ""
    in_words: bool = False
    turns: tuple[tuple[str, str], ...] = ()
    examples: tuple[Conversation, ...] = ()
    load_target: Callable[[], BoolMask] | None = field(default=None, repr=False)
