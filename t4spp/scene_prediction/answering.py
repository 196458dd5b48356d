"""A run answers the windows of a scene; every raw answer is kept, and read again on a resume."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from t4spp.components import Backbone
from t4spp.decoding.generate import generate
from t4spp.decoding.prediction import Prediction
from t4spp.decoding.processes import Crew
from t4spp.errors import RunError
from t4spp.evaluation.experiment import Experiment
from t4spp.evaluation.pairs import read_answer
from t4spp.evaluation.predictions import meta_path, parse_prediction, prediction_line
from t4spp.geo.predicting import WindowPicture
from t4spp.geo.scenes import Scene
from t4spp.scene_prediction.truth import Truth
from t4spp.training.atomic import write_text
from t4spp.types import UNKNOWN_TRUTH, Image, Region, Sample

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """What is looked for.

    Attributes:
        prompt: the bare phrase that the model is asked with.
        label: the name that it writes.
    """

    prompt: str
    label: str


class AnswerLog:
    """Raw answers on disk, in the windows' order; those that are there already are read first."""

    def __init__(self, path: Path, meta: Mapping[str, Any], *, resume: bool) -> None:
        """Open the file.

        Args:
            path: the JSON Lines file; its meta file lies beside it.
            meta: what decides the answers.
            resume: read what is there; else the file is emptied.

        Raises:
            RunError: what is there was made otherwise.
        """
        self.path = path
        self.num_replayed = 0
        self._line = 0
        resume = resume and path.exists()
        if resume:
            _check_meta(path, meta)
        else:
            write_text(meta_path(path), json.dumps(meta, indent=2, sort_keys=True) + "\n")
        self._stream: IO[bytes] = path.open("r+b" if resume else "w+b")
        self._replaying = resume

    def __enter__(self) -> AnswerLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._stream.close()

    @property
    def replaying(self) -> bool:
        """Whether old answers may be left."""
        return self._replaying

    def replay(self, ids: Sequence[str]) -> list[Prediction] | None:
        """The old answers of samples; None where they are not all there.

        From then on nothing is replayed: what was half there is dropped.

        Raises:
            RunError: a line is damaged, or answers another sample.
        """
        if not self._replaying:
            return None
        start = self._stream.tell()
        found = []
        for key in ids:
            line = self._stream.readline()
            if not line.endswith(b"\n"):
                self._stream.seek(start)
                self._stream.truncate()
                self._replaying = False
                return None
            self._line += 1
            text = line.decode("utf-8", errors="replace")
            prediction = parse_prediction(text, self.path, self._line)
            if prediction.id != key:
                raise RunError(
                    f"{self.path}, line {self._line}: answers {prediction.id!r}, expected {key!r}. "
                    "The file is damaged; begin anew with --overwrite."
                )
            found.append(prediction)
        self.num_replayed += len(found)
        return found

    def append(self, predictions: Sequence[Prediction]) -> None:
        """Add new answers and flush them."""
        for prediction in predictions:
            self._stream.write(prediction_line(prediction).encode())
        self._stream.flush()


_REWRITTEN = {"stamp": "the scene", "truth_stamp": "the truth"}
"""Entries of the meta file that change with a file of the same name."""


def _check_meta(path: Path, meta: Mapping[str, Any]) -> None:
    try:
        found = json.loads(meta_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{meta_path(path)} is missing or damaged ({error}), so nobody knows what {path.name} "
            "answers. Begin anew with --overwrite."
        ) from error
    wanted = json.loads(json.dumps(meta))
    changed = [key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)]
    if changed:
        key = changed[0]
        if key in _REWRITTEN:
            raise RunError(
                f"{path} cannot be resumed: {_REWRITTEN[key]} was rewritten since (bytes and time "
                f"of change in nanoseconds were {found.get(key)!r:.200}, now they are "
                f"{wanted.get(key)!r:.200}). Put the old file back, or begin anew with --overwrite."
            )
        raise RunError(
            f"{path} cannot be resumed: {key} was {found.get(key)!r:.200}, now it is "
            f"{wanted.get(key)!r:.200}. Ask as before, or begin anew with --overwrite."
        )


