"""What one process feeds its model at each optimiser step; stateless, so workers may prepare it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from t4spp.components import Backbone, ModelInputs
from t4spp.data.augment import Augmenter, apply, suits
from t4spp.data.conversations import ConversationBuilder
from t4spp.data.order import Draw, GlobalOrder, split_share
from t4spp.errors import RunError, T4sppError
from t4spp.seeds import seed_from
from t4spp.training.processes import seed_everything
from t4spp.types import Sample

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader

IGNORED = -100
"""The label of a position that bears no loss."""

NUM_PROBED = 256
"""Samples that are tried before a run is refused because none of them can be trained on, and the
farthest that companions are looked for."""


@dataclass(kw_only=True)
class StepBatch:
    """A process's share of one global batch.

    Attributes:
        micro_batches: one a forward pass; None where nothing fits or can be written.
        num_answer_tokens: answer tokens in all of them.
        num_samples: samples in all of them, companions among them.
        too_long: ids that did not fit the length limit.
        unwritable: (id, reason) that the scheme refused.
        num_unpacked: companions that did not fit behind their sample.
        error: what a dataset or a backbone raised; the trainer raises it.
    """

    micro_batches: list[ModelInputs | None] = field(default_factory=list)
    num_answer_tokens: int = 0
    num_samples: int = 0
    too_long: tuple[str, ...] = ()
    unwritable: tuple[tuple[str, str], ...] = ()
    num_unpacked: int = 0
    error: T4sppError | None = None


class StepBatches:
    """A map from the optimiser step (from 0) to this process's :class:`StepBatch`."""

    def __init__(
        self,
        *,
        samples: Sequence[Sample],
        builder: ConversationBuilder,
        augmenter: Augmenter | None,
        backbone: Backbone,
        order: GlobalOrder,
        rank: int,
        num_processes: int,
        micro_batch_size: int,
        num_micro_batches: int,
        max_length: int,
        num_steps: int,
        companions: int = 0,
    ) -> None:
        """Keep the parts; see the attributes of the trainer."""
        self.samples = samples
        self.builder = builder
        self.augmenter = augmenter
        self.backbone = backbone
        self.order = order
        self.rank = rank
        self.num_processes = num_processes
        self.micro_batch_size = micro_batch_size
        self.num_micro_batches = num_micro_batches
        self.max_length = max_length
        self.num_steps = num_steps
        self.companions = companions

    def __len__(self) -> int:
        """Optimiser steps."""
        return self.num_steps

    def __getitem__(self, step: int) -> StepBatch:
        """Read, write and collate this process's share of global batch ``step``."""
        seed_everything(self.order.seed, "data", step, self.rank)
        try:
            return self._prepare(step)
        except T4sppError as error:
            return StepBatch(error=error)

    def first_usable(self) -> ModelInputs:
        """A batch of one sample, with its companions, that can be trained on.

        Raises:
            RunError: none of the first samples can.
        """
        num_tried = min(len(self.samples), NUM_PROBED)
        too_long = 0
        for index in range(num_tried):
            inputs = self._collate([Draw(index=index, epoch=0)], StepBatch())
            if inputs is not None and count_answer_tokens(inputs) > 0:
                self.builder.drain_unwritable()
                return inputs
            too_long += inputs is not None
        unwritable = self.builder.drain_unwritable()
        reason = f" The first reason: {unwritable[0][1]}" if unwritable else ""
        raise RunError(
            f"none of the first {num_tried} training samples can be trained on: {too_long} are "
            f"longer than data.max_length={self.max_length} tokens, "
            f"{len({name for name, _ in unwritable})} cannot be "
            f"written by the scheme.{reason} Raise data.max_length, or choose another scheme, a "
            "coarser grid or another recipe."
        )

    def _prepare(self, step: int) -> StepBatch:
        batch = StepBatch()
        share = self.order.share(step, self.rank, self.num_processes)
        for draws in split_share(share, self.micro_batch_size, self.num_micro_batches):
            inputs = self._collate(draws, batch)
            tokens = 0 if inputs is None else count_answer_tokens(inputs)
            batch.micro_batches.append(inputs if tokens else None)
            batch.num_answer_tokens += tokens
        batch.unwritable = self.builder.drain_unwritable()
        return batch

    def _collate(self, draws: Sequence[Draw], batch: StepBatch) -> ModelInputs | None:
        """A micro batch; counts its samples, those too long among them, into ``batch``."""
        packs = [
            [
                conversation
                for sample in self._pack(draw)
                if (conversation := self.builder.build(sample, training=True, epoch=draw.epoch))
            ]
            for draw in draws
        ]
        packs = [pack for pack in packs if pack]
        if not packs:
            return None
        batch.num_samples += sum(map(len, packs))
        if self.companions:
            inputs = self.backbone.collate_packs(packs, max_length=self.max_length)
        else:
            conversations = [conversation for pack in packs for conversation in pack]
            inputs = self.backbone.collate(conversations, training=True, max_length=self.max_length)
        batch.too_long += inputs.too_long
        batch.num_unpacked += len(inputs.unpacked)
        batch.num_samples -= len(inputs.too_long) + len(inputs.unpacked)
        return inputs

    def _pack(self, draw: Draw) -> list[Sample]:
        """A sample as its epoch sees it, and companions: other prompts about its picture.

        Companions are drawn by seed, sample and epoch from all prompts about the picture, which
        recipes list one after another; a picture without ``image_id`` is its sample's alone. They
        undergo the change that was drawn for the sample: those whose targets it cuts away, or
        whose words it belies, stay away.
        """
        lead = self.samples[draw.index]
        change = None if self.augmenter is None else self.augmenter.draw(lead, draw.epoch)
        pack = [lead]
        if self.companions and lead.image_id:
            others = [*self._others(lead, draw.index, -1), *self._others(lead, draw.index, 1)]
            rng = np.random.default_rng(
                seed_from(self.order.seed, "companions", draw.index, draw.epoch)
            )
            drawn = (others[place] for place in rng.permutation(len(others)))
            fit = (other for other in drawn if change is None or suits(change, other))
            pack += islice(fit, self.companions)
        return pack if change is None else [apply(change, sample) for sample in pack]

    def _others(self, lead: Sample, index: int, step: int) -> Iterator[Sample]:
        """The samples next to one, in one direction, as long as they are about its picture."""
        for number in range(1, NUM_PROBED):
            place = index + step * number
            if not 0 <= place < len(self.samples):
                return
            other = self.samples[place]
            if other.image_id != lead.image_id or other.size != lead.size:
                return
            yield other


