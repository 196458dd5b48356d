"""The backbone ``nano``: conversations to batches of a small LLaVA and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image as Pictures
from safetensors import SafetensorError
from transformers import LlavaConfig, PreTrainedTokenizerFast

from t4spp.components import Backbone, ModelInputs
from t4spp.data.conversation import Conversation
from t4spp.errors import BackboneError
from t4spp.types import Image
from t4spp_plugins.backbones.nano.config import NanoConfig
from t4spp_plugins.backbones.nano.model import (
    IMAGE_SIZE,
    NUM_IMAGE_TOKENS,
    WEIGHTS_FILE,
    build_model,
    grow,
    load_weights,
)
from t4spp_plugins.backbones.nano.vocabulary import (
    ASSISTANT,
    CONTROL_TOKENS,
    END,
    IMAGE,
    USER,
    add_scheme_tokens,
    text_ids,
)

SHIPPED = Path(__file__).parent / "weights"


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
    def length(self) -> int:
        """Tokens, the picture's counted."""
        return NUM_IMAGE_TOKENS + len(self.prompt) + len(self.answer)


class NanoBackbone(Backbone):
    """A few million parameters, its own tokenizer, weights trained on generated scenes only.

    A conversation is ``{image tokens}<|user|>{question}<|assistant|>{answer}<|end|>``. A picture
    of any size is seen as 128 x 128 pixels, 256 tokens.
    """

    packs: ClassVar[bool] = True

    def __init__(self, params: NanoConfig) -> None:
        """Keep the parameters; nothing is read yet."""
        self.params = params
        self.folder = params.weights or SHIPPED

    def load_tokenizer(self, scheme_tokens: Sequence[str]) -> Any:
        """The tokenizer alone, with the scheme's tokens learnt.

        Raises:
            BackboneError: its file is missing or damaged, or a token of the scheme is one of
                nano's control tokens.
        """
        clash = sorted(set(scheme_tokens) & set(CONTROL_TOKENS))
        if clash:
            raise BackboneError(
                f"nano: the scheme's token {clash[0]} is one of nano's control tokens "
                f"({', '.join(CONTROL_TOKENS)}). Give the scheme's token another name."
            )
        self._json("tokenizer.json")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(str(self.folder), local_files_only=True)
        add_scheme_tokens(tokenizer, scheme_tokens)
        return tokenizer

    def _file(self, name: str) -> bytes:
        """A file of the weights' folder.

        Raises:
            BackboneError: it is missing.
        """
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            advice = (
                "These are the weights that ship with t4spp: install it again."
                if self.folder == SHIPPED
                else f"backbone.params.weights must name a folder with config.json, {WEIGHTS_FILE} "
                "and tokenizer.json; leave it out for the weights that ship with t4spp."
            )
            raise BackboneError(
                f"nano: {self.folder} has no {name} that can be read. {advice}"
            ) from error

    def _json(self, name: str) -> Any:
        try:
            return json.loads(self._file(name))
        except ValueError as error:
            raise BackboneError(
                f"nano: {self.folder / name} is damaged ({error}). Copy the folder again, or name "
                "another one in backbone.params.weights."
            ) from error

    def load(self, scheme_tokens: Sequence[str]) -> None:
        """Make the model and the tokenizer; see :class:`Backbone`."""
        tokenizer = self.load_tokenizer(())
        described = self._json("config.json")
        if not isinstance(described, dict) or described.get("model_type") != LlavaConfig.model_type:
            raise BackboneError(
                f"nano: {self.folder / 'config.json'} does not describe a model of type "
                f"{LlavaConfig.model_type!r}. Name a folder that nano's pretraining wrote in "
                "backbone.params.weights."
            )
        config = LlavaConfig.from_pretrained(str(self.folder), local_files_only=True)
        model = build_model(tokenizer, self.params.seed, config)
        if not self.params.from_scratch:
            try:
                load_weights(model, self.folder)
            except (OSError, RuntimeError, SafetensorError) as error:
                raise BackboneError(
                    f"nano: {self.folder / WEIGHTS_FILE} is missing, damaged or of another "
                    f"architecture ({str(error).splitlines()[0]}). Install t4spp again, or name "
                    "another folder in backbone.params.weights."
                ) from error
        tokenizer = self.load_tokenizer(scheme_tokens)
        grow(model, tokenizer, self.params.seed)
        self.tokenizer = tokenizer
        model.train(False)
        self.model = model

    def fingerprint(self) -> str:
        """``nano:`` and a hash of the folder's files, weights left out when from scratch.

        Raises:
            BackboneError: a file is missing.
        """
        digest = hashlib.sha256(self._file("config.json"))
        digest.update(self._file("tokenizer.json"))
        if self.params.from_scratch:
            digest.update(f"scratch {self.params.seed}".encode())
        else:
            digest.update(self._file(WEIGHTS_FILE))
        return f"nano:{digest.hexdigest()[:16]}"

    def lora_targets(self) -> list[str] | str:
        """The linear layers of the language model and of the connector."""
        return (
            r".*(language_model\.layers\.\d+\.(self_attn|mlp)\.[a-z]+_proj"
            r"|multi_modal_projector\.linear_[12])"
        )

    def num_image_tokens(self, size: tuple[int, int]) -> int:
        """256, whatever the size."""
        return NUM_IMAGE_TOKENS

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

    def collate_packs(
        self, packs: Sequence[Sequence[Conversation]], *, max_length: int | None = None
    ) -> ModelInputs:
        """Batch packs; see :class:`Backbone`.

        A four-dimensional attention mask bool[B, 1, L, L] keeps the conversations apart, and the
        positions of each start behind the picture's.

        Raises:
            BackboneError: ``load`` has not been called.
            ValueError: a conversation has no answer.
        """
        rows: list[list[Turn]] = []
        pictures: list[torch.Tensor] = []
        too_long: list[str] = []
        for pack in packs:
            turns = [(self._turn(each, training=True), each.id) for each in pack]
            fitting = [t for t, _ in turns if max_length is None or t.length <= max_length]
            too_long += [i for t, i in turns if max_length is not None and t.length > max_length]
            if fitting:
                rows.append(fitting)
                pictures.append(to_pixels(pack[0].load_image()))
        if not rows:
            return ModelInputs(tensors={}, too_long=tuple(too_long))
        lengths = [sum(t.length - NUM_IMAGE_TOKENS for t in turns) for turns in rows]
        ids, labels = self._blank(len(rows), NUM_IMAGE_TOKENS + max(lengths))
        places = torch.zeros_like(ids)
        whose = torch.full_like(ids, -1)
        ids[:, :NUM_IMAGE_TOKENS] = torch.tensor(self._picture())
        places[:, :NUM_IMAGE_TOKENS] = torch.arange(NUM_IMAGE_TOKENS)
        whose[:, :NUM_IMAGE_TOKENS] = 0
        for place, turns in enumerate(rows):
            start = NUM_IMAGE_TOKENS
            for number, turn in enumerate(turns, start=1):
                stop = start + turn.length - NUM_IMAGE_TOKENS
                ids[place, start:stop] = torch.tensor(turn.prompt + turn.answer)
                labels[place, stop - len(turn.answer) : stop] = torch.tensor(turn.answer)
                places[place, start:stop] = torch.arange(NUM_IMAGE_TOKENS, turn.length)
                whose[place, start:stop] = number
                start = stop
        seen = (whose[:, None, :] == 0) | (whose[:, None, :] == whose[:, :, None])
        tensors = {
            "input_ids": ids,
            "attention_mask": seen.tril()[:, None],
            "position_ids": places,
            "pixel_values": torch.stack(pictures),
            "labels": labels,
        }
        return ModelInputs(
            tensors=tensors,
            num_answer_tokens=sum(len(turn.answer) for turns in rows for turn in turns),
            too_long=tuple(too_long),
        )

    def _turn(self, conversation: Conversation, *, training: bool) -> Turn:
        tokenizer = self._loaded_tokenizer()
        user, assistant, end = tokenizer.convert_tokens_to_ids([USER, ASSISTANT, END])
        prompt = [user, *text_ids(tokenizer, conversation.question), assistant]
        if not training:
            return Turn(prompt=prompt, answer=[])
        if conversation.answer is None:
            raise ValueError(f"conversation {conversation.id!r} has no answer to train on")
        return Turn(prompt=prompt, answer=[*text_ids(tokenizer, conversation.answer), end])

    def _picture(self) -> list[int]:
        return [self._loaded_tokenizer().convert_tokens_to_ids(IMAGE)] * NUM_IMAGE_TOKENS

    def _blank(self, rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids of padding and labels of nothing, int64[rows, length]."""
        padding = int(self._loaded_tokenizer().pad_token_id)
        ids = torch.full((rows, length), padding, dtype=torch.int64)
        return ids, torch.full_like(ids, -100)

    def _loaded_tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise BackboneError("nano: collate() before load(); call load(scheme.special_tokens).")
        return self.tokenizer
