"""Segmenting pictures with a finished run, from Python."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from t4spp.components import Backbone
from t4spp.decoding.answers import Watch
from t4spp.decoding.engine import Engine
from t4spp.decoding.generate import generate
from t4spp.decoding.prediction import UNWRITABLE_LABEL
from t4spp.decoding.processes import Crew
from t4spp.errors import ConfigError, RunError, SchemeError
from t4spp.evaluation.experiment import Experiment, open_experiment
from t4spp.evaluation.pairs import read_answer
from t4spp.pictures import as_image
from t4spp.plugins import Catalogue, load_catalogue
from t4spp.schemes.base import Scheme
from t4spp.schemes.labels import check_label
from t4spp.types import UNKNOWN_TRUTH, BoolMask, Decoded, Image, Problem, Region, Sample, Status

if TYPE_CHECKING:
    from PIL.Image import Image as PILPicture


@dataclass(frozen=True, kw_only=True, eq=False)
class Segmentation:
    """What a run says about one prompt.

    Attributes:
        prompt: as it was asked.
        labels: that the prompt admits.
        size: (H, W) of the picture in pixels, upright.
        text: the raw answer.
        others: raw candidates that it was chosen before; see ``generation.candidates``.
        coarse: as decoded, before the refiner.
        refined: after it.
        num_tokens: answer tokens; None when nothing tokenised it.
        num_passes: forward passes.
        seconds: wall time of answering, decoding and refining.
    """

    prompt: str
    labels: tuple[str, ...]
    size: tuple[int, int]
    text: str
    others: tuple[str, ...]
    coarse: Decoded
    refined: Decoded
    num_tokens: int | None
    num_passes: int
    seconds: float

    @property
    def regions(self) -> tuple[Region, ...]:
        """The final regions."""
        return self.refined.regions

    @property
    def status(self) -> Status:
        """Whether the answer was read without guessing: ok, repaired or invalid."""
        return self.refined.status

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What had to be guessed."""
        return self.refined.problems

    @property
    def mask(self) -> BoolMask:
        """Everything that was found, bool[H, W]."""
        mask = np.zeros(self.size, dtype=np.bool_)
        for label in self.labels:
            mask |= self.refined.union(label, self.size)
        return mask

    def union(self, label: str) -> BoolMask:
        """The pixels that bear ``label``, bool[H, W]."""
        return self.refined.union(label, self.size)


class Segmenter:
    """A finished run, ready to segment pictures. The weights stay in memory."""

    def __init__(
        self, experiment: Experiment, backbone: Backbone, engine: Engine | None = None
    ) -> None:
        """Keep a loaded backbone.

        Args:
            experiment: names the scheme, the refiner and the way of asking.
            backbone: with its trained weights.
            engine: answers a batch; None takes what the config asks for.
        """
        self.experiment = experiment
        self.backbone = backbone
        self.engine = engine
        self._builder = experiment.builder(backbone)
        self._settings = experiment.settings()

    @classmethod
    def from_run(
        cls,
        run: str | Path,
        overrides: Sequence[str] = (),
        catalogue: Catalogue | None = None,
    ) -> Segmenter:
        """Open a run's folder and load its weights.

        Args:
            run: the folder that ``t4spp train`` or ``t4spp run`` wrote.
            overrides: changes of its config, as after ``--set``; for example another refiner.
            catalogue: the plugins; None loads the installed ones.

        Raises:
            RunError: the folder is no run, or has no checkpoint.
            ConfigError: its config is not valid with the installed plugins.
            BackboneError: the weights cannot be loaded.
        """
        catalogue = load_catalogue() if catalogue is None else catalogue
        experiment = open_experiment(Path(run), catalogue, overrides)
        return cls(experiment, experiment.trained_backbone(Path(run)))

    def segment(
        self,
        image: str | Path | PILPicture | Image,
        prompt: str,
        labels: Sequence[str] | None = None,
        *,
        watch: Watch | None = None,
    ) -> Segmentation:
        """Segment one picture.

        Args:
            image: a path, a PIL picture, or uint8[H, W, 3] in RGB.
            prompt: what to find, a bare phrase ("the dog").
            labels: several classes to tell apart; None asks for ``prompt`` alone. With labels,
                an empty prompt asks for all of them.
            watch: told of the answer while it grows; its ``decode`` says what is masked so far.

        Raises:
            RecipeError: the file is missing, truncated or no picture.
            ConfigError: neither a prompt nor labels, or an array of another kind.
            SchemeError: a label that no descriptor can carry.
            RunError: the prompt is longer than ``data.max_length`` allows.
        """
        return self.segment_batch([image], prompt, labels, watch=watch)[0]

    def segment_batch(
        self,
        images: Sequence[str | Path | PILPicture | Image],
        prompt: str,
        labels: Sequence[str] | None = None,
        *,
        watch: Watch | None = None,
    ) -> list[Segmentation]:
        """Segment several pictures with one prompt; see :meth:`segment`."""
        names = labels_asked(self.experiment.scheme, prompt, labels)
        asked = prompt if prompt.strip() else "|".join(names)
        samples = []
        for number, image in enumerate(images):
            samples.append(self._sample(str(number), as_image(image), asked, names))
        scheme, refiner = self.experiment.scheme, self.experiment.refiner
        found = []
        answers = generate(
            self.backbone,
            samples,
            scheme,
            self._builder,
            self._settings,
            crew=Crew(),
            engine=self.engine,
            watch=watch,
        )
        for sample, answer in zip(samples, answers, strict=True):
            if answer.refused == UNWRITABLE_LABEL:
                raise SchemeError(
                    f"the scheme {self.experiment.config.scheme.name!r} cannot write one of the "
                    f"labels {list(names)}, or not at this length. Ask for shorter, plainer names."
                )
            if answer.refused:
                raise RunError(
                    f"the prompt {asked!r} does not fit data.max_length="
                    f"{self._settings.max_length} tokens, image tokens counted. Shorten it, or "
                    "raise data.max_length (overrides, or --set)."
                )
            began = time.perf_counter()
            coarse, refined = read_answer(sample, answer, scheme, refiner)
            found.append(
                Segmentation(
                    prompt=asked,
                    labels=names,
                    size=sample.size,
                    text=answer.text,
                    others=answer.others,
                    coarse=coarse,
                    refined=refined,
                    num_tokens=answer.num_tokens,
                    num_passes=answer.num_passes,
                    seconds=answer.seconds + time.perf_counter() - began,
                )
            )
        return found

    def _sample(self, number: str, image: Image, prompt: str, labels: tuple[str, ...]) -> Sample:
        return Sample(
            id=f"{prompt}/{number}",
            size=(image.shape[0], image.shape[1]),
            prompt=prompt,
            targets=(),
            load_image=lambda: image,
            labels=labels,
            kind="conditioned" if len(labels) > 1 else "partial",
            tags=(UNKNOWN_TRUTH,),
        )


def labels_asked(scheme: Scheme, prompt: str, labels: Sequence[str] | None) -> tuple[str, ...]:
    """The distinct labels that are asked for: ``labels``, or the prompt itself.

    Raises:
        ConfigError: neither a prompt nor labels.
        SchemeError: a label that no descriptor can carry.
    """
    names = tuple(dict.fromkeys(labels)) if labels else (prompt,)
    if names == ("",):
        raise ConfigError("the prompt is empty. Say what to find, or give labels.")
    for name in names:
        check_label(name, scheme.special_tokens)
    return names
