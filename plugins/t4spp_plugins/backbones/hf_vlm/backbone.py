"""The backbone ``hf-vlm``: a checkpoint of transformers' image-text-to-text models."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from t4spp.components import Backbone, ModelInputs
from t4spp.data.conversation import Conversation
from t4spp.errors import BackboneError
from t4spp_plugins.backbones.hf_vlm.checkpoint import described, find, fingerprint
from t4spp_plugins.backbones.hf_vlm.collating import Collator
from t4spp_plugins.backbones.hf_vlm.config import HfVlmConfig, LoadingConfig
from t4spp_plugins.backbones.hf_vlm.families import families, family_of
from t4spp_plugins.backbones.hf_vlm.loading import give_rows, load_model, load_processor
from t4spp_plugins.backbones.hf_vlm.profile import Profile
from t4spp_plugins.backbones.hf_vlm.words import FreeText, control_tokens, learn


class HfVlmBackbone(Backbone):
    """A model that transformers loads, behind its own processor.

    A conversation is written as the checkpoint's chat template says, the picture before the
    question; the answer and the token that ends it are learnt.
    """

    def __init__(self, params: LoadingConfig, profile: Profile | None = None) -> None:
        """Keep the parameters; nothing is read yet.

        Args:
            params: of the config.
            profile: of the family; None: the one that the parameters or the checkpoint name.
        """
        self.params = params
        named = params.family if isinstance(params, HfVlmConfig) else "auto"
        self._profile = profile if profile or named == "auto" else families()[named]
        self._collator: Collator | None = None

    @cached_property
    def folder(self) -> Path:
        """Where the checkpoint lies.

        Raises:
            BackboneError: it is not here, and the hub does not give it.
        """
        name = self.params.checkpoint
        if name is None:
            assert self._profile is not None, "the parameters name one or the other"
            name = self._profile.checkpoint
        return find(name, self.params.revision)

    @cached_property
    def profile(self) -> Profile:
        """Of the checkpoint's family.

        Raises:
            BackboneError: the checkpoint is of a type without one, or of another family's.
        """
        model_type = described(self.folder)["model_type"]
        if self._profile is None:
            return family_of(model_type, str(self.folder))
        if model_type not in self._profile.model_types:
            raise BackboneError(
                f"hf-vlm: {self.folder} is of the type {model_type!r}, and the family "
                f"{self._profile.name} serves {', '.join(self._profile.model_types)}. Set "
                "backbone.params.family=auto, or name another checkpoint."
            )
        return self._profile

    def load(self, scheme_tokens: Sequence[str]) -> None:
        """Make the model and the tokenizer; see :class:`Backbone`.

        Raises:
            BackboneError: the checkpoint is missing, damaged, of an unknown type, or the
                parameters ask for what it, or this machine, has not.
        """
        profile = self.profile
        processor = load_processor(self.folder, profile, self.params)
        control = control_tokens(processor, scheme_tokens)
        tokenizer = processor.tokenizer
        new = learn(tokenizer, scheme_tokens)
        end_id = self._end_id(profile, tokenizer)
        model = load_model(self.folder, self.params)
        profile.match(model, processor)
        give_rows(
            model,
            [int(i) for i in tokenizer.convert_tokens_to_ids(new)],
            1 + max(tokenizer.get_vocab().values()),
            self.params.seed,
        )
        _end_with(model, end_id)
        text = FreeText(tokenizer, control)
        processor.tokenizer = text.tokenizer
        self.processor: Any = processor
        self._collator = Collator(processor, profile, text, end_id)
        self.answer_joint = self._collator.joint
        self.native_box_format = profile.box_format
        self.untrained_tokens = tuple(new)
        self.tokenizer = tokenizer
        self.model = model

    def _end_id(self, profile: Profile, tokenizer: Any) -> int:
        end = profile.end if profile.end is not None else tokenizer.eos_token
        if end is None or end not in tokenizer.get_vocab():
            raise BackboneError(
                f"hf-vlm: the tokenizer in {self.folder} has no token {end!r} that ends an answer "
                f"of the family {profile.name}. Copy the checkpoint's tokenizer again."
            )
        return int(tokenizer.convert_tokens_to_ids(end))

    def fingerprint(self) -> str:
        """``hf-vlm:`` and a hash of the checkpoint's description and weights, wherever it lies.

        Raises:
            BackboneError: the checkpoint is missing or has no weights.
        """
        return f"hf-vlm:{self._fingerprint}"

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.folder)

    def lora_targets(self) -> list[str] | str:
        """The linear layers of the parts that are not frozen, as one regular expression.

        Raises:
            BackboneError: every part with linear layers is frozen.
        """
        targets = [
            f"{part.prefix}{part.layers}"
            for name, part in self.profile.parts.items()
            if name not in self.params.freeze and part.layers is not None
        ]
        if not targets:
            raise BackboneError(
                f"hf-vlm: backbone.params.freeze={', '.join(self.params.freeze)} leaves LoRA no "
                "layer. Freeze fewer parts, or set training.mode=none."
            )
        return "|".join(f"({target})" for target in targets)

    def trained_whole(self) -> tuple[str, ...]:
        """Modules without linear layers, of the parts that are not frozen."""
        return tuple(
            whole
            for name, part in self.profile.parts.items()
            if name not in self.params.freeze
            for whole in part.whole
        )

    def frozen_weights(self) -> str | None:
        """The beginnings of the names of the frozen parts' weights."""
        parts = self.profile.parts
        return "|".join(f"({parts[name].prefix})" for name in self.params.freeze) or None

    def num_image_tokens(self, size: tuple[int, int]) -> int:
        """Positions that hold the features of a picture of (H, W) pixels.

        The markers that some families write around a picture or its tiles are not among them;
        ``max_length`` counts those too.
        """
        return self.profile.num_image_tokens(self._loaded().processor, size)

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
            BackboneError: ``load`` has not been called, a picture has a shape that the family
                cannot read, or it reads one picture a prompt and there are examples.
            ValueError: a conversation to train on has no answer.
        """
        collator = self._loaded()
        assert self.model is not None, "load() makes it with the collator"
        return collator.batch(
            conversations, training=training, max_length=max_length, dtype=self.model.dtype
        )

    def save_processor(self, folder: Path) -> None:
        """Write the processor as it reads pictures here, with the tokens that it has learnt."""
        processor = copy.copy(self._loaded().processor)
        processor.tokenizer = self.tokenizer
        processor.save_pretrained(str(folder))

    def _loaded(self) -> Collator:
        if self._collator is None:
            raise BackboneError("hf-vlm: load(scheme.special_tokens) must be called first.")
        return self._collator


def _end_with(model: Any, end_id: int) -> None:
    """Let generation end at ``end_id`` too."""
    configured = model.generation_config.eos_token_id
    known = configured if isinstance(configured, list) else [configured]
    ends = dict.fromkeys(i for i in (*known, end_id) if i is not None)
    model.generation_config.eos_token_id = list(ends)
