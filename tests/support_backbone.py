"""A plugin file for tests: the backbone ``tiny-text`` and the recipe ``rectangles``.

``tiny-text`` is a two-layer Llama that reads bytes and ignores pixels, small enough to train
within a second; ``rectangles`` asks for one rectangle a picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from t4spp.components import Backbone, Component, ModelInputs, Recipe
from t4spp.errors import RecipeError
from t4spp.hookspecs import hookimpl
from t4spp.types import Sample, Target


class TinyParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    hidden: int = 16
    tied: bool = True
    dropout: float = 0.0


class RectanglesParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    num_samples: int = 24
    broken: int | None = None
    bad_label: int | None = None


class TinyText(Backbone):
    def __init__(self, params: TinyParams) -> None:
        self.params = params

    def load(self, scheme_tokens: Sequence[str]) -> None:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        self.tokenizer = byte_tokenizer()
        size = self.params.hidden
        config = LlamaConfig(
            vocab_size=len(self.tokenizer),
            hidden_size=size,
            intermediate_size=2 * size,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            tie_word_embeddings=self.params.tied,
            attention_dropout=self.params.dropout,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=self.tokenizer.eos_token_id,
            bos_token_id=None,
        )
        with torch.random.fork_rng():
            torch.manual_seed(self.params.seed)
            self.model = LlamaForCausalLM(config)
            if scheme_tokens:
                self.tokenizer.add_tokens(list(scheme_tokens), special_tokens=True)
                self.model.resize_token_embeddings(len(self.tokenizer), mean_resizing=False)

    def fingerprint(self) -> str:
        return "tiny-text:" + hashlib.sha256(self.params.model_dump_json().encode()).hexdigest()[:8]

    def lora_targets(self) -> list[str] | str:
        return ["q_proj", "v_proj"]

    def collate(
        self, conversations: Sequence[Any], *, training: bool, max_length: int | None = None
    ) -> ModelInputs:
        import torch

        rows, too_long = [], []
        for conversation in conversations:
            conversation.load_image()
            prompt = self.tokenizer(conversation.question + "\n")["input_ids"]
            answer = []
            if training:
                answer = self.tokenizer(conversation.answer + "<end>")["input_ids"]
            if max_length is not None and len(prompt) + len(answer) > max_length:
                too_long.append(conversation.id)
            else:
                rows.append((prompt, answer))
        if not rows:
            return ModelInputs(tensors={}, too_long=tuple(too_long))
        longest = max(len(prompt) + len(answer) for prompt, answer in rows)
        ids = torch.full((len(rows), longest), self.tokenizer.pad_token_id)
        labels = torch.full((len(rows), longest), -100)
        mask = torch.zeros((len(rows), longest), dtype=torch.int64)
        for place, (prompt, answer) in enumerate(rows):
            whole = torch.tensor(prompt + answer)
            span = slice(None, len(whole)) if training else slice(longest - len(whole), None)
            ids[place, span] = whole
            mask[place, span] = 1
            labels[place, len(prompt) : len(whole)] = whole[len(prompt) :]
        tensors = {"input_ids": ids, "attention_mask": mask}
        if training:
            tensors["labels"] = labels
        return ModelInputs(
            tensors=tensors,
            num_answer_tokens=sum(len(answer) for _, answer in rows),
            too_long=tuple(too_long),
        )


def byte_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<pad>": 0, "<end>": 1, **{byte: i + 2 for i, byte in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", padding_side="left"
    )


class Rectangles(Recipe):
    """Sample ``i`` shows one rectangle; ``broken`` cannot be read, ``bad_label`` not written."""

    def __init__(self, params: RectanglesParams) -> None:
        self.params = params

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", "val")

    def samples(self, split: str) -> Sequence[Sample]:
        if split not in self.splits:
            raise RecipeError(f"rectangles has no split {split!r}; valid: {', '.join(self.splits)}")
        offset = self.splits.index(split) * 1000
        return [self._sample(index, offset) for index in range(self.params.num_samples)]

    def _sample(self, index: int, offset: int) -> Sample:
        generator = np.random.default_rng(index + offset)
        y, x = (int(value) for value in generator.integers(0, 10, 2))
        mask = np.zeros((16, 16), dtype=np.bool_)
        mask[y : y + 6, x : x + 6] = True
        label = "a|b" if index == self.params.bad_label else ("red", "blue")[index % 2] + " box"

        def load_image() -> Any:
            if index == self.params.broken:
                raise RecipeError(f"picture {index} is truncated. Copy it again.")
            return np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)

        return Sample(
            id=f"r{index}",
            size=(16, 16),
            prompt=label,
            labels=(label,),
            targets=(Target(label=label, mask=mask),),
            load_image=load_image,
            image_id=f"r{index}",
        )


@hookimpl
def t4spp_backbones() -> list[Component]:
    return [Component(name="tiny-text", config=TinyParams, build=TinyText)]


@hookimpl
def t4spp_recipes() -> list[Component]:
    return [Component(name="rectangles", config=RectanglesParams, build=Rectangles)]
