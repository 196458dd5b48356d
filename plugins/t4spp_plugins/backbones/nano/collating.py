"""nano's batches: conversations to tensors, each behind its picture or several behind one.

Shapes: B rows, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image as Pictures

from t4spp.components import ModelInputs
from t4spp.data.conversation import Conversation
from t4spp.types import Image
from t4spp_plugins.backbones.nano.model import IMAGE_SIZE, NUM_IMAGE_TOKENS
from t4spp_plugins.backbones.nano.vocabulary import ASSISTANT, END, IMAGE, USER, text_ids


def to_pixels(image: Image) -> torch.Tensor:
    """uint8[H, W, 3] -> float32[3, 128, 128] in -1..1, stretched bilinearly with antialiasing."""
    if image.shape[:2] != (IMAGE_SIZE, IMAGE_SIZE):
        picture = Pictures.fromarray(image).resize(
            (IMAGE_SIZE, IMAGE_SIZE), Pictures.Resampling.BILINEAR
        )
        image = np.asarray(picture)
    return torch.from_numpy(image.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Token ids of one conversation, without the picture's."""

    prompt: list[int]
    answer: list[int]

    @property
    def own_length(self) -> int:
        """Tokens."""
        return len(self.prompt) + len(self.answer)

    @property
    def length(self) -> int:
        """Tokens, the picture's counted."""
        return NUM_IMAGE_TOKENS + self.own_length


class Collator:
    """Batches conversations with a tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        """Keep the tokenizer, which has learnt the scheme's tokens."""
        self.tokenizer = tokenizer

    def apart(
        self, conversations: Sequence[Conversation], *, training: bool, max_length: int | None
    ) -> ModelInputs:
        """Each in a row of its own; see :meth:`Backbone.collate`."""
        rows = []
        too_long: list[str] = []
        for conversation in conversations:
            turn = self._turn(conversation, training=training)
            if max_length is not None and turn.length > max_length:
                too_long.append(conversation.id)
            else:
                rows.append((turn, to_pixels(conversation.load_image())))
        if not rows:
            return ModelInputs(tensors={}, too_long=tuple(too_long))
        longest = max(turn.length for turn, _ in rows)
        ids, labels = self._blank(len(rows), longest)
        mask = torch.zeros_like(ids)
        for place, (turn, _) in enumerate(rows):
            span = slice(0, turn.length) if training else slice(longest - turn.length, longest)
            ids[place, span] = torch.tensor(self._picture() + turn.prompt + turn.answer)
            mask[place, span] = 1
            labels[place, turn.length - len(turn.answer) : turn.length] = torch.tensor(turn.answer)
        pixels = torch.stack([picture for _, picture in rows])
        tensors = {"input_ids": ids, "attention_mask": mask, "pixel_values": pixels}
        if training:
            tensors["labels"] = labels
        return ModelInputs(
            tensors=tensors,
            num_answer_tokens=sum(len(turn.answer) for turn, _ in rows),
            too_long=tuple(too_long),
        )

    def packed(
        self, packs: Sequence[Sequence[Conversation]], *, max_length: int | None
    ) -> ModelInputs:
        """Those of a pack in one row; see :meth:`Backbone.collate_packs`.

        A mask bool[B, 1, L, L] keeps the conversations apart, and the positions of each start
        behind the picture's.
        """
        rows: list[list[Turn]] = []
        pictures: list[torch.Tensor] = []
        too_long: list[str] = []
        unpacked: list[str] = []
        for pack in packs:
            turns: list[Turn] = []
            length = NUM_IMAGE_TOKENS
            for place, conversation in enumerate(pack):
                turn = self._turn(conversation, training=True)
                if max_length is None or length + turn.own_length <= max_length:
                    turns.append(turn)
                    length += turn.own_length
                else:
                    (unpacked if place else too_long).append(conversation.id)
            if turns:
                rows.append(turns)
                pictures.append(to_pixels(pack[0].load_image()))
        if not rows:
            return ModelInputs(tensors={}, too_long=tuple(too_long), unpacked=tuple(unpacked))
        longest = max(sum(turn.own_length for turn in turns) for turns in rows)
        ids, labels = self._blank(len(rows), NUM_IMAGE_TOKENS + longest)
        positions = torch.zeros_like(ids)
        segments = torch.full_like(ids, -1)
        ids[:, :NUM_IMAGE_TOKENS] = torch.tensor(self._picture())
        positions[:, :NUM_IMAGE_TOKENS] = torch.arange(NUM_IMAGE_TOKENS)
        segments[:, :NUM_IMAGE_TOKENS] = 0
        for row, turns in enumerate(rows):
            start = NUM_IMAGE_TOKENS
            for number, turn in enumerate(turns, start=1):
                stop = start + turn.own_length
                ids[row, start:stop] = torch.tensor(turn.prompt + turn.answer)
                labels[row, stop - len(turn.answer) : stop] = torch.tensor(turn.answer)
                positions[row, start:stop] = torch.arange(NUM_IMAGE_TOKENS, turn.length)
                segments[row, start:stop] = number
                start = stop
        seen = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])
        tensors = {
            "input_ids": ids,
            "attention_mask": seen.tril()[:, None],
            "position_ids": positions,
            "pixel_values": torch.stack(pictures),
            "labels": labels,
        }
        return ModelInputs(
            tensors=tensors,
            num_answer_tokens=sum(len(turn.answer) for turns in rows for turn in turns),
            too_long=tuple(too_long),
            unpacked=tuple(unpacked),
        )

    def _turn(self, conversation: Conversation, *, training: bool) -> Turn:
        tokenizer = self.tokenizer
        user, assistant, end = tokenizer.convert_tokens_to_ids([USER, ASSISTANT, END])
        prompt = [user, *text_ids(tokenizer, conversation.question), assistant]
        if not training:
            return Turn(prompt=prompt, answer=[])
        if conversation.answer is None:
            raise ValueError(f"conversation {conversation.id!r} has no answer to train on")
        return Turn(prompt=prompt, answer=[*text_ids(tokenizer, conversation.answer), end])

    def _picture(self) -> list[int]:
        return [self.tokenizer.convert_tokens_to_ids(IMAGE)] * NUM_IMAGE_TOKENS

    def _blank(self, rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids of padding and labels of nothing, int64[rows, length]."""
        padding = int(self.tokenizer.pad_token_id)
        ids = torch.full((rows, length), padding, dtype=torch.int64)
        return ids, torch.full_like(ids, -100)
