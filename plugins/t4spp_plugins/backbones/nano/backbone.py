"""The backbone ``nano``: conversations to batches of a small LLaVA and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from safetensors import SafetensorError
from transformers import LlavaConfig, PreTrainedTokenizerFast

from t4spp.errors import BackboneError
from t4spp_plugins.backbones.collating import ChatBackbone, ChatFormat
from t4spp_plugins.backbones.nano.collating import chat_format
from t4spp_plugins.backbones.nano.config import NanoConfig
from t4spp_plugins.backbones.nano.looking import Looking
from t4spp_plugins.backbones.nano.model import (
    NUM_IMAGE_TOKENS,
    WEIGHTS_FILE,
    build_model,
    fill_token_rows,
    grow,
    load_weights,
    mask_tokens,
)
from t4spp_plugins.backbones.nano.vocabulary import (
    CONTROL_TOKENS,
    add_scheme_tokens,
)

SHIPPED = Path(__file__).parent / "weights"


class NanoBackbone(ChatBackbone):
    """A few million parameters, its own tokenizer, weights trained on generated scenes only.

    A conversation is ``{image tokens}<|user|>{question}<|assistant|>{answer}<|end|>``. A picture
    of any size is seen as 128 x 128 pixels, 256 tokens.
    """

    name: ClassVar[str] = "nano"

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
        known = tokenizer.get_vocab()
        fresh = [] if not self.params.fresh_mask_tokens else mask_tokens(known, scheme_tokens)
        fill_token_rows(model, tokenizer, [known[token] for token in fresh], self.params.seed)
        self.untrained_tokens = tuple(
            token for token in scheme_tokens if token not in known or token in fresh
        )
        tokenizer = self.load_tokenizer(scheme_tokens)
        grow(model, tokenizer, self.params.seed)
        self.tokenizer = tokenizer
        model.train(False)
        if self.params.look:
            Looking(model, self.params.look)
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
        if self.params.fresh_mask_tokens:
            digest.update(f"fresh mask tokens {self.params.seed}".encode())
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

    def chat_format(self) -> ChatFormat:
        """See :func:`t4spp_plugins.backbones.nano.collating.chat_format`."""
        return chat_format(self.tokenizer, looks=self.params.look > 0)
