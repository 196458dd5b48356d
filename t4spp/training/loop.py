"""The one training loop: any backbone, any scheme, any recipe, one process or many."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from t4spp.components import Backbone, ModelInputs
from t4spp.config import RunConfig
from t4spp.errors import RunError
from t4spp.training.batches import StepBatch, StepBatches, load_steps
from t4spp.training.checkpoints import ADAPTER, MODEL
from t4spp.training.learner import Learner, Losses
from t4spp.training.lora import count_parameters
from t4spp.training.processes import seed_everything
from t4spp.training.saving import COUNTS, RunState
from t4spp.training.schedule import learning_rate

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

NUM_LOGGED_EXAMPLES = 5

Evaluate = Callable[[Backbone, int], Mapping[str, Any]]
"""Scores the backbone after so many steps; called on every process, returns metrics."""


class Follower(Protocol):
    """Who is told how training goes, on the main process; ``t4spp.tracking.Trackers`` is one."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Losses, learning rate, speeds at an optimiser step."""

    def scores(self, split: str, metrics: Mapping[str, Any]) -> None:
        """What an evaluation during training found, with its ``step``."""

    def note(self, message: str, **values: Any) -> None:
        """A remark: resumed, left out, skipped."""


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """What a training came to.

    Attributes:
        steps: optimiser steps done, those before a resume included.
        resumed_from: the step it was resumed from, or None.
        loss: mean cross-entropy of an answer token over the last logged steps; None when this
            call had nothing left to do.
        seconds: wall time of this call's steps.
        samples: samples trained on, repeats counted.
        answer_tokens: answer tokens trained on, repeats counted.
        too_long: samples left out because they exceed ``data.max_length``, repeats counted.
        unwritable: samples left out because the scheme refused them, repeats counted.
        unpacked: companions left out because their sequence had reached ``data.max_length``.
        trainable_parameters: of the model.
        total_parameters: of the model.
        checkpoint: the last one written.
    """

    steps: int
    resumed_from: int | None
    loss: float | None
    seconds: float
    samples: int
    answer_tokens: int
    too_long: int
    unwritable: int
    unpacked: int
    trainable_parameters: int
    total_parameters: int
    checkpoint: Path

    @property
    def weights(self) -> Path:
        """The adapter or the model in the last checkpoint, without what only a resume needs."""
        adapter = self.checkpoint / ADAPTER
        return adapter if adapter.exists() else self.checkpoint / MODEL

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return {**asdict(self), "checkpoint": str(self.checkpoint)}


@dataclass(kw_only=True)
class _Window:
    """Sums since the last logged step, on this process."""

    loss: torch.Tensor
    auxiliary: torch.Tensor
    tokens: int = 0
    samples: int = 0
    begun: float = 0.0
    has_auxiliary: bool = False

    def add(self, losses: Losses) -> None:
        """Add a micro batch's."""
        self.loss += losses.answers.detach()
        if losses.auxiliary is not None:
            self.auxiliary += losses.auxiliary.detach()
            self.has_auxiliary = True


