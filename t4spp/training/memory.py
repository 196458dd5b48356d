"""Memory that LoRA training needs, computed from an architecture alone.

The model is made on the ``meta`` device, where tensors have shapes and no content. The parameters
are counted, and a forward pass is run there for one sequence: what autograd keeps of it for the
backward pass is what a real run keeps. So no formula for activations is needed, and none trusted.

Legend: ``L`` tokens of a sequence, ``H`` width of the language model, ``V`` rows of the embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from t4spp.components import ReferenceModel
from t4spp.errors import ConfigError
from t4spp.training.lora import peft_unwarned, token_modules

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Precision = Literal["bf16", "8bit", "4bit"]
PRECISIONS: tuple[Precision, ...] = ("bf16", "8bit", "4bit")

BITS_4BIT = 4 + 8 / 64 + 32 / (64 * 256)
"""Bits a weight in NF4 with double quantisation: a scale of 8 bits for 64 weights, and one of 32
for 256 scales (Dettmers et al. 2023, QLoRA, section 3)."""
BITS_8BIT = 8
"""Bits a weight in LLM.int8; one scale a row is left out."""
TRAINED_BYTES = 4 + 4 + 8
"""Bytes a trained parameter: itself, its gradient, and AdamW's two averages, all in float32."""
_ATTENTION = "t4spp-counted"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is trained on.

    Attributes:
        rank: of LoRA.
        dropout: of LoRA; above 0 every adapted layer keeps a copy of its input.
        new_tokens: tokens whose rows are trained.
        length: tokens of a sequence, image tokens counted.
        answer: tokens of its answer; only they get logits.
        sequences: in one forward pass.
    """

    rank: int = 64
    dropout: float = 0.05
    new_tokens: int = 1032
    length: int = 1024
    answer: int = 128
    sequences: int = 1


@dataclass(frozen=True, kw_only=True)
class MemoryNeed:
    """Bytes, and the numbers of parameters behind them.

    Attributes:
        name: of the model.
        precision: of the base weights.
        parameters: of the base model, shared ones counted once.
        trained: LoRA's factors and new tokens' rows.
        weights: of the base model.
        states: trained parameters, their gradients and the optimiser's averages.
        activations: what the backward pass needs, logits and one layer's gradients among it.
        checkpointed: the same when each layer's are computed anew in the backward pass.
    """

    name: str
    precision: Precision
    parameters: int
    trained: int
    weights: int
    states: int
    activations: int
    checkpointed: int

    @property
    def total(self) -> int:
        """Without what the device's libraries take for themselves."""
        return self.weights + self.states + self.activations

    @property
    def total_checkpointed(self) -> int:
        """The same with gradient checkpointing."""
        return self.weights + self.states + self.checkpointed


