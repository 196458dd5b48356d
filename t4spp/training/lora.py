"""What is trained: every weight, or a LoRA adapter with the rows of the scheme's tokens."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from t4spp.components import Backbone
from t4spp.errors import BackboneError, ConfigError

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainableCount:
    """Numbers of parameters."""

    trainable: int
    total: int


def require_model(backbone: Backbone) -> PreTrainedModel:
    """The backbone's model.

    Raises:
        ConfigError: the backbone answers by itself.
    """
    if backbone.model is None:
        raise ConfigError(
            f"the backbone {type(backbone).__name__} answers by itself: it has no model to train "
            "or to load weights into. Set training.mode=none, or choose another backbone."
        )
    return backbone.model


def require_tokenizer(backbone: Backbone) -> PreTrainedTokenizerBase:
    """The backbone's tokenizer.

    Raises:
        ConfigError: it has none.
    """
    if backbone.tokenizer is None:
        raise ConfigError(f"the backbone {type(backbone).__name__} has no tokenizer to train with.")
    return backbone.tokenizer


def token_rows(tokenizer: PreTrainedTokenizerBase, scheme_tokens: Sequence[str]) -> list[int]:
    """The ids of the scheme's tokens, ascending.

    Raises:
        BackboneError: the tokenizer does not know one of them as a single token.
    """
    known = tokenizer.get_vocab()
    missing = [token for token in scheme_tokens if token not in known]
    if missing:
        raise BackboneError(
            f"the tokenizer has not learnt {len(missing)} of the scheme's {len(scheme_tokens)} "
            f"tokens, the first is {missing[0]!r}. The backbone's load() must add them."
        )
    return sorted(known[token] for token in scheme_tokens)


def is_quantised(model: object) -> bool:
    """Whether a model's linear layers are kept in 8 or 4 bits.

    Such a model stays on the device it was loaded on, is not trained whole, and nothing is merged
    into its weights.
    """
    flags = ("is_quantized", "is_loaded_in_8bit", "is_loaded_in_4bit")
    return any(bool(getattr(model, flag, False)) for flag in flags)


def place(model: PreTrainedModel, device: torch.device) -> None:
    """Move a model, in place; a quantised one lies where it was loaded."""
    if not is_quantised(model):
        cast(Any, model).to(device)


def _recomputes(model: PreTrainedModel) -> bool:
    """Whether gradient checkpointing is on; older releases of transformers name it otherwise."""
    if hasattr(model, "is_activation_checkpointing"):
        return bool(model.is_activation_checkpointing)
    return bool(model.is_gradient_checkpointing)


def prepare_full(model: PreTrainedModel, frozen: str | None = None) -> None:
    """Make floating-point weights trainable, in float32 (mixed precision casts in use).

    Args:
        model: changed in place.
        frozen: regular expression of how the names of weights begin that are left alone; None
            trains all of them.

    Raises:
        ConfigError: the weights are quantised, or all of them are left alone.
    """
    import torch

    if is_quantised(model):
        raise ConfigError(
            "training.mode=full cannot train a quantised model: its weights are whole numbers of a "
            "few bits. Set training.mode=lora, or load the model without quantisation."
        )
    cast(Any, model).to(torch.float32)
    for name, parameter in model.named_parameters():
        left = frozen is not None and re.match(frozen, name) is not None
        parameter.requires_grad_(parameter.is_floating_point() and not left)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(
            "training.mode=full has nothing to train: the backbone's parameters freeze every part "
            "of the model. Freeze fewer, or set training.mode=none."
        )


def prepare_lora(
    backbone: Backbone,
    scheme_tokens: Sequence[str],
    *,
    rank: int,
    alpha: float,
    dropout: float,
    targets: Sequence[str] | str | None,
) -> PeftModel:
    """Put a fresh adapter into the backbone's model, in place, and return peft's view of it.

    The rows of ``scheme_tokens`` in the input embeddings are trained with the adapter, and those
    of the output head where it has weights of its own; where both are tied, they stay tied. So are
    the modules that the backbone wants trained whole. No other row is trained or saved. A quantised
    model's norms and embeddings become float32 first.

    Raises:
        ConfigError: no layer bears one of the names in ``targets``.
        BackboneError: the model has no output head.
    """
    from peft import LoraConfig, TaskType, get_peft_model, prepare_model_for_kbit_training

    model = require_model(backbone)
    chosen = backbone.lora_targets() if targets is None else targets
    where = "backbone's own" if targets is None else "training.lora.targets"
    rows = token_rows(require_tokenizer(backbone), scheme_tokens)
    if is_quantised(model):
        prepare: Any = prepare_model_for_kbit_training  # untyped
        prepare(
            model,
            use_gradient_checkpointing=_recomputes(model),
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    config = LoraConfig(
        r=rank,
        # peft's annotation says int; it only ever divides alpha by the rank.
        lora_alpha=cast(int, alpha),
        lora_dropout=dropout,
        target_modules=chosen if isinstance(chosen, str) else list(chosen),
        modules_to_save=list(backbone.trained_whole()) or None,
        trainable_token_indices=dict.fromkeys(token_modules(model), rows) if rows else None,
        task_type=TaskType.CAUSAL_LM,
    )
    try:
        with peft_unwarned():
            return cast("PeftModel", get_peft_model(model, config))
    except ValueError as error:
        raise ConfigError(
            f"LoRA cannot adapt this model with the targets {chosen!r} ({where}): {error}. "
            "Name linear layers of the model, or 'all-linear'."
        ) from error


@contextmanager
def peft_unwarned() -> Iterator[None]:
    """Keep peft's use of names that transformers is about to rename from people's terminals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def token_modules(model: PreTrainedModel) -> list[str]:
    """Names of the modules that hold one row a token: the embeddings, and an untied head.

    Raises:
        BackboneError: the model has no output head, so that it could not write a token, or ties one
            to its embeddings that it does not name.
    """
    embeddings = model.get_input_embeddings()
    head = _output_head(model)
    wanted = [embeddings]
    if head.weight is not embeddings.weight:
        wanted.append(head)
    elif cast(Any, model).get_output_embeddings() is None:
        raise BackboneError(  # peft would train rows that the head does not see
            f"{type(model).__name__} ties its output head to its embeddings, and its "
            "get_output_embeddings() gives None. Let it return the head, so that new tokens' rows "
            "stay tied while they are trained."
        )
    names = {id(module): name for name, module in model.named_modules()}
    return [names[id(module)] for module in wanted]


def _output_head(model: PreTrainedModel) -> Any:
    """The module that gives the logits; a wrapper may leave it to the language model inside."""
    from transformers import PreTrainedModel

    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            head = cast(Any, module).get_output_embeddings()
            if head is not None:
                return head
    raise BackboneError(
        f"{type(model).__name__} has no output head (get_output_embeddings() gives None for it "
        "and for every model inside): it cannot be taught to write. Use a model for generation."
    )


def count_parameters(model: Any) -> TrainableCount:
    """Trainable and all parameters; shared ones count once."""
    parameters = list(model.parameters())
    return TrainableCount(
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        total=sum(p.numel() for p in parameters),
    )