def count_answer_tokens(inputs: ModelInputs) -> int:
    """Labels that bear loss: those after the first position that are not masked."""
    labels = inputs.tensors.get("labels")
    return 0 if labels is None else int((labels[:, 1:] != IGNORED).sum())


def num_told(labels: torch.Tensor) -> int:
    """Positions at the end of the rows, from the one that predicts the batch's first label on.

    Args:
        labels: int64[B, L], -100 outside answers.
    """
    bears_loss = (labels != IGNORED).any(0).nonzero()
    first = int(bears_loss[0]) if len(bears_loss) else labels.shape[1]
    return labels.shape[1] - max(first - 1, 0)


def answer_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The summed cross-entropy of the answer tokens, a float32 scalar.

    Args:
        logits: float[B, K, V] of the last K <= L positions; position i predicts token i + 1.
        labels: int64[B, L], -100 outside answers.
    """
    from torch.nn.functional import cross_entropy

    following = labels[:, -logits.shape[1] :][:, 1:]
    bears_loss = following != IGNORED
    chosen = logits[:, :-1][bears_loss].float()
    return cross_entropy(chosen, following[bears_loss], reduction="sum")


def load_steps(
    batches: StepBatches, steps: Iterable[int], num_workers: int
) -> DataLoader[StepBatch]:
    """Iterate over the batches of ``steps``, prepared by ``num_workers`` processes if any."""
    import torch
    from torch.utils.data import DataLoader

    return DataLoader(
        batches,  # type: ignore[arg-type]  # a map of steps; torch asks for its own base class
        sampler=list(steps),
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_as_it_is,  # without it torch would look for tensors to convert
        # Its own generator: the loader's seed must not be drawn from the global one.
        generator=torch.Generator(),
        multiprocessing_context="fork" if num_workers else None,
    )


def _as_it_is(batch: Any) -> Any:
    return batch