class WindowAnswerer:
    """Asks every phrase about every window; what :class:`t4spp.geo.predicting.Answer` is.

    Attributes:
        statuses: how answers were read: ok, repaired, invalid.
        problems: codes of what was guessed, with their number.
        num_tokens: of the answers, where something tokenised them.
        num_passes: forward passes.
        seconds: of answering, without what a resume has read again.
    """

    def __init__(
        self,
        experiment: Experiment,
        load: Callable[[], Backbone],
        scene: Scene,
        phrases: Sequence[Phrase],
        log: AnswerLog,
        truth: Truth | None = None,
    ) -> None:
        """Nothing is loaded unless something is to be asked.

        Args:
            experiment: names the scheme, the refiner and the way of asking.
            load: makes the backbone with its trained weights.
            scene: that windows are of.
            phrases: to ask.
            log: keeps the raw answers.
            truth: what backbones that know it (``oracle``) may see.
        """
        self.statuses: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()
        self.num_tokens = 0
        self.num_passes = 0
        self.seconds = 0.0
        self._experiment = experiment
        self._load = load
        self._backbone: Backbone | None = None
        self._scene = scene
        self._phrases = phrases
        self._log = log
        self._truth = truth
        self._settings = experiment.settings()

    def prepare(self) -> None:
        """Load the backbone now."""
        if self._backbone is None:
            self._backbone = self._load()
            self._builder = self._experiment.builder(self._backbone)

    def __call__(self, pictures: Sequence[WindowPicture]) -> list[list[Region]]:
        """The regions of each window, of all phrases.

        Raises:
            BackboneError: the weights cannot be loaded, or the backbone needs the truth.
            RunError: the answers of an interrupted prediction are damaged.
        """
        samples = [self._sample(picture, p) for picture in pictures for p in self._phrases]
        answers = self._log.replay([sample.id for sample in samples])
        if answers is None:
            answers = self._ask(samples, pictures[0].number)
            self._log.append(answers)
        found: list[list[Region]] = []
        for number, (sample, answer) in enumerate(zip(samples, answers, strict=True)):
            if number % len(self._phrases) == 0:
                found.append([])
            _, refined = read_answer(
                sample, answer, self._experiment.scheme, self._experiment.refiner
            )
            self.statuses[refined.status] += 1
            self.problems.update(problem.code for problem in refined.problems)
            self.num_tokens += answer.num_tokens or 0
            self.num_passes += answer.num_passes
            found[-1].extend(refined.regions)
        return found

    def _ask(self, samples: Sequence[Sample], position: int) -> list[Prediction]:
        self.prepare()
        assert self._backbone is not None
        settings = self._settings
        if settings.temperature > 0:  # batches are numbered from 0 in every call
            settings = dataclasses.replace(settings, seed=settings.seed + 1_000_003 * position)
        answers = list(
            generate(
                self._backbone,
                samples,
                self._experiment.scheme,
                self._builder,
                settings,
                crew=Crew(),
            )
        )
        self.seconds += sum(answer.seconds for answer in answers)
        return answers

    def _sample(self, picture: WindowPicture, phrase: Phrase) -> Sample:
        window, image = picture.window, picture.image
        targets = () if self._truth is None else self._truth.targets(window, phrase.label)
        name = f"{self._scene.name}/{window.row}-{window.column}"

        def load() -> Image:
            return image

        return Sample(
            id=f"{name}/{phrase.prompt}",
            size=window.out_size,
            prompt=phrase.prompt,
            targets=targets,
            load_image=load,
            labels=(phrase.label,),
            ignore=None if picture.valid.all() else ~picture.valid,
            image_id=name,
            tags=(UNKNOWN_TRUTH,) if self._truth is None else (),
            geo=self._scene.geo(window.box, window.out_size),
        )
