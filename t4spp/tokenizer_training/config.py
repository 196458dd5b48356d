"""The typed config of ``t4spp tokenizer train``: YAML, one level of ``extends``, ``--set``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from t4spp.config import ComponentConfig, ConfigModel
from t4spp.config_layers import read_layers
from t4spp.errors import ConfigError
from t4spp.mask_tokenizer.shape import TokenizerShape
from t4spp.validation import report_faults, validate
from t4spp.yaml12 import dump_yaml


class MaskSourceConfig(ConfigModel):
    """One dataset whose masks are learnt; pictures are not read."""

    recipe: ComponentConfig
    """The dataset."""
    train_split: str = "train"
    """The recipe's split that is trained on."""
    eval_split: str | None = "val"
    """The recipe's split that is held out and scored; null: none of it."""
    max_train_masks: int | None = Field(default=None, ge=1)
    """Masks of the training split to use, from its start; null: all."""
    max_eval_masks: int | None = Field(default=None, ge=1)
    """Masks of the held-out split to use, from its start; null: all."""


class LossConfig(ConfigModel):
    """What is made small. Both are taken at `detail` times the field's resolution."""

    cross_entropy: float = Field(default=1.0, ge=0)
    """Weight of the cross-entropy of each pixel."""
    overlap: float = Field(default=1.0, ge=0)
    """Weight of 1 - soft IoU of each mask, so that small and thin masks count as large ones do."""
    detail: Annotated[int, Field(ge=1, le=8)] = 1
    """Pixels of the target along a cell of the field."""


class TokenizerStepsConfig(ConfigModel):
    """The optimisation."""

    steps: int = Field(default=10_000, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(default=256, ge=1)
    """Masks a step."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak of AdamW's learning rate: linear warm-up, then a cosine down to 0."""
    warmup_steps: int = Field(default=50, ge=0)
    """Steps that the learning rate rises."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this 2-norm."""
    prefix: float = Field(default=0.5, ge=0, le=1)
    """Share of masks that are decoded from a random prefix of their codes, so that it stands for a
    coarser mask; of one patch's codes."""
    turn: bool = True
    """Whether masks are mirrored and transposed at random."""
    precision: Literal["bf16", "no"] = "bf16"
    """Numbers in the linear layers' products; the rest and the weights are float32."""
    log_every: int = Field(default=50, ge=1)
    """Steps between lines of `events.jsonl`."""
    evaluate_every: int = Field(default=1000, ge=1)
    """Steps between scores on held-out masks during training."""
    save_every: int = Field(default=500, ge=1)
    """Steps between checkpoints, which an interrupted training goes on from."""


class TokenizerConfig(ConfigModel):
    """A training of a mask tokenizer."""

    name: str
    """Of the tokenizer."""
    seed: int = Field(default=0, ge=0)
    """Of weights, order and prefixes."""
    shape: TokenizerShape = TokenizerShape()
    """The tokenizer's sizes."""
    data: tuple[MaskSourceConfig, ...] = Field(min_length=1)
    """Datasets; all their masks are drawn from alike."""
    loss: LossConfig = LossConfig()
    """What is made small."""
    training: TokenizerStepsConfig = TokenizerStepsConfig()
    """The optimisation."""


def load_tokenizer_config(path: str | Path, overrides: Sequence[str] = ()) -> TokenizerConfig:
    """Read and check a tokenizer's config.

    Raises:
        ConfigError: with every fault, each with the file or ``--set`` that it came from.
    """
    layers = read_layers(Path(path), overrides)
    config = validate(TokenizerConfig, layers.data)
    if isinstance(config, list):
        raise ConfigError(report_faults([layers.locate(fault) for fault in config]))
    return config


def dump_tokenizer_config(config: TokenizerConfig) -> str:
    """The resolved config as YAML, which :func:`load_tokenizer_config` reads back equal."""
    return dump_yaml(config.model_dump(mode="json"))
