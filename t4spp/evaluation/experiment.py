"""An experiment as its config describes it: builds its parts when they are asked for."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from t4spp.components import Backbone, Recipe, Refiner
from t4spp.config import GenerationConfig, RunConfig, load_config
from t4spp.data.conversations import ConversationBuilder
from t4spp.data.head import head, training_samples
from t4spp.data.mixture import build_recipe
from t4spp.data.prompting import pool_of
from t4spp.decoding.settings import GenerationSettings
from t4spp.errors import RunError
from t4spp.evaluation.protocols.catalogue import check_protocols
from t4spp.plugins import Catalogue
from t4spp.schemes.base import Scheme
from t4spp.training.binding import binding_config, binding_hash
from t4spp.training.checkpoints import CheckpointStore, load_checkpoint
from t4spp.training.folders import CONFIG_NAME
from t4spp.training.lora import place
from t4spp.training.processes import runs_on_cpu
from t4spp.types import Sample

logger = logging.getLogger(__name__)

METRICS_NAME = "metrics.json"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A config, and the parts that it names, built on first use and kept.

    Attributes:
        config: the resolved config.
        catalogue: the plugins.
    """

    config: RunConfig
    catalogue: Catalogue

    @cached_property
    def scheme(self) -> Scheme:
        """The descriptor scheme."""
        part = self.config.scheme
        scheme: Scheme = self.catalogue.build("scheme", part.name, part.params, "scheme.params")
        return scheme

    @cached_property
    def recipe(self) -> Recipe:
        """The dataset, or the mixture of several."""
        return build_recipe(self.config.data, self.catalogue)

    @cached_property
    def refiner(self) -> Refiner:
        """The refiner."""
        part = self.config.refiner
        refiner: Refiner = self.catalogue.build("refiner", part.name, part.params, "refiner.params")
        return refiner

    def new_backbone(self) -> Backbone:
        """A backbone with its base weights and the scheme's tokens."""
        part = self.config.backbone
        where = "backbone.params"
        backbone: Backbone = self.catalogue.build("backbone", part.name, part.params, where)
        backbone.load(self.scheme.special_tokens)
        return backbone

    def checkpoint_name(self, run: Path) -> str:
        """Name of the checkpoint that answers for ``run``; empty for the backbone's own weights.

        Raises:
            RunError: the config trains, and the run has no checkpoint.
        """
        training = self.config.training
        if training.mode == "none":
            return "" if training.init_from is None else str(training.init_from)
        latest = CheckpointStore(run).latest()
        if latest is None:
            raise RunError(
                f"{run} has no checkpoint, and its config trains (training.mode: "
                f"{training.mode}). Train it first: t4spp train {run / CONFIG_NAME} -o {run} "
                "--resume"
            )
        return latest.name

    def trained_backbone(self, run: Path) -> Backbone:
        """A backbone with the weights that ``run`` trained, on this process's device.

        A run without training has the weights of ``training.init_from``, or the backbone's own.

        Raises:
            RunError: there is no checkpoint, or it belongs to another backbone or scheme.
        """
        if self.config.training.mode == "none":
            return self.untrained_backbone
        return self._with_weights(CheckpointStore(run).folder / self.checkpoint_name(run))

    @cached_property
    def untrained_backbone(self) -> Backbone:
        """What answers where nothing is trained, on this process's device.

        Raises:
            RunError: ``training.init_from`` belongs to another backbone or scheme.
        """
        backbone = self._with_weights(self.config.training.init_from)
        if backbone.untrained_tokens and self.config.training.init_from is None:
            logger.warning(
                "%d of the scheme's tokens, the first is %s, are new to the backbone %r, and "
                "training.mode is none: it cannot know what they mean. Score an unmodified model "
                "with a scheme in plain text, for example scheme.name=semantic-brick, or train it.",
                len(backbone.untrained_tokens),
                backbone.untrained_tokens[0],
                self.config.backbone.name,
            )
        return backbone

    def _with_weights(self, folder: Path | None) -> Backbone:
        backbone = self.new_backbone()
        if backbone.model is None:
            return backbone
        if folder is not None:
            load_checkpoint(backbone, folder, scheme=self.scheme.fingerprint(), merge=True)
        place(backbone.model, own_device())
        return backbone

    def check(self, split: str) -> None:
        """Build whatever can be built before training.

        So that faults are told before a folder is claimed, and a run in it perhaps replaced.

        Raises:
            T4sppError: a protocol, the refiner, the dataset, or the backbone of a config that does
                not train is missing or damaged.
        """
        check_protocols(self.config.evaluation.protocols)
        self.samples(split)
        _ = self.refiner
        if self.config.training.mode == "none":
            _ = self.untrained_backbone

    def builder(self, backbone: Backbone) -> ConversationBuilder:
        """Asks the questions.

        Args:
            backbone: loaded; the one that is asked.

        Raises:
            RecipeError: examples are asked for, and the training split is not to be had.
        """
        data, seed = self.config.data, self.config.seed
        return ConversationBuilder(
            self.scheme,
            data.templates,
            seed,
            explain=data.prompting.explain,
            pool=pool_of(lambda: training_samples(self.recipe, data), data.prompting.shots, seed),
            native_boxes=backbone.native_box_format,
        )

    def settings(self) -> GenerationSettings:
        """How answers are generated."""
        generation = self.config.generation
        return GenerationSettings(
            batch_size=generation.batch_size,
            max_new_tokens=generation.max_new_tokens,
            max_dialogue_tokens=generation.max_dialogue_tokens,
            temperature=generation.temperature,
            candidates=generation.candidates,
            constrained=generation.constrained,
            talks=generation.talks,
            copies=generation.copies,
            engine=generation.engine,
            drafts=generation.drafts,
            cache=generation.cache,
            compiled=generation.compile,
            max_length=self.config.data.max_length,
            seed=self.config.seed,
        )

    def samples(self, split: str) -> Sequence[Sample]:
        """The samples of a split that are scored: the first ``data.max_eval_samples``.

        Raises:
            RecipeError: unknown split, or files are missing.
            RunError: the split has no samples.
        """
        samples = self.recipe.samples(split)
        if not len(samples):
            raise RunError(
                f"the split {split!r} of the recipe {self.config.data.title!r} is empty, so "
                "there is nothing to score. Choose another by data.eval_split or --split."
            )
        return head(samples, self.config.data.max_eval_samples)

    def answers_hash(self) -> str:
        """16 hexadecimal digits over the parts of the config that shape answers.

        Refiner, evaluation and tracking are not among them, nor is how many samples are scored or
        what a resumed training may change: predictions stay valid when those change.
        """
        generation = self.config.generation.model_dump(mode="json")
        engine = generation.pop("engine")
        for speed in ("drafts", "cache", "compile"):
            del generation[speed]
        if generation["max_dialogue_tokens"] == GenerationConfig().max_dialogue_tokens:
            del generation["max_dialogue_tokens"]  # so that answers from before it stay valid
        for name in ("talks", "copies"):  # so that answers from before they existed stay valid
            if not generation[name]:
                del generation[name]
        drawn = self.config.generation.temperature > 0
        fast = engine == "fast" or (engine == "auto" and generation["constrained"])
        if drawn and fast:
            generation["engine"] = "fast"  # it draws other answers, from the same distribution
        if not generation["constrained"]:
            del generation["constrained"]  # so that answers from before it existed stay valid
        return binding_hash({**binding_config(self.config), "generation": generation})


