"""Prompts of a batch that begin alike are read once: several questions about one picture.

The model reads one prompt of each picture. Its keys and values are those of the others, too, as far
as their tokens agree; each of these then reads the rest of its own tokens. So a picture goes
through the encoder and the language model once a batch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from t4spp.components import Backbone
from t4spp.decoding.asking import Asked, picture_tokens

if TYPE_CHECKING:
    from torch import Tensor

    from t4spp.decoding.driving import Driver

logger = logging.getLogger(__name__)

_TEXT_TENSORS = {"input_ids", "attention_mask", "position_ids", "token_type_ids"}
"""Inputs that hold nothing of a picture."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What is read in full, and what each prompt reads besides.

    Attributes:
        asked: the longest prompt of each picture.
        rows: for each prompt of the batch, which of them its beginning is that of.
        shorter: by how many tokens it is shorter than that one.
        rest: its tokens behind what they have in common; none where it is that prompt.
    """

    asked: Asked
    rows: tuple[int, ...]
    shorter: tuple[int, ...]
    rest: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, backbone: Backbone, asked: Asked, max_length: int | None) -> Shared | None:
        """What prompts share; None where it is nothing, or cannot be known.

        Args:
            backbone: loaded.
            asked: the prompts of a batch.
            max_length: longest prompt in tokens.
        """
        groups = _groups(asked)
        if not _alike(asked, groups):
            logger.warning(
                "prompts with one image_id and size have different pictures, for example %r: each "
                "is read in full. The recipe must name pictures apart.",
                asked.conversations[0].image_id,
            )
            return None
        if len(groups) == len(asked.conversations):
            return None
        pictured = picture_tokens(backbone)
        if not pictured and set(asked.inputs.tensors) - _TEXT_TENSORS:
            return None
        ids = _unpadded(asked)
        heads = [max(group, key=lambda place: len(ids[place])) for group in groups]
        rows, shorter = [0] * len(ids), [0] * len(ids)
        rest: list[tuple[int, ...]] = [()] * len(ids)
        for row, (group, head) in enumerate(zip(groups, heads, strict=True)):
            for place in group:
                own = ids[place]
                common = _num_common(own, ids[head])
                if own != ids[head]:
                    common = min(common, len(own) - 1)
                    rest[place] = own[common:]
                    if pictured & {*rest[place], *ids[head][common:]}:
                        return None
                rows[place] = row
                shorter[place] = len(ids[head]) - len(own)
        heads_asked = _only(backbone, asked, heads, max_length)
        if _unpadded(heads_asked) != [ids[head] for head in heads]:
            return None
        return cls(asked=heads_asked, rows=tuple(rows), shorter=tuple(shorter), rest=tuple(rest))

    def prompt(self, driver: Driver) -> Tensor:
        """Read all prompts: float[B, V], the logits of each one's first token."""
        import torch

        logits = driver.prompt()
        driver.spread(self.rows, self.shorter)
        first = logits[torch.tensor(self.rows, device=logits.device)]
        if any(self.rest):
            behind = driver.step(self.rest, [-len(tokens) for tokens in self.rest])
            for place, tokens in enumerate(self.rest):
                if tokens:
                    first[place] = behind[place, len(tokens) - 1]
        return first


def verdict(model: Any) -> bool | None:
    """Whether prompts of this model can be shared; None where it was not tried."""
    return _VERDICTS.get(model)


def decide(model: Any, shares: bool) -> None:
    """Remember it, as long as the model is in use."""
    _VERDICTS[model] = shares


_VERDICTS: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def other_ending(backbone: Backbone, asked: Asked) -> Asked:
    """The same prompts, each with another last token: one that stands in it before."""
    tensors = dict(asked.inputs.tensors)
    ids = tensors["input_ids"].clone()
    pictured = picture_tokens(backbone)
    for row, known in zip(ids, _unpadded(asked), strict=True):
        last = known[-1]
        others = (token for token in reversed(known) if token != last and token not in pictured)
        row[-1] = next(others, last)
    return replace(asked, inputs=replace(asked.inputs, tensors={**tensors, "input_ids": ids}))


def _groups(asked: Asked) -> list[list[int]]:
    """Places of prompts about one picture; who shows examples stands alone."""
    groups: dict[Any, list[int]] = {}
    for place, conversation in enumerate(asked.conversations):
        alone = conversation.examples or not conversation.image_id
        key = place if alone else (conversation.image_id, tuple(conversation.size))
        groups.setdefault(key, []).append(place)
    return list(groups.values())


def _alike(asked: Asked, groups: Sequence[Sequence[int]]) -> bool:
    """Whether a group's pictures are the same, where the tensors have one row a prompt."""
    tensors = asked.inputs.tensors
    told_by_token = tensors["input_ids"].shape
    return all(
        tensor[place].equal(tensor[group[0]])
        for tensor in tensors.values()
        if tensor.shape[:2] != told_by_token and len(tensor) == len(asked.conversations)
        for group in groups
        for place in group[1:]
    )


def _unpadded(asked: Asked) -> list[tuple[int, ...]]:
    """The ids of each prompt."""
    ids, mask = asked.inputs.tensors["input_ids"], asked.inputs.tensors.get("attention_mask")
    if mask is None:
        return [tuple(row) for row in ids.tolist()]
    return [tuple(row[kept.bool()].tolist()) for row, kept in zip(ids, mask, strict=True)]


def _num_common(left: Sequence[int], right: Sequence[int]) -> int:
    for place, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return place
    return min(len(left), len(right))


def _only(backbone: Backbone, asked: Asked, places: Sequence[int], max_length: int | None) -> Asked:
    """Some of the prompts, collated anew: who collates knows how pictures lie in the tensors."""
    conversations = tuple(asked.conversations[place] for place in places)
    return replace(
        asked,
        inputs=backbone.collate(conversations, training=False, max_length=max_length),
        conversations=conversations,
        labels=tuple(asked.labels[place] for place in places),
    )
