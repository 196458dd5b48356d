"""The backbone ``smol``: conversations to batches of a small real model, and back."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from t4spp.errors import BackboneError
from t4spp.features import shared_cache
from t4spp.types import Image, Sample
from t4spp.weights import fetch
from t4spp_plugins.backbones.collating import (
    ChatBackbone,
    ChatFormat,
    plain_ids,
)
from t4spp_plugins.backbones.smol.aligning import align
from t4spp_plugins.backbones.smol.config import SmolParams
from t4spp_plugins.backbones.smol.configuration import NUM_IMAGE_TOKENS, SmolConfig
from t4spp_plugins.backbones.smol.model import SmolForConditionalGeneration
from t4spp_plugins.backbones.smol.parts import (
    CONTROL_TOKENS,
    END,
    IMAGE,
    START,
    describes_smol,
    file_hash,
    fill_token_rows,
    load_language_model,
    load_tokenizer,
    plain_language_model,
)
from t4spp_plugins.towers.mobile_sam import embed, load_mobile_sam, tower_key

logger = logging.getLogger(__name__)


class SmolBackbone(ChatBackbone):
    """MobileSAM's frozen encoder, a connector, SmolLM2-135M-Instruct.

    A conversation is a SmolLM2 chat without a system turn, the picture's 256 tokens at the head of
    the user's turn.
    """

    name: ClassVar[str] = "smol"

    def __init__(self, params: SmolParams) -> None:
        """Keep the parameters; nothing is read yet."""
        self.params = params
        self.cache = shared_cache(on_disk=params.cache_features)
        self._tower_key = ""

    def _tower_file(self) -> Path:
        return self.params.tower or fetch("mobilesam") / "mobile_sam.pt"

    def _language_model_folder(self) -> Path:
        given = self.params.language_model
        if given is not None and given.is_dir():
            return given
        return plain_language_model(
            given or fetch("smollm2-135m") / "SmolLM2-135M-Instruct.Q4_1.gguf"
        )

    def load(self, scheme_tokens: Sequence[str]) -> None:
        """Make the model and the tokenizer; see :class:`Backbone`.

        Raises:
            BackboneError: a part is missing or of another kind.
            WeightsError: weights cannot be fetched, or are damaged.
        """
        whole = self.params.weights
        tokenizer = load_tokenizer(whole or self._language_model_folder(), scheme_tokens)
        model = self._join(tokenizer) if whole is None else self._load_whole(whole)
        first = int(model.get_input_embeddings().weight.shape[0])
        known = tokenizer.get_vocab()
        self.untrained_tokens = tuple(token for token in scheme_tokens if known[token] >= first)
        if len(tokenizer) > first:
            with torch.random.fork_rng(devices=[]):
                model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
            fill_token_rows(model, tokenizer, first, self.params.seed)
        end = tokenizer.convert_tokens_to_ids(END)
        model.generation_config.eos_token_id = end
        model.generation_config.pad_token_id = end
        self.tokenizer = tokenizer
        self.model = model.train(False)
        self._tower_key = tower_key(model.tower)
        model.guide_weight = self.params.guide
        self._chat = self._make_chat()

    def _join(self, tokenizer: Any) -> SmolForConditionalGeneration:
        """The parts, with a connector of seeded random weights."""
        tower, _ = load_mobile_sam(self._tower_file())
        llama = load_language_model(self._language_model_folder())
        config = SmolConfig(
            text_config=llama.config, image_token_id=tokenizer.convert_tokens_to_ids(IMAGE)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.params.seed)
            model = SmolForConditionalGeneration(config)
        model.language_model.load_state_dict(llama.state_dict())
        model.tower.load_state_dict(tower.state_dict())
        model.tower.to(memory_format=torch.channels_last)
        model.tie_weights()
        # Image tokens begin as loud as words.
        spread = float(llama.get_input_embeddings().weight.detach().std())
        generator = torch.Generator().manual_seed(self.params.seed)
        torch.nn.init.normal_(
            model.connector.out.weight,
            std=spread / math.sqrt(config.connector_width),
            generator=generator,
        )
        return model

    def _load_whole(self, folder: Path) -> SmolForConditionalGeneration:
        from safetensors import SafetensorError

        if not describes_smol(folder):
            raise BackboneError(
                f"smol: {folder} is no folder of a smol model: its config.json is missing or says "
                f"another model_type than {SmolConfig.model_type!r}. Name what `t4spp export` "
                "wrote in backbone.params.weights."
            )
        try:
            model: SmolForConditionalGeneration = SmolForConditionalGeneration.from_pretrained(
                str(folder), dtype=torch.float32, local_files_only=True
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise BackboneError(
                f"smol: the weights in {folder} cannot be read ({str(error).splitlines()[0]}). "
                "Copy or export the folder again."
            ) from error
        model.tower.to(memory_format=torch.channels_last)
        return model

    def fingerprint(self) -> str:
        """``smol:`` and a hash of the parts' files and the seed.

        Raises:
            BackboneError: a part is missing.
        """
        digest = hashlib.sha256()
        if self.params.weights is not None:
            files = sorted(self.params.weights.glob("*.safetensors"))
            files.append(self.params.weights / "config.json")
        else:
            folder = self._language_model_folder()
            files = [self._tower_file(), *sorted(folder.glob("*.safetensors"))]
            digest.update(f"connector {self.params.seed}".encode())
        for path in files:
            try:
                digest.update(file_hash(path).encode())
            except OSError as error:
                raise BackboneError(f"smol: {path} cannot be read ({error.strerror}).") from error
        return f"smol:{digest.hexdigest()[:16]}"

    def lora_targets(self) -> list[str] | str:
        """The linear layers of the language model; the connector is trained whole."""
        return r".*language_model\.model\.layers\.\d+\.(self_attn|mlp)\.[a-z]+_proj"

    def trained_whole(self) -> tuple[str, ...]:
        """The connector: it starts from random weights."""
        return ("connector",)

    def before_training(self, samples: Sequence[Sample], *, seed: int, is_main: bool) -> None:
        """Align a new connector; see :mod:`t4spp_plugins.backbones.smol.aligning`.

        Raises:
            RecipeError: a picture is missing or damaged.
        """
        from tqdm import tqdm

        steps = self.params.align_steps
        if self.params.weights is not None or not steps:
            return
        assert isinstance(self.model, SmolForConditionalGeneration), "load() makes it"
        tokenizer: Any = self.tokenizer
        embeddings = self.model.get_input_embeddings().weight.detach()
        losses: list[float] = []

        def word(label: str) -> torch.Tensor:
            ids = tokenizer(f" {label}", add_special_tokens=False)["input_ids"]
            return embeddings[ids].mean(dim=0).cpu()

        def features(image: Image) -> torch.Tensor:
            return self._picture_tensors(image)["image_features"]

        with tqdm(total=steps, desc="align", unit="step", disable=not is_main) as bar:

            def progress(loss: float) -> None:
                losses.append(loss)
                bar.set_postfix(loss=f"{loss:.3f}")
                bar.update()

            self.model.connector.train()
            align(
                self.model.connector,
                samples,
                features=features,
                word=word,
                steps=steps,
                seed=seed,
                progress=progress,
            )
        if not losses:
            logger.warning("the connector learnt no words: no training sample asks for a mask")
            return
        logger.info(
            "the connector learnt words in %d steps: loss %.3f -> %.3f",
            steps,
            losses[0],
            losses[-1],
        )

    def frozen_weights(self) -> str | None:
        """The tower."""
        return r"tower\."

    def num_image_tokens(self, size: tuple[int, int]) -> int:
        """256, whatever the size."""
        return NUM_IMAGE_TOKENS

    def save_processor(self, folder: Path) -> None:
        """SAM's image processor, the chat's template and the tokenizer; see :class:`Backbone`."""
        from t4spp_plugins.backbones.smol.processing import make_processor

        make_processor(self.tokenizer).save_pretrained(str(folder))

    def chat_format(self) -> ChatFormat:
        """SmolLM2's chat; pictures come as the tower's features."""
        return self._chat

    def _make_chat(self) -> ChatFormat:
        tokenizer: Any = self.tokenizer
        start, end, image = tokenizer.convert_tokens_to_ids([START, END, IMAGE])

        def ids(text: str) -> list[int]:
            return plain_ids(tokenizer, text, CONTROL_TOKENS)

        return ChatFormat(
            picture=[start, *ids("user\n"), *[image] * NUM_IMAGE_TOKENS],
            before=ids("\n"),
            between=[end, *ids("\n"), start, *ids("assistant\n")],
            after=[end],
            padding=end,
            ids=ids,
            tensors=self._picture_tensors,
            guide=self._guide(),
        )

    def _guide(self) -> Callable[[Sequence[int]], torch.Tensor] | None:
        """Tells positions what they should know; None where the config or the scheme has none."""
        from t4spp_plugins.backbones.smol.guiding import BrickGuide

        tokenizer: Any = self.tokenizer
        guide = BrickGuide(tokenizer)
        if not self.params.guide or not guide.reads:
            return None
        return lambda ids: torch.from_numpy(guide(ids))

    def _picture_tensors(self, image: Image) -> dict[str, torch.Tensor]:
        assert isinstance(self.model, SmolForConditionalGeneration)
        features = embed(image, self.model.tower, self.cache, self._tower_key)
        return {
            "image_features": features,
            "image_sizes": torch.tensor(image.shape[:2], dtype=torch.int64),
        }
