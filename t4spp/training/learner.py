"""What learns: the model as it is trained, with its optimiser, on one process or many."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from t4spp.components import Backbone, ModelInputs
from t4spp.config import RunConfig
from t4spp.errors import RunError
from t4spp.schemes.base import Scheme
from t4spp.training.batches import answer_loss, num_told
from t4spp.training.checkpoints import (
    ADAPTER,
    MODEL,
    check_origin,
    load_full,
    read_adapter,
    read_meta,
    resolve_checkpoint,
)
from t4spp.training.lora import (
    is_quantised,
    prepare_full,
    prepare_lora,
    require_model,
    require_tokenizer,
)

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True, eq=False)
class Losses:
    """What a micro batch asks to lower.

    Attributes:
        answers: the summed cross-entropy of its answer tokens, a float32 scalar.
        auxiliary: the ``auxiliary_loss`` of the model's output, also summed over positions; None
            where it has none.
    """

    answers: torch.Tensor
    auxiliary: torch.Tensor | None

    @property
    def total(self) -> torch.Tensor:
        """Their sum."""
        return self.answers if self.auxiliary is None else self.answers + self.auxiliary


@dataclass(kw_only=True)
class Learner:
    """A prepared model with its optimiser.

    Attributes:
        model: what the loop calls; wrapped for several processes.
        unwrapped: the model itself, or peft's view of it.
        optimizer: AdamW, or Muon with it, wrapped.
        mode: what is trained.
        tokenizer: saved with the weights.
        forward_options: keyword arguments for every forward pass.
        keeps_logits: whether the model can leave out the logits of all but the last positions.
    """

    accelerator: Accelerator
    model: Any
    unwrapped: Any
    optimizer: Any
    mode: Literal["lora", "full"]
    tokenizer: PreTrainedTokenizerBase
    forward_options: dict[str, Any]
    keeps_logits: bool

    @property
    def is_sharded(self) -> bool:
        """Whether FSDP or DeepSpeed spreads the weights or the optimiser over processes."""
        from accelerate.utils import DistributedType

        return self.accelerator.distributed_type in (
            DistributedType.FSDP,
            DistributedType.DEEPSPEED,
        )

    def loss(self, inputs: ModelInputs) -> Losses:
        """What a micro batch asks to lower."""
        device = self.accelerator.device
        return _loss(self.model, inputs, self.forward_options, self.keeps_logits, device)

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set_learning_rate(self, rate: float) -> None:
        """For the next step."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def trainable(self) -> Iterable[torch.nn.Parameter]:
        """The parameters that learn."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def finish(self) -> None:
        """Take the model out of its wrappers and ready it for inference."""
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        self.unwrapped.eval()


def make_learner(
    accelerator: Accelerator,
    config: RunConfig,
    scheme: Scheme,
    backbone: Backbone,
    backbone_fingerprint: str,
    example: ModelInputs,
) -> Learner:
    """Choose what is trained, start from ``init_from`` if asked, make the optimiser.

    Args:
        accelerator: place and device.
        config: the resolved config.
        scheme: its tokens' rows are trained.
        backbone: loaded, with no adapter in it.
        backbone_fingerprint: of the weights as they were loaded.
        example: a batch to find out with which parameters the answer does not depend on.

    Raises:
        RunError: ``init_from`` is no checkpoint, or of another backbone, scheme or mode.
        ConfigError: LoRA's targets fit no layer, or Muon finds no matrix.
    """
    from accelerate import DistributedDataParallelKwargs

    from t4spp.training.optimizers import make_optimizer

    training = config.training
    model = require_model(backbone)
    mode: Literal["lora", "full"] = "lora" if training.mode == "lora" else "full"
    initial = None
    if training.init_from is not None:
        initial = resolve_checkpoint(training.init_from)
        meta = read_meta(initial)
        check_origin(meta, initial, backbone_fingerprint, scheme.fingerprint())
        if meta.mode != mode:
            raise RunError(
                f"training.init_from={training.init_from} holds {meta.mode} weights, and this run "
                f"trains {mode}. Set training.mode={meta.mode}."
            )
    learning: Any
    if mode == "lora":
        lora = training.lora
        learning = prepare_lora(
            backbone,
            scheme.special_tokens,
            rank=lora.rank,
            alpha=lora.alpha,
            dropout=lora.dropout,
            targets=lora.targets,
        )
        if initial is not None:
            read_adapter(learning, initial / ADAPTER)
    else:
        prepare_full(model, backbone.frozen_weights())
        learning = model
        if initial is not None:
            load_full(model, initial / MODEL)
    learning.train()
    options = {"use_cache": False} if _accepts(model.forward, "use_cache") else {}
    keeps_logits = "logits_to_keep" in inspect.signature(model.forward).parameters
    optimizer = make_optimizer(learning, model, training)
    plugin = getattr(accelerator.state, "deepspeed_plugin", None)
    if plugin is not None:
        # DeepSpeed clips and counts by itself, and asks before it is given any data.
        plugin.deepspeed_config["gradient_clipping"] = training.max_grad_norm
        plugin.deepspeed_config["gradient_accumulation_steps"] = (
            accelerator.gradient_accumulation_steps
        )
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = (
            training.micro_batch_size or training.batch_size // accelerator.num_processes
        )
    if accelerator.distributed_type.startswith("MULTI_"):
        if not is_quantised(model):
            learning.to(accelerator.device)
        accelerator.ddp_handler = DistributedDataParallelKwargs(
            find_unused_parameters=leaves_unused(
                learning, example, options, keeps_logits, accelerator.device
            )
        )
    wrapped, prepared = accelerator.prepare(learning, optimizer)
    return Learner(
        accelerator=accelerator,
        model=wrapped,
        unwrapped=learning,
        optimizer=prepared,
        mode=mode,
        tokenizer=require_tokenizer(backbone),
        forward_options=options,
        keeps_logits=keeps_logits,
    )


def _loss(
    model: Any,
    inputs: ModelInputs,
    options: Mapping[str, Any],
    keeps_logits: bool,
    device: torch.device,
) -> Losses:
    """The answers' loss, and the model's own where it gives one.

    Hundreds of image tokens stand before a short answer, and their logits bear no loss: a model
    that can leave them out does.
    """
    from accelerate.utils import send_to_device

    keep = {"logits_to_keep": num_told(inputs.tensors["labels"])} if keeps_logits else {}
    tensors = send_to_device(dict(inputs.tensors), device)
    labels = tensors.pop("labels")
    output = model(**tensors, **options, **keep)
    return Losses(
        answers=answer_loss(output.logits, labels),
        auxiliary=getattr(output, "auxiliary_loss", None),
    )


def leaves_unused(
    model: Any,
    example: ModelInputs,
    options: Mapping[str, Any],
    keeps_logits: bool,
    device: torch.device,
) -> bool:
    """Whether the answer does not depend on some trainable parameter.

    Vision towers often have a layer behind the one whose features are used. Several processes
    must know before they average gradients, or they wait for ever for those that never come.
    """
    import torch

    torch.autograd.backward(_loss(model, example, options, keeps_logits, device).total)
    unused = any(p.grad is None for p in model.parameters() if p.requires_grad)
    model.zero_grad(set_to_none=True)
    return unused


def _accepts(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)