def own_device() -> Any:
    """The torch device of this process: its GPU where there is one, else the CPU."""
    import torch

    if runs_on_cpu() or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's."""
    return (folder / CONFIG_NAME).is_file()


def open_experiment(run: Path, catalogue: Catalogue, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment that a run's folder holds.

    Raises:
        RunError: the folder is missing or is no run, or an override names another scheme than the
            run's, whose answers its weights write.
        ConfigError: its config, or an override, is not valid with the installed plugins.
    """
    if not is_run(run):
        what = "does not exist" if not run.exists() else f"is no run: it has no {CONFIG_NAME}"
        raise RunError(f"{run} {what}. Name a folder that `t4spp train` or `t4spp run` wrote.")
    config = load_config(run / CONFIG_NAME, overrides, catalogue)
    opened = Experiment(config=config, catalogue=catalogue)
    if any(override.startswith("scheme") for override in overrides):
        own = Experiment(config=load_config(run / CONFIG_NAME, (), catalogue), catalogue=catalogue)
        written, wanted = own.scheme.fingerprint(), opened.scheme.fingerprint()
        if written != wanted:
            raise RunError(
                f"{run} is a run of the scheme {written}, and --set asks for {wanted}: its answers "
                "would be held to a grammar that they do not follow. Leave the scheme out, or name "
                "the config file, with the other scheme and an output of its own, instead of the "
                "run."
            )
    return opened


def read_metrics(path: Path) -> dict[str, Any]:
    """What an evaluation wrote, ``metrics.json`` or that of another split.

    Raises:
        RunError: it is damaged.
    """
    again = f"Write it again with: t4spp evaluate {path.parent}"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}). {again}") from error
    if not isinstance(metrics, dict) or not isinstance(metrics.get("protocols"), dict):
        raise RunError(f"{path} has no 'protocols'. {again}")
    return metrics