def memory_needs(model: ReferenceModel, work: Workload) -> list[MemoryNeed]:
    """What training needs in each of :data:`PRECISIONS`.

    Raises:
        ConfigError: transformers does not know such a model, or the targets fit no layer.
    """
    import torch

    empty = empty_model(model.config, model.name)
    sizes = {p: weight_bytes(empty, p) for p in PRECISIONS}
    parameters = sum(p.numel() for p in empty.parameters())
    adapted = _adapted(empty, model, work)
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    kept, inputs = _kept_bytes(adapted, empty, work, torch.bfloat16)
    layer = kept.inside // int(empty.config.get_text_config().num_hidden_layers)
    # The backward pass holds the gradients of one layer's tensors beside all that is kept.
    whole = kept.inside + layer + kept.outside
    anew = inputs * (kept.inside // layer) + 2 * layer + kept.outside
    return [
        MemoryNeed(
            name=model.name,
            precision=precision,
            parameters=parameters,
            trained=trained,
            weights=sizes[precision],
            states=trained * TRAINED_BYTES,
            activations=work.sequences * whole + kept.tables,
            checkpointed=work.sequences * anew + kept.tables,
        )
        for precision in PRECISIONS
    ]


def empty_model(config: Mapping[str, Any], name: str) -> PreTrainedModel:
    """A model of a ``config.json`` on the meta device, in bfloat16.

    Raises:
        ConfigError: transformers does not know the type, or the values make no model.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    values = dict(config)
    kind = values.pop("model_type", None)
    autos: Any = (AutoModelForImageTextToText, AutoModelForCausalLM)
    try:
        made = AutoConfig.for_model(kind, **values)
        _count_attention(made)
        auto = next(a for a in autos if type(made) in a._model_mapping)
        with torch.device("meta"):
            model: PreTrainedModel = auto.from_config(made, dtype=torch.bfloat16)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        StopIteration,
        StrictDataclassError,
    ) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{name}: no model can be made of this config ({type(error).__name__}: {reason}). Give "
            "a config.json of transformers with a model_type that it knows."
        ) from error
    model.tie_weights()
    return model


def weight_bytes(model: PreTrainedModel, precision: Precision) -> int:
    """Bytes of the base weights.

    bfloat16, or as bitsandbytes quantises them: all linear layers but the output head; the rest is
    float32, as peft prepares it for training.
    """
    import torch

    total = sum(p.numel() for p in model.parameters())
    if precision == "bf16":
        return 2 * total
    head = cast(Any, model).get_output_embeddings()
    linear = sum(
        module.weight.numel()
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    )
    bits = BITS_8BIT if precision == "8bit" else BITS_4BIT
    return int(linear * bits / 8) + 4 * (total - linear)


def _adapted(model: PreTrainedModel, reference: ReferenceModel, work: Workload) -> Any:
    from peft import LoraConfig, get_peft_model

    targets = reference.lora_targets
    rows = int(cast(Any, model).get_input_embeddings().weight.shape[0])
    tokens = list(range(rows - work.new_tokens, rows))
    config = LoraConfig(
        r=work.rank,
        lora_dropout=work.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        trainable_token_indices=dict.fromkeys(token_modules(model), tokens) if tokens else None,
        modules_to_save=list(reference.trained_whole) or None,
        task_type="CAUSAL_LM",
    )
    try:
        with peft_unwarned():
            return get_peft_model(model, config, autocast_adapter_dtype=False)
    except ValueError as error:
        raise ConfigError(
            f"{reference.name}: LoRA cannot adapt this model with the targets {targets!r}: {error}"
        ) from error


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """Bytes that autograd keeps of a sequence.

    Attributes:
        inside: of the layers.
        outside: of embeddings, last norm and logits.
        tables: copies of embeddings and head with new rows in them, however many sequences.
    """

    inside: int
    outside: int
    tables: int


def _kept_bytes(
    adapted: Any, model: PreTrainedModel, work: Workload, dtype: torch.dtype
) -> tuple[_Kept, int]:
    """What one sequence leaves behind, and the bytes of a layer's input."""
    import torch

    parts = cast(Any, model)
    decoder, embeddings = parts.get_decoder(), parts.get_input_embeddings()
    head = parts.get_output_embeddings()
    adapted.train()
    ids = torch.zeros(1, work.length, dtype=torch.int64, device="meta")
    # A row of one token leaves nothing behind but copies of whole tables with new rows in them.
    looked_up, written = _Counter(model), _Counter(model)
    with looked_up:
        vector = embeddings(ids[:, :1])
    with written:
        head(vector.to(dtype))
    layers = _Counter(model)
    with layers:
        vectors = embeddings(ids).to(dtype)
        seen = torch.ones_like(ids)
        output = decoder(inputs_embeds=vectors, attention_mask=seen, use_cache=False)
        hidden = output.last_hidden_state
    logits = _Counter(model)
    with logits:
        scores = head(hidden[:, -work.answer :]).float()
        torch.nn.functional.cross_entropy(scores.flatten(0, 1), ids[0, -work.answer :])
    width = vectors.shape[-1] * work.length * vectors.element_size()
    grown = 4 * scores.numel()  # the gradient of the logits
    outside = max(logits.total - written.total, 0) + grown
    inside = max(layers.total - looked_up.total, 0)
    return _Kept(inside=inside, outside=outside, tables=looked_up.total + written.total), width


class _Counter:
    """Adds up what autograd keeps; parameters and what is kept twice count nothing."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._seen = {p.untyped_storage()._cdata for p in model.parameters()}
        self._alive: list[torch.Tensor] = []  # a storage's number is its own while it lives
        self.total = 0
        self._hooks: Any = None

    def __enter__(self) -> _Counter:
        import torch

        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda kept: kept)
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)

    def _keep(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self._alive.append(tensor)
            self.total += tensor.numel() * tensor.element_size()
        return tensor


def _count_attention(config: Any) -> None:
    """Let attention keep what fused kernels keep, not every pair of tokens."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(_ATTENTION, _fused)
    AttentionMaskInterface.register(_ATTENTION, lambda *_, **__: None)
    config._attn_implementation = _ATTENTION


def _fused(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any
) -> tuple[torch.Tensor, None]:
    """Attention as FlashAttention-2 keeps it: its inputs, its output, a number a row.

    Args:
        module: the layer.
        query: (B, heads, L, D).
        key: (B, fewer heads, L, D).
        value: as ``key``.
    """
    import torch

    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(
            context: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
        ) -> torch.Tensor:
            out = torch.empty_like(query)
            rows = query.new_empty(query.shape[:-1], dtype=torch.float32)
            context.save_for_backward(query, key, value, out, rows)
            return out

        @staticmethod
        def backward(context: Any, *gradients: torch.Tensor) -> Any:
            raise NotImplementedError("only what is kept is counted")

    apply: Any = Fused.apply
    return apply(query, key, value).transpose(1, 2), None
