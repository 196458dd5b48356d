"""Conversations to batches, by a checkpoint's own processor.

Shapes: B rows, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image as Pictures

from t4spp.components import ModelInputs
from t4spp.data.conversation import Conversation
from t4spp.errors import BackboneError
from t4spp_plugins.backbones.hf_vlm.profile import Profile, Turn
from t4spp_plugins.backbones.hf_vlm.words import FreeText

_BY_TOKEN = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
"""What a processor says of every token; all else is about pictures."""


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One conversation: int64[L] by name for its tokens, its pictures' tensors."""

    tokens: dict[str, torch.Tensor]
    pictures: dict[str, torch.Tensor]
    num_answer: int

    @property
    def length(self) -> int:
        return len(self.tokens["input_ids"])


class Collator:
    """Batches conversations by one processor."""

    def __init__(self, processor: Any, profile: Profile, text: FreeText, end_id: int) -> None:
        """Keep the parts.

        Args:
            processor: whose tokenizer is ``text.tokenizer``.
            profile: of the family.
            text: writes answers.
            end_id: ends an answer.
        """
        self.processor = processor
        self.profile = profile
        self.text = text
        self.end_id = end_id
        self.tail, self.joint = profile.opening(processor)
        padding = text.tokenizer.pad_token_id
        self.padding = int(end_id if padding is None else padding)

    def batch(
        self,
        conversations: Sequence[Conversation],
        *,
        training: bool,
        max_length: int | None,
        dtype: torch.dtype,
    ) -> ModelInputs:
        """See :meth:`t4spp.components.Backbone.collate`; pixels are given as ``dtype``."""
        rows: list[_Row] = []
        too_long: list[str] = []
        for conversation in conversations:
            row = self._row(conversation, training=training)
            if max_length is not None and row.length > max_length:
                too_long.append(conversation.id)
            else:
                rows.append(row)
        if not rows:
            return ModelInputs(tensors={}, too_long=tuple(too_long))
        tensors = {
            name: self._padded([row.tokens[name] for row in rows], name, right=training)
            for name in rows[0].tokens
        }
        for name in rows[0].pictures:
            joined = _joined([row.pictures[name] for row in rows])
            tensors[name] = joined.to(dtype) if joined.is_floating_point() else joined
        if training:
            labels = torch.full_like(tensors["input_ids"], -100)
            for place, row in enumerate(rows):
                answer = slice(row.length - row.num_answer, row.length)
                labels[place, answer] = tensors["input_ids"][place, answer]
            tensors["labels"] = labels
        return ModelInputs(
            tensors=tensors,
            num_answer_tokens=sum(row.num_answer for row in rows),
            too_long=tuple(too_long),
        )

    def _row(self, conversation: Conversation, *, training: bool) -> _Row:
        encoded = self._read(conversation)
        answer: list[int] = []
        if training:
            if conversation.answer is None:
                raise ValueError(f"conversation {conversation.id!r} has no answer to train on")
            answer = [*self.text.answer(conversation.answer, self.tail, self.joint), self.end_id]
        kept = encoded["input_ids"][0] != self.text.cut_id
        tokens, pictures = {}, {}
        for name, tensor in encoded.items():
            if name in _BY_TOKEN:
                follow = torch.tensor(
                    answer if name == "input_ids" else [self._of(name)] * len(answer)
                )
                tokens[name] = torch.cat([tensor[0][kept], follow.to(tensor.dtype)])
            elif name != "labels":  # an old service of PaliGemma's processor
                pictures[name] = tensor
        return _Row(tokens=tokens, pictures=pictures, num_answer=len(answer))

    def _of(self, name: str) -> int:
        """What ``name`` says of an answer's tokens."""
        return {"attention_mask": 1, "token_type_ids": self.profile.answer_type}.get(name, 0)

    def _read(self, conversation: Conversation) -> dict[str, torch.Tensor]:
        """What the processor makes of a conversation up to its answer, a batch of one."""
        told = [*conversation.examples, replace(conversation, answer=None)]
        if len(told) > 1 and not self.profile.several_images:
            raise BackboneError(
                f"hf-vlm: the family {self.profile.name} reads one picture a prompt, and "
                f"conversation {conversation.id!r} shows {len(told) - 1} examples, each with its "
                "own. Ask without examples, or choose a family that reads several pictures."
            )
        if conversation.turns and not self.profile.converses:
            raise BackboneError(
                f"hf-vlm: the family {self.profile.name} answers one question a prompt, and "
                f"conversation {conversation.id!r} has {len(conversation.turns)} turns before it. "
                "Take the first turns alone, or choose a family that holds a conversation."
            )
        turns = [turn for one in told for turn in self._turns(one)]
        prompt = self.profile.prompt(self.processor, turns)
        pictures = [Pictures.fromarray(turn.load_image()) for turn in told]
        begin = self.text.tokenizer.bos_token
        options = {} if not begin or not prompt.startswith(begin) else {"add_special_tokens": False}
        try:
            encoded = self.processor(
                images=[pictures], text=[prompt], return_tensors="pt", **options
            )
        except ValueError as error:
            sizes = ", ".join(f"{picture.height} x {picture.width}" for picture in pictures)
            raise BackboneError(
                f"hf-vlm: the family {self.profile.name} cannot read conversation "
                f"{conversation.id!r}, pictures of {sizes} pixels (height x width): {error}. Leave "
                "such pictures out, or crop them."
            ) from error
        return dict(encoded)

    def _turns(self, conversation: Conversation) -> list[Turn]:
        """The turns about one picture, which stands in the first."""
        told = [*conversation.turns, (conversation.question, conversation.answer)]
        return [
            Turn(
                question=self.text.guarded(question),
                answer=None if answer is None else self.text.guarded(answer),
                pictured=place == 0,
            )
            for place, (question, answer) in enumerate(told)
        ]

    def _padded(self, rows: Sequence[torch.Tensor], name: str, *, right: bool) -> torch.Tensor:
        """int64[L] of several lengths to [B, L]."""
        padding = self.padding if name == "input_ids" else 0
        longest = max(map(len, rows))
        batch = rows[0].new_full((len(rows), longest), padding)
        for place, row in enumerate(rows):
            batch[place, slice(0, len(row)) if right else slice(longest - len(row), longest)] = row
        return batch


def _joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Concatenate along the first axis; smaller ones are filled with zeros behind.

    Families whose pictures take several tiles know by other tensors how many are real.
    """
    shapes = {tensor.shape[1:] for tensor in tensors}
    if len(shapes) > 1:
        largest = [max(sides) for sides in zip(*shapes, strict=True)]
        filled = []
        for tensor in tensors:
            whole = tensor.new_zeros((tensor.shape[0], *largest))
            whole[tuple(slice(0, side) for side in tensor.shape)] = tensor
            filled.append(whole)
        tensors = filled
    return torch.cat(list(tensors))
