"""Batches of conversations behind pictures that take a fixed number of tokens.

Each conversation stands in a row of its own, or several behind one picture. Shapes: B rows, L
tokens.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from t4spp.components import Backbone, ModelInputs
from t4spp.data.conversation import Conversation
from t4spp.errors import BackboneError
from t4spp.types import Image


@dataclass(frozen=True, kw_only=True)
class ChatFormat:
    """How a model's conversations are written, in token ids.

    Attributes:
        picture: what stands for the picture and before it; conversations about it share this.
        before: between the picture and the question.
        between: between the question and the answer.
        after: ends an answer.
        padding: fills rows.
        ids: a question's or an answer's.
        tensors: a picture's inputs to the model, by the names of ``forward``; stacked over rows.
        guide: what the model is told about each of a conversation's tokens while it is trained,
            float32[T, K], passed on as ``guide``; padding and the picture are told -1.
        side: image tokens a row and column, where the model is told while it is trained which of
            them show what is asked for: ``looked_for`` float32[B, T, side^2], the share of each
            token's area, and ``asked_at`` int64[B, T], the place of each question's last token;
            of rows with fewer than T questions -1. None: it is told nothing.
    """

    picture: Sequence[int]
    before: Sequence[int]
    between: Sequence[int]
    after: Sequence[int]
    padding: int
    ids: Callable[[str], list[int]]
    tensors: Callable[[Image], Mapping[str, torch.Tensor]]
    guide: Callable[[Sequence[int]], torch.Tensor] | None = None
    side: int | None = None


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Token ids of one conversation, without the picture's.

    ``shown``: float32[side^2], the share of each image token that shows what is asked for; None
    where the model is not told.
    """

    prompt: list[int]
    answer: list[int]
    shown: torch.Tensor | None = None

    @property
    def length(self) -> int:
        """Tokens."""
        return len(self.prompt) + len(self.answer)


