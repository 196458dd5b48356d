"""Predictions on disk: one JSON line a prompt, in the split's order, and what made them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from t4spp.decoding.prediction import Prediction
from t4spp.errors import RunError
from t4spp.training.atomic import write_text
from t4spp.types import Sample

SCHEMA = 1
"""Version of the prediction line and its meta file."""


@dataclass(frozen=True, kw_only=True)
class PredictionMeta:
    """What made a file of predictions.

    Attributes:
        scheme: the scheme's fingerprint.
        config_hash: of the config's parts that shape answers.
        backbone: the backbone's fingerprint.
        split: the recipe's split.
        num_samples: how many lines the complete file has.
        checkpoint: name of the checkpoint that answered; empty for the backbone's own weights.
        schema: version of the line.
    """

    scheme: str
    config_hash: str
    backbone: str
    split: str
    num_samples: int
    checkpoint: str = ""
    schema: int = SCHEMA


def predictions_path(run: Path, split: str) -> Path:
    """Where a run keeps a split's predictions."""
    return run / "predictions" / f"{split}.jsonl"


def meta_path(predictions: Path) -> Path:
    """The meta file beside a predictions file."""
    return predictions.with_name(f"{predictions.stem}.meta.json")


def scores_path(predictions: Path) -> Path:
    """The per-sample scores beside a predictions file."""
    return predictions.with_name(f"{predictions.stem}.scores.jsonl")


def read_meta(path: Path) -> PredictionMeta:
    """The meta of a predictions file.

    Raises:
        RunError: it is missing, damaged, or of another schema version.
    """
    meta_file = meta_path(path)
    try:
        values = json.loads(meta_file.read_text(encoding="utf-8"))
        if values.get("schema") != SCHEMA:
            raise RunError(
                f"{meta_file}: schema version is {values.get('schema')!r}, this t4spp reads "
                f"{SCHEMA}. Generate the predictions again with --overwrite."
            )
        return PredictionMeta(**values)
    except FileNotFoundError as error:
        raise RunError(
            f"{meta_file} is missing, so nobody knows which scheme wrote {path.name}. Generate "
            "the predictions again with --overwrite."
        ) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise RunError(
            f"{meta_file} is damaged ({error}). Generate the predictions again with --overwrite."
        ) from error


def parse_prediction(line: str, path: Path, number: int) -> Prediction:
    """The prediction of one line.

    Raises:
        RunError: the line is not one; the message names the file and the line's number.
    """
    try:
        values: dict[str, Any] = json.loads(line)
        values["labels"] = tuple(values["labels"])
        values["others"] = tuple(values.get("others", ()))
        return Prediction(**values)
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(
            f"{path}, line {number}: not a prediction ({error}). Generate the predictions again "
            "with --overwrite."
        ) from error


def read_predictions(path: Path) -> list[Prediction]:
    """All predictions of a file, in its order.

    A last line without its newline was cut by an interruption and is left out.

    Raises:
        RunError: the file is missing, or a line is not a prediction.
    """
    if not path.is_file():
        raise RunError(f"{path} does not exist. Run t4spp evaluate with --generate first.")
    lines = path.read_text(encoding="utf-8").split("\n")
    return [parse_prediction(line, path, number) for number, line in enumerate(lines[:-1], start=1)]


def check_scheme(meta: PredictionMeta, fingerprint: str, path: Path) -> None:
    """Refuse to read predictions that another scheme wrote.

    Raises:
        RunError: the fingerprints differ.
    """
    if meta.scheme != fingerprint:
        raise RunError(
            f"{path} was written with the scheme {meta.scheme}, the config says {fingerprint}. "
            "Predictions can only be decoded by the scheme (name, version and every parameter) "
            "that wrote them: evaluate with the run's own scheme, or run the new scheme into a "
            "folder of its own (t4spp run CONFIG --set scheme.name=... -o DIR)."
        )


def match_samples(
    predictions: Sequence[Prediction], samples: Sequence[Sample], path: Path
) -> list[Prediction]:
    """The prediction of each sample, in the samples' order.

    Raises:
        RunError: a sample has no prediction, or its prediction answers another prompt.
    """
    by_id = {prediction.id: prediction for prediction in predictions}
    if len(by_id) != len(predictions):
        raise RunError(
            f"{path} answers some prompt twice ({len(predictions)} lines, {len(by_id)} ids). "
            "Generate the predictions again with --overwrite."
        )
    matched: list[Prediction] = []
    for position in range(len(samples)):
        sample = samples[position]
        prediction = by_id.get(sample.id)
        if prediction is None:
            number = f"{position + 1} of {len(samples)}"
            raise RunError(_no_answer(path, sample, number, len(predictions)))
        if prediction.prompt != sample.prompt:
            raise RunError(_other_prompt(path, prediction, sample))
        matched.append(prediction)
    return matched


def _no_answer(path: Path, sample: Sample, number: str, num_answers: int) -> str:
    return (
        f"{path} has no answer for the sample {sample.id!r} (number {number}; the file has "
        f"{num_answers} answers). Finish it with --generate --resume, check that data.recipe is "
        "the one that was answered, or, where other samples are asked for since, answer anew with "
        "--generate --overwrite."
    )


def _other_prompt(path: Path, prediction: Prediction, sample: Sample) -> str:
    return (
        f"{path}: the answer {sample.id!r} is to the prompt {prediction.prompt!r}, the recipe now "
        f"asks {sample.prompt!r}. The recipe has changed since: restore it, or generate again with "
        "--generate --overwrite."
    )


