"""A run's training: builds the parts, claims the folder, resumes or begins, runs the loop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from t4spp.components import Backbone, ModelInputs
from t4spp.config import AugmentConfig, RunConfig
from t4spp.data.augment import Augmenter
from t4spp.data.conversations import ConversationBuilder
from t4spp.data.head import training_samples
from t4spp.data.mixture import build_recipe, order_of
from t4spp.data.order import num_micro_batches
from t4spp.data.prompting import pool_of
from t4spp.errors import BackboneError, ConfigError, RunError
from t4spp.plugins import Catalogue
from t4spp.schemes.base import Scheme
from t4spp.training.batches import StepBatches
from t4spp.training.binding import binding_config
from t4spp.training.budget import counted_steps, steps_for, with_steps
from t4spp.training.checkpoints import CheckpointStore
from t4spp.training.folders import check_run_folder, claim_run_folder
from t4spp.training.learner import Learner, make_learner
from t4spp.training.loop import Evaluate, Follower, Loop, TrainSummary
from t4spp.training.lora import place, require_model
from t4spp.training.processes import (
    deterministic_on_cpu,
    kept_random_state,
    make_accelerator,
    on_main,
)
from t4spp.training.saving import RunState
from t4spp.types import Sample

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Evaluate", "Follower", "TrainSummary", "Trainer"]


class Trainer:
    """Trains one run.

    Attributes:
        config: of the run; with ``training.target_tokens``, its steps are those that follow.
        accelerator: place and device; made when the trainer is.
        scheme: what writes the answers.
        backbone: loaded; after :meth:`train` its model carries the trained weights.
        samples: the training split, as capped by the config.
        builder: makes the conversations, counts what cannot be written.
    """

    def __init__(
        self,
        config: RunConfig,
        catalogue: Catalogue,
        run_folder: Path,
        *,
        scheme: Scheme | None = None,
        backbone: Backbone | None = None,
        samples: Sequence[Sample] | None = None,
    ) -> None:
        """Build and check every part; nothing is written to disk.

        Args:
            config: the resolved config.
            catalogue: what builds the components that are not passed in.
            run_folder: where the run lies or will lie.
            scheme: a scheme that is built already.
            backbone: a backbone that is built and loaded already, with no adapter in it.
            samples: the training samples, when the caller has them.

        Raises:
            T4sppError: a component cannot be built, has no model, or the recipe no samples.
        """
        training = config.training
        if training.mode == "none":
            raise ConfigError(
                "training.mode is 'none': there is nothing to train. Set training.mode to lora or "
                "full, and training.steps."
            )
        self.config = config
        self.run_folder = run_folder
        self.accelerator: Accelerator = make_accelerator(training.precision, self._num_micro)
        self._check_sharding()
        self._seed_run()
        self.scheme: Scheme = scheme or catalogue.build(
            "scheme", config.scheme.name, config.scheme.params, "scheme"
        )
        self.samples = self._read_samples(catalogue) if samples is None else samples
        if not len(self.samples):
            raise RunError(
                f"the split {config.data.train_split!r} of recipe {config.data.title!r} "
                "holds no samples. Choose another data.train_split."
            )
        self.backbone: Backbone = backbone or self._load_backbone(catalogue)
        require_model(self.backbone)
        if config.data.companions and not self.backbone.packs:
            raise ConfigError(
                f"data.companions={config.data.companions}: the backbone {config.backbone.name!r} "
                "cannot learn several conversations behind one picture. Set data.companions=0."
            )
        self.backbone_fingerprint = self.backbone.fingerprint()
        prompting = config.data.prompting
        self.builder = ConversationBuilder(
            self.scheme,
            config.data.templates,
            config.seed,
            explain=prompting.explain,
            pool=pool_of(lambda: self.samples, prompting.shots, config.seed),
            native_boxes=self.backbone.native_box_format,
        )
        if training.target_tokens is not None:
            counted = self._whole_batches(counted_steps(training.batch_size))
            with kept_random_state():
                steps = steps_for(training.target_tokens, counted)
            self.config = with_steps(config, steps)
        self._prepared: tuple[StepBatches, ModelInputs, Learner] | None = None
        self._resume = False

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks to people."""
        return bool(self.accelerator.is_main_process)

    def claim(self, *, resume: bool = False, overwrite: bool = False) -> None:
        """Prepare what learns, then make the run folder this run's.

        In this order, so that a run which cannot begin leaves no folder behind.

        Raises:
            RunError: ``init_from`` is foreign or damaged, no sample fits, or the folder is not to
                be had; see :func:`t4spp.training.folders.claim_run_folder`.
            ConfigError: LoRA's targets fit no layer.
        """
        on_main(
            self.accelerator,
            lambda: check_run_folder(
                self.run_folder, self.config, resume=resume, overwrite=overwrite
            ),
        )
        prepared = self._prepare(resume=resume)
        on_main(
            self.accelerator,
            lambda: claim_run_folder(
                self.run_folder, self.config, resume=resume, overwrite=overwrite
            ),
        )
        self._prepared = prepared
        self._resume = resume

    def _prepare(self, *, resume: bool) -> tuple[StepBatches, ModelInputs, Learner]:
        batches = self._batches()
        filler = batches.first_usable()
        goes_on = resume and CheckpointStore(self.run_folder).latest() is not None
        if not goes_on and self.config.training.init_from is None:
            place(require_model(self.backbone), self.accelerator.device)
            self.backbone.before_training(self.samples, seed=self.config.seed, is_main=self.is_main)
        learner = make_learner(
            self.accelerator,
            self.config,
            self.scheme,
            self.backbone,
            self.backbone_fingerprint,
            filler,
        )
        return batches, filler, learner

    def train(
        self, *, evaluate: Evaluate | None = None, follower: Follower | None = None
    ) -> TrainSummary:
        """Train to the last step; claims the folder as a new run unless it is claimed already.

        Args:
            evaluate: called every ``training.evaluate_every`` steps.
            follower: told on the main process what happens.

        Raises:
            RunError: the folder cannot be claimed or written, the checkpoint to resume is foreign
                or damaged, no sample fits, or the loss is no longer finite.
        """
        if self._prepared is None:
            self.claim()
        assert self._prepared is not None
        batches, filler, learner = self._prepared
        state = RunState(
            run_folder=self.run_folder,
            learner=learner,
            scheme=self.scheme.fingerprint(),
            backbone=self.backbone_fingerprint,
            binding={**binding_config(self.config), "num_samples": len(self.samples)},
        )
        start = state.restore() if self._resume else None
        if start is not None and follower is not None and self.is_main:
            follower.note("resumed", resumed_from=start)
        loop = Loop(
            config=self.config,
            backbone=self.backbone,
            learner=learner,
            state=state,
            batches=batches,
            filler=filler,
            evaluate=evaluate,
            follower=follower if self.is_main else None,
        )
        with deterministic_on_cpu(self.accelerator):
            summary = loop.run(start)
        learner.finish()
        return summary

    def _num_micro(self, num_processes: int) -> int:
        training = self.config.training
        return num_micro_batches(training.batch_size, num_processes, training.micro_batch_size)

    def _batches(self) -> StepBatches:
        return self._batches_of(
            self.accelerator.process_index,
            self.accelerator.num_processes,
            self._num_micro(self.accelerator.num_processes),
            self.config.training.steps,
        )

    def _whole_batches(self, num_steps: int) -> StepBatches:
        """The first steps as one process alone would see them."""
        return self._batches_of(0, 1, self._num_micro(1), num_steps)

    def _batches_of(
        self, rank: int, num_processes: int, num_micro_batches: int, num_steps: int
    ) -> StepBatches:
        training, data = self.config.training, self.config.data
        changes = data.augment != AugmentConfig()
        return StepBatches(
            samples=self.samples,
            builder=self.builder,
            augmenter=Augmenter(data.augment, self.config.seed) if changes else None,
            backbone=self.backbone,
            order=order_of(self.samples, training.batch_size, self.config.seed),
            rank=rank,
            num_processes=num_processes,
            micro_batch_size=training.micro_batch_size or -(-training.batch_size // num_processes),
            num_micro_batches=num_micro_batches,
            max_length=data.max_length,
            num_steps=num_steps,
            companions=data.companions,
        )

    def _check_sharding(self) -> None:
        from accelerate.utils import DistributedType

        spread = self.accelerator.distributed_type
        plain = spread == DistributedType.NO or spread.startswith("MULTI_")
        if self.config.training.optimizer == "muon" and not plain:
            raise ConfigError(
                f"training.optimizer=muon needs whole matrices on every process, and "
                f"{spread.value} does not leave them so. Set training.optimizer=adamw, or launch "
                "with DDP."
            )
        sharded = spread == DistributedType.FSDP
        if sharded and self.config.training.evaluate_every is not None:
            raise ConfigError(
                "training.evaluate_every: FSDP leaves no process with whole weights to answer "
                "with. Set it to null and evaluate after training, or launch with DDP."
            )

    def _seed_run(self) -> None:
        from accelerate.utils import set_seed

        set_seed(self.config.seed)

    def _read_samples(self, catalogue: Catalogue) -> Sequence[Sample]:
        data = self.config.data
        return training_samples(build_recipe(data, catalogue), data)

    def _load_backbone(self, catalogue: Catalogue) -> Backbone:
        chosen = self.config.backbone
        backbone: Backbone = catalogue.build("backbone", chosen.name, chosen.params, "backbone")
        backbone.load(self.scheme.special_tokens)
        if backbone.model is None:
            raise ConfigError(
                f"the backbone {chosen.name!r} answers by itself and has no weights to train. "
                "Set training.mode=none, or choose another backbone.name."
            )
        if backbone.tokenizer is None:
            raise BackboneError(f"the backbone {chosen.name!r} made no tokenizer in load().")
        return backbone