class Collator:
    """Batches conversations of one format."""

    def __init__(self, chat: ChatFormat) -> None:
        """Keep the format."""
        self.chat = chat
        self.num_before = len(chat.picture)

    def apart(
        self, conversations: Sequence[Conversation], *, training: bool, max_length: int | None
    ) -> ModelInputs:
        """Each in a row of its own; see :meth:`t4spp.components.Backbone.collate`."""
        rows = []
        too_long: list[str] = []
        for conversation in conversations:
            turn = self._turn(conversation, training=training)
            if max_length is not None and self.num_before + turn.length > max_length:
                too_long.append(conversation.id)
            else:
                rows.append((turn, self.chat.tensors(conversation.load_image())))
        if not rows:
            return ModelInputs(tensors={}, too_long=tuple(too_long))
        longest = self.num_before + max(turn.length for turn, _ in rows)
        ids, labels = self._blank(len(rows), longest)
        mask = torch.zeros_like(ids)
        spans: list[list[tuple[int, Turn]]] = []
        for place, (turn, _) in enumerate(rows):
            length = self.num_before + turn.length
            span = slice(0, length) if training else slice(longest - length, longest)
            ids[place, span] = torch.tensor([*self.chat.picture, *turn.prompt, *turn.answer])
            mask[place, span] = 1
            labels[place, length - len(turn.answer) : length] = torch.tensor(turn.answer)
            spans.append([(self.num_before, turn)])
        tensors = {
            "input_ids": ids,
            "attention_mask": mask,
            **_stacked([picture for _, picture in rows]),
        }
        if training:
            tensors |= {"labels": labels, **self._guides(spans, longest)}
        return ModelInputs(
            tensors=tensors,
            num_answer_tokens=sum(len(turn.answer) for turn, _ in rows),
            too_long=tuple(too_long),
        )

    def packed(
        self, packs: Sequence[Sequence[Conversation]], *, max_length: int | None
    ) -> ModelInputs:
        """Those of a pack in one row; see :meth:`t4spp.components.Backbone.collate_packs`.

        A mask bool[B, 1, L, L] keeps the conversations apart, and the positions of each start
        behind the picture's.
        """
        rows: list[list[Turn]] = []
        pictures: list[Mapping[str, torch.Tensor]] = []
        too_long: list[str] = []
        unpacked: list[str] = []
        for pack in packs:
            turns: list[Turn] = []
            length = self.num_before
            for place, conversation in enumerate(pack):
                turn = self._turn(conversation, training=True)
                if max_length is None or length + turn.length <= max_length:
                    turns.append(turn)
                    length += turn.length
                else:
                    (unpacked if place else too_long).append(conversation.id)
            if turns:
                rows.append(turns)
                pictures.append(self.chat.tensors(pack[0].load_image()))
        if not rows:
            return ModelInputs(tensors={}, too_long=tuple(too_long), unpacked=tuple(unpacked))
        num_before = self.num_before
        longest = max(sum(turn.length for turn in turns) for turns in rows)
        ids, labels = self._blank(len(rows), num_before + longest)
        positions = torch.zeros_like(ids)
        segments = torch.full_like(ids, -1)
        ids[:, :num_before] = torch.tensor(self.chat.picture)
        positions[:, :num_before] = torch.arange(num_before)
        segments[:, :num_before] = 0
        spans: list[list[tuple[int, Turn]]] = []
        for row, turns in enumerate(rows):
            start = num_before
            spans.append([])
            for number, turn in enumerate(turns, start=1):
                stop = start + turn.length
                ids[row, start:stop] = torch.tensor(turn.prompt + turn.answer)
                labels[row, stop - len(turn.answer) : stop] = torch.tensor(turn.answer)
                positions[row, start:stop] = torch.arange(num_before, num_before + turn.length)
                segments[row, start:stop] = number
                spans[-1].append((start, turn))
                start = stop
        seen = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])
        tensors = {
            "input_ids": ids,
            "attention_mask": seen.tril()[:, None],
            "position_ids": positions,
            **_stacked(pictures),
            "labels": labels,
            **self._guides(spans, num_before + longest),
        }
        return ModelInputs(
            tensors=tensors,
            num_answer_tokens=sum(len(turn.answer) for turns in rows for turn in turns),
            too_long=tuple(too_long),
            unpacked=tuple(unpacked),
        )

    def _turn(self, conversation: Conversation, *, training: bool) -> Turn:
        if conversation.examples:
            raise BackboneError(
                f"conversation {conversation.id!r} shows {len(conversation.examples)} examples, "
                "each with its own picture, and this backbone reads one picture a prompt. Set "
                "data.prompting.shots=0, or choose a backbone that reads several pictures."
            )
        chat = self.chat
        prompt: list[int] = []
        for question, answer in conversation.turns:
            prompt += [*chat.before, *chat.ids(question), *chat.between]
            prompt += [*chat.ids(answer), *chat.after]
        prompt += [*chat.before, *chat.ids(conversation.question), *chat.between]
        if not training:
            return Turn(prompt=prompt, answer=[])
        if conversation.answer is None:
            raise ValueError(f"conversation {conversation.id!r} has no answer to train on")
        return Turn(
            prompt=prompt,
            answer=[*chat.ids(conversation.answer), *chat.after],
            shown=self._shown(conversation),
        )

    def _shown(self, conversation: Conversation) -> torch.Tensor | None:
        if self.chat.side is None or conversation.load_target is None:
            return None
        mask = torch.from_numpy(conversation.load_target()).float()[None, None]
        return torch.nn.functional.adaptive_avg_pool2d(mask, self.chat.side).flatten()

    def _guides(
        self, spans: Sequence[Sequence[tuple[int, Turn]]], length: int
    ) -> dict[str, torch.Tensor]:
        """What the model is told while it is trained; see :class:`ChatFormat`.

        Args:
            spans: of each row, where its turns start.
            length: of the rows in tokens.
        """
        return {**self._looked_for(spans), **self._guided(spans, length)}

    def _looked_for(self, spans: Sequence[Sequence[tuple[int, Turn]]]) -> dict[str, torch.Tensor]:
        if self.chat.side is None:
            return {}
        most = max(len(turns) for turns in spans)
        looked_for = torch.zeros(len(spans), most, self.chat.side**2)
        asked_at = torch.full((len(spans), most), -1, dtype=torch.int64)
        for row, turns in enumerate(spans):
            for place, (start, turn) in enumerate(turns):
                if turn.shown is not None:
                    looked_for[row, place] = turn.shown
                    asked_at[row, place] = start + len(turn.prompt) - 1
        return {"looked_for": looked_for, "asked_at": asked_at}

    def _guided(
        self, spans: Sequence[Sequence[tuple[int, Turn]]], length: int
    ) -> dict[str, torch.Tensor]:
        if self.chat.guide is None:
            return {}
        rows = []
        for turns in spans:
            told = [(start, self.chat.guide([*t.prompt, *t.answer])) for start, t in turns]
            row = torch.full((length, told[0][1].shape[1]), -1.0)
            for start, known in told:
                row[start : start + len(known)] = known
            rows.append(row)
        return {"guide": torch.stack(rows)}

    def _blank(self, rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids of padding and labels of nothing, int64[rows, length]."""
        ids = torch.full((rows, length), self.chat.padding, dtype=torch.int64)
        return ids, torch.full_like(ids, -100)


class ChatBackbone(Backbone):
    """A backbone whose batches follow from its :class:`ChatFormat`."""

    name: ClassVar[str]
    """What messages call it."""
    packs: ClassVar[bool] = True

    @abstractmethod
    def chat_format(self) -> ChatFormat:
        """How conversations are written; called when ``load`` has made tokenizer and model."""

    def collate(
        self,
        conversations: Sequence[Conversation],
        *,
        training: bool,
        max_length: int | None = None,
    ) -> ModelInputs:
        """Batch conversations; see :class:`Backbone`.

        Training pads right, generation left. The answer's tokens, the end token among them, are
        the labels. Names of control tokens in a question or an answer are plain text.

        Raises:
            BackboneError: ``load`` has not been called.
            ValueError: a conversation to train on has no answer.
        """
        return self._collator().apart(conversations, training=training, max_length=max_length)

    def collate_packs(
        self, packs: Sequence[Sequence[Conversation]], *, max_length: int | None = None
    ) -> ModelInputs:
        """Batch packs; see :class:`Backbone`.

        Raises:
            BackboneError: ``load`` has not been called, or the model's attention takes no mask of
                true and false.
            ValueError: a conversation has no answer.
        """
        collator = self._collator()
        require_boolean_masks(self.name, self.model)
        return collator.packed(packs, max_length=max_length)

    def _collator(self) -> Collator:
        if self.tokenizer is None:
            raise BackboneError(
                f"{self.name}: collate() before load(); call load(scheme.special_tokens)."
            )
        return Collator(self.chat_format())


def _stacked(pictures: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([picture[name] for picture in pictures]) for name in pictures[0]}


def plain_ids(tokenizer: Any, text: str, control_tokens: Sequence[str]) -> list[int]:
    """Ids of a question or an answer; decoded, they give ``text`` back.

    A scheme's tokens are one id each. The names of control tokens are plain text wherever they
    stand: a prompt that names the image token asks for no second picture, and a label that names
    the end token ends no answer.
    """
    starts = re.compile(f"(?=(?:{'|'.join(map(re.escape, control_tokens))}))")
    cuts = [found.start() + 1 for found in starts.finditer(text)]
    ids: list[int] = []
    for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True):
        ids += tokenizer(text[start:stop], add_special_tokens=False)["input_ids"]
    return ids


def require_boolean_masks(name: str, model: Any) -> None:
    """Refuse attention that would add a mask of true and false instead of obeying it.

    Args:
        name: the backbone's, for the message.
        model: loaded.

    Raises:
        BackboneError: the model's attention is not PyTorch's own.
    """
    assert model is not None, "load() makes the tokenizer and the model"
    kind = model.config.get_text_config()._attn_implementation
    if kind != "sdpa":
        raise BackboneError(
            f"{name}: conversations behind one picture are kept apart by a mask that {kind!r} "
            "attention does not obey. Set data.companions=0, or leave the attention at 'sdpa'."
        )
