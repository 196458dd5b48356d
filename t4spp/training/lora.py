"""What is trained: every weight, or a LoRA adapter with the rows of the scheme's tokens."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from t4spp.components import Backbone
from t4spp.errors import BackboneError, ConfigError

if TYPE_CHECKING:
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


def prepare_full(model: PreTrainedModel) -> None:
    """Make every floating-point weight trainable, in float32 (mixed precision casts in use)."""
    import torch

    cast(Any, model).to(torch.float32)
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())


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
    of the output head where it has weights of its own; where both are tied, they stay tied.

    Raises:
        ConfigError: no layer bears one of the names in ``targets``.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    model = require_model(backbone)
    chosen = backbone.lora_targets() if targets is None else targets
    where = "backbone's own" if targets is None else "training.lora.targets"
    rows = token_rows(require_tokenizer(backbone), scheme_tokens)
    config = LoraConfig(
        r=rank,
        # peft's annotation says int; it only ever divides alpha by the rank.
        lora_alpha=cast(int, alpha),
        lora_dropout=dropout,
        target_modules=chosen if isinstance(chosen, str) else list(chosen),
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
    """Names of the modules that hold one row a token: the embeddings, and an untied head."""
    embeddings = model.get_input_embeddings()
    head = cast(Any, model).get_output_embeddings()
    wanted = [embeddings]
    if head is not None and head.weight is not embeddings.weight:
        wanted.append(head)
    names = {id(module): name for name, module in model.named_modules()}
    return [names[id(module)] for module in wanted]


def count_parameters(model: Any) -> TrainableCount:
    """Trainable and all parameters; shared ones count once."""
    parameters = list(model.parameters())
    return TrainableCount(
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        total=sum(p.numel() for p in parameters),
    )