class Loop:
    """The steps themselves."""

    def __init__(
        self,
        *,
        config: RunConfig,
        backbone: Backbone,
        learner: Learner,
        state: RunState,
        batches: StepBatches,
        filler: ModelInputs,
        evaluate: Evaluate | None,
        follower: Follower | None,
    ) -> None:
        """Keep the parts.

        Args:
            config: the resolved config.
            backbone: handed to ``evaluate``.
            learner: the prepared model and optimiser.
            state: saves checkpoints, counts samples.
            batches: this process's data.
            filler: a batch to go through the motions with where this process has nothing.
            evaluate: scores during training.
            follower: told what happens; None on all processes but the main one.
        """
        self.config = config
        self.training = config.training
        self.accelerator = learner.accelerator
        self.backbone = backbone
        self.learner = learner
        self.state = state
        self.batches = batches
        self.filler = filler
        self.evaluate = evaluate
        self.follower = follower
        self.window = self._new_window()
        self.loss: float | None = None
        self.grad_norm = 0.0

    def run(self, start: int | None) -> TrainSummary:
        """Train from step ``start`` (None: a new run) to the last."""
        first = start or 0
        steps = range(first, self.training.steps)
        began = time.perf_counter()
        with self._progress(first) as progress:
            self.window = self._new_window()
            for step, batch in zip(
                steps, load_steps(self.batches, steps, self.training.num_workers), strict=True
            ):
                if batch.error is not None:
                    raise batch.error
                self._step(step, batch)
                progress.update()
                self._after_step(step + 1, progress)
        if steps and self.state.saved_step != self.training.steps:
            self._save(self.training.steps)
        trainable = count_parameters(self.learner.unwrapped)
        return TrainSummary(
            steps=self.training.steps,
            resumed_from=start,
            loss=self.loss,
            seconds=time.perf_counter() - began,
            trainable_parameters=trainable.trainable,
            total_parameters=trainable.total,
            checkpoint=self.state.store.step_folder(self.training.steps),
            **self.state.counts,
        )

    def _step(self, step: int, batch: StepBatch) -> None:
        """One optimiser step; the loss is the mean over the global batch's answer tokens."""
        learner, accelerator = self.learner, self.accelerator
        total = self._count(batch)
        rate = learning_rate(
            step,
            peak=self.training.learning_rate,
            num_steps=self.training.steps,
            warmup_ratio=self.training.warmup_ratio,
        )
        learner.set_learning_rate(rate)
        seed_everything(self.config.seed, "step", step, accelerator.process_index)
        if total == 0:
            if self.follower is not None:
                self.follower.note("no sample of this batch can be trained on", at=step + 1)
            return
        # Processes average their gradients and accumulation divides by the number of passes:
        # undo both, so that only the global number of answer tokens counts.
        scale = accelerator.num_processes * self.batches.num_micro_batches / total
        for micro in batch.micro_batches:
            with accelerator.accumulate(learner.model):
                if micro is not None:
                    losses = learner.loss(micro)
                    self.window.add(losses)
                    accelerator.backward(losses.total * scale)
                elif accelerator.num_processes > 1:
                    # The other processes wait for this one's gradients: give them zeros.
                    accelerator.backward(learner.loss(self.filler).total * 0.0)
        norm = accelerator.clip_grad_norm_(learner.trainable(), self.training.max_grad_norm)
        self.grad_norm = 0.0 if norm is None else float(norm)
        if accelerator.scaler is None:  # with one, a step that overflows is left out instead
            self._check_finite("norm of the gradients", self.grad_norm, step + 1)
        learner.optimizer.step()
        learner.optimizer.zero_grad()

    def _count(self, batch: StepBatch) -> int:
        """Add up what all processes see in this step; returns the number of answer tokens."""
        import torch

        own = {
            "answer_tokens": batch.num_answer_tokens,
            "samples": batch.num_samples,
            "too_long": len(batch.too_long),
            "unwritable": len(batch.unwritable),
            "unpacked": batch.num_unpacked,
        }
        values = torch.tensor(
            [own[name] for name in COUNTS], dtype=torch.int64, device=self.accelerator.device
        )
        reduced = self.accelerator.reduce(values, reduction="sum").tolist()
        sums = dict(zip(COUNTS, reduced, strict=True))
        counts = self.state.counts
        for sample_id in batch.too_long[: max(0, NUM_LOGGED_EXAMPLES - counts["too_long"])]:
            logger.warning(
                "sample %r is longer than data.max_length=%d tokens and is left out",
                sample_id,
                self.config.data.max_length,
            )
        counts.update(sums)
        self.window.tokens += sums["answer_tokens"]
        self.window.samples += sums["samples"]
        return int(sums["answer_tokens"])

    def _after_step(self, done: int, progress: Any) -> None:
        last = done == self.training.steps
        save = last or (self.training.save_every and done % self.training.save_every == 0)
        if save or done % self.training.log_every == 0:
            self._log(done, progress)
        if save:
            self._save(done)
        every = self.training.evaluate_every
        if self.evaluate and every and done % every == 0:
            self._evaluate(self.evaluate, done)

    def _log(self, done: int, progress: Any) -> None:
        window = self.window
        total_loss = float(self.accelerator.reduce(window.loss, reduction="sum"))
        if window.tokens:
            self.loss = total_loss / window.tokens
            self._check_finite("loss", self.loss, done)
        seconds = max(time.perf_counter() - window.begun, 1e-9)
        values = {
            "loss": self.loss if self.loss is not None else 0.0,
            "lr": self.learner.learning_rate,
            "grad_norm": self.grad_norm,
            "samples_per_second": window.samples / seconds,
            "epoch": self._epoch(done),
            **{f"epoch.{name}": e for name, e in self.batches.order.epochs(done).items()},
            **self.state.counts,
        }
        auxiliary = float(self.accelerator.reduce(window.auxiliary, reduction="sum"))
        if window.has_auxiliary and window.tokens:
            values["auxiliary_loss"] = auxiliary / window.tokens
        if self.follower is not None:
            self.follower.log(done, values)
        progress.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)
        self.window = self._new_window()

    def _check_finite(self, what: str, value: float, done: int) -> None:
        if not math.isfinite(value):
            raise RunError(
                f"the {what} is {value} at step {done}: training has diverged. Lower "
                "training.learning_rate or training.max_grad_norm, or set training.precision to "
                "bf16 or no. Checkpoints written before stand."
            )

    def _evaluate(self, evaluate: Evaluate, done: int) -> None:
        learner = self.learner
        learner.unwrapped.eval()
        with self.accelerator.autocast():
            metrics = evaluate(self.backbone, done)
        learner.unwrapped.train()
        if self.follower is not None:
            self.follower.scores(self.config.data.eval_split, {**metrics, "step": done})
        self.window.begun = time.perf_counter()

    def _save(self, done: int) -> None:
        self.state.save(done, self._epoch(done), self.training.keep_last)
        self.window.begun = time.perf_counter()

    def _epoch(self, done: int) -> float:
        return done * self.training.batch_size / len(self.batches.samples)

    def _new_window(self) -> _Window:
        import torch

        device = self.accelerator.device
        loss, auxiliary = torch.zeros(2, dtype=torch.float32, device=device)
        return _Window(loss=loss, auxiliary=auxiliary, begun=time.perf_counter())

    def _progress(self, first: int) -> Any:
        from tqdm import tqdm

        return tqdm(
            total=self.training.steps,
            initial=first,
            desc="train",
            unit="step",
            file=sys.stderr,
            disable=not self.accelerator.is_main_process,
            mininterval=1.0,
        )