class PredictionFile:
    """The predictions of a file, read one by one, so that a long file takes little memory.

    Attributes:
        path: the JSON Lines file.
    """

    def __init__(self, path: Path) -> None:
        """Find every line; a last one without its newline was cut and is left out.

        Raises:
            RunError: the file is missing, a line is not a prediction, or two have one id.
        """
        if not path.is_file():
            raise RunError(f"{path} does not exist. Run t4spp evaluate with --generate first.")
        self.path = path
        self._places: dict[str, tuple[int, int]] = {}
        self._stream: tuple[int, IO[bytes]] | None = None
        offset = number = 0
        with path.open("rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                number += 1
                prediction = parse_prediction(self._text(line, number), path, number)
                self._places[prediction.id] = (offset, number)
                offset += len(line)
        if len(self._places) != number:
            raise RunError(
                f"{path} answers some prompt twice ({number} lines, {len(self._places)} ids). "
                "Generate the predictions again with --overwrite."
            )

    def __len__(self) -> int:
        """How many there are."""
        return len(self._places)

    def check(self, samples: Sequence[Sample]) -> None:
        """Refuse a file with fewer answers than samples, before any is scored.

        Raises:
            RunError: names the first sample without an answer.
        """
        if len(self) < len(samples):
            for position in range(len(samples)):
                self._place(position, samples[position], len(samples))

    def find(self, position: int, sample: Sample) -> Prediction:
        """The prediction of the sample at a position of the split.

        Raises:
            RunError: there is none, or it answers another prompt.
        """
        offset, number = self._place(position, sample)
        stream = self._opened()
        stream.seek(offset)
        line = self._text(stream.readline(), number)
        prediction = parse_prediction(line, self.path, number)
        if prediction.id != sample.id:
            raise RunError(f"{self.path} has changed since it was opened. Evaluate it again.")
        if prediction.prompt != sample.prompt:
            raise RunError(_other_prompt(self.path, prediction, sample))
        return prediction

    def _place(
        self, position: int, sample: Sample, num_samples: int | None = None
    ) -> tuple[int, int]:
        place = self._places.get(sample.id)
        if place is None:
            of = "" if num_samples is None else f" of {num_samples}"
            raise RunError(_no_answer(self.path, sample, f"{position + 1}{of}", len(self)))
        return place

    def _opened(self) -> IO[bytes]:
        """The file, opened by this very process: one that was forked has a place of its own."""
        if self._stream is None or self._stream[0] != os.getpid():
            self._stream = (os.getpid(), self.path.open("rb"))
        return self._stream[1]

    def _text(self, line: bytes, number: int) -> str:
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise RunError(
                f"{self.path}, line {number}: not UTF-8 text ({error}). Generate the predictions "
                "again with --overwrite."
            ) from error


class PredictionWriter:
    """Appends predictions as they come, so that an interrupted generation can go on."""

    def __init__(
        self, path: Path, meta: PredictionMeta, *, resume: bool = False, overwrite: bool = False
    ) -> None:
        """Prepare the file; nothing is touched when a check fails.

        Args:
            path: the JSON Lines file.
            meta: what is about to write it.
            resume: keep what is there; ``done`` holds it.
            overwrite: start anew.

        Raises:
            RunError: the file exists and neither is asked for, or what is there was made by
                another scheme, config, backbone or split.
        """
        self.path = path
        self.done: list[Prediction] = []
        self._meta = meta
        self._file: IO[str] | None = None
        if not path.exists() or overwrite:
            return
        if not resume:
            raise RunError(
                f"{path} exists. Go on with it by --resume, or replace it by --overwrite."
            )
        found = read_meta(path)
        check_scheme(found, meta.scheme, path)
        for name, was in asdict(found).items():
            now = getattr(meta, name)
            if was != now and name != "num_samples":
                raise RunError(
                    f"{path} cannot be resumed: its {name} is {was}, this run's is {now}. "
                    "Restore the config that it was begun with, or replace it by --overwrite."
                )
        self.done = read_predictions(path)

    def keep(self, number: int) -> None:
        """Forget the predictions after the first ``number`` that were found."""
        self.done = self.done[:number]

    def __enter__(self) -> PredictionWriter:
        """Open the file with exactly the predictions in ``done``."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(
            meta_path(self.path), json.dumps(asdict(self._meta), indent=2, sort_keys=True) + "\n"
        )
        write_text(self.path, "".join(prediction_line(prediction) for prediction in self.done))
        self._file = self.path.open("a", encoding="utf-8", newline="\n")
        return self

    def write(self, prediction: Prediction) -> None:
        """Append one prediction and flush it."""
        if self._file is None:
            raise RuntimeError("PredictionWriter.write outside its with block")
        self._file.write(prediction_line(prediction))
        self._file.flush()
        self.done.append(prediction)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def prediction_line(prediction: Prediction) -> str:
    """A prediction as one line of JSON, its newline included."""
    values = asdict(prediction)
    if prediction.refused is None:
        del values["refused"]
    if not prediction.others:
        del values["others"]
    for name in ("problem", "num_drafted", "engine"):
        if not values[name]:
            del values[name]
    if not prediction.num_drafted:
        del values["num_accepted"]
    return json.dumps(values, ensure_ascii=False) + "\n"
