"""Following a run: the events file that is always written, and the fan-out to tracker plugins."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from t4spp.components import TrackedRun, Tracker
from t4spp.errors import RunError, T4sppError

if TYPE_CHECKING:
    from t4spp.config import TrackingConfig
    from t4spp.plugins import Catalogue

logger = logging.getLogger(__name__)

EVENTS_NAME = "events.jsonl"


class TrackingError(T4sppError):
    """A tracker cannot record something; training goes on without it."""


@dataclass(frozen=True, kw_only=True)
class Events:
    """What an events file holds.

    Attributes:
        events: the objects, in the order they were written.
        num_torn: lines that are no JSON object: what a killed process left half-written.
    """

    events: tuple[dict[str, Any], ...]
    num_torn: int = 0

    def of_kind(self, kind: str) -> tuple[dict[str, Any], ...]:
        """The events of one kind, without those that a resumed run wrote again.

        A run that is killed at step 137 and resumed from its checkpoint of step 100 logs steps
        101 to 137 twice. The later record stands: the steps went back, so what was logged from
        there on belongs to weights that no longer exist.
        """
        kept: list[dict[str, Any]] = []
        for event in self.events:
            if event.get("kind") != kind:
                continue
            while kept and kept[-1]["step"] > event["step"]:
                kept.pop()
            if kind == "train" and kept and kept[-1]["step"] == event["step"]:
                kept.pop()
            kept.append(event)
        return tuple(kept)


def read_events(path: Path) -> Events:
    """Read an events file; half-written lines are counted, not fatal.

    Raises:
        RunError: the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(
            f"cannot read the events file {path}: {error.strerror}. "
            "Name the folder of a run that has begun."
        ) from error
    events = []
    num_torn = 0
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except ValueError:  # also what undecodable bytes raise
            num_torn += 1
            continue
        if isinstance(event, dict) and isinstance(event.get("step"), int):
            events.append(event)
        else:
            num_torn += 1
    return Events(events=tuple(events), num_torn=num_torn)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of nested mappings by path: ``{"native/mean_iou": 0.8}``.

    An interval ``{"value", "low", "high"}`` becomes ``name``, ``name/low`` and ``name/high``; the
    level ``protocols`` of ``metrics.json`` leaves no trace. What is no number is left out.
    """
    flat: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            inner = prefix if key == "protocols" else f"{prefix}{key}/"
            flat.update(flatten(value, inner))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            name = prefix.rstrip("/") if key == "value" and prefix else f"{prefix}{key}"
            flat[name] = value
    return flat


def _plain(value: Any) -> Any:
    """A JSON value: NumPy and torch scalars become Python's, non-finite numbers None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


class EventsFile(Tracker):
    """Appends one JSON object a line to ``events.jsonl``, flushed at once.

    Every line has ``step``, ``time`` (ISO 8601, UTC) and ``kind``: ``train``, ``eval`` or
    ``note``. A number that is not finite is written as ``null``. A line that a killed process left
    half-written is closed, so that what is appended stays readable.
    """

    def __init__(self) -> None:
        """Open nothing yet."""
        self.step = 0
        self._file: IO[str] | None = None

    def start(self, run: TrackedRun) -> None:
        """Open the run's events file for appending.

        Raises:
            OSError: the file cannot be written.
        """
        path = run.folder / EVENTS_NAME
        torn = False
        if path.exists():
            earlier = read_events(path)
            if earlier.events:
                self.step = int(earlier.events[-1]["step"])
            with path.open("rb") as stream:
                size = stream.seek(0, 2)
                if size:
                    stream.seek(size - 1)
                    torn = stream.read(1) != b"\n"
        self._file = path.open("a", encoding="utf-8", newline="\n")
        if torn:
            self._file.write("\n")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write a ``train`` event."""
        self.step = step
        self._write("train", values)

    def scores(self, split: str, metrics: Mapping[str, Any]) -> None:
        """Write an ``eval`` event at ``metrics["step"]``, or at the step logged last."""
        step = metrics.get("step")
        if isinstance(step, int):
            self.step = step
        flat = {key: value for key, value in flatten(metrics).items() if key != "step"}
        self._write("eval", {"split": split, **flat})

    def note(self, message: str, values: Mapping[str, Any]) -> None:
        """Write a ``note`` event."""
        self._write("note", {"message": message, **values})

    def finish(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, kind: str, values: Mapping[str, Any]) -> None:
        if self._file is None:
            raise TrackingError(f"a {kind} event came before the run started; call start first.")
        head = {"step": self.step, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        event = {**_plain(values), **head, "kind": kind}
        ordered = {key: event[key] for key in ("step", "time", "kind")} | event
        self._file.write(json.dumps(ordered, allow_nan=False, ensure_ascii=False) + "\n")
        self._file.flush()


class Trackers(Tracker):
    """Tells several trackers; the events file is always among them.

    A tracker that fails while logging (TrackingError or OSError: a full disk, a broken
    connection; nothing else is caught) is counted in ``failures`` and reported in the log the
    first time; the run goes on. A tracker that cannot start stops the run, before it has cost
    anything.
    """

    def __init__(self, trackers: Sequence[tuple[str, Tracker]] = ()) -> None:
        """Keep (name, tracker) pairs; the names stand in warnings."""
        self.events = EventsFile()
        self._trackers: list[tuple[str, Tracker]] = [("events", self.events), *trackers]
        self.failures: Counter[str] = Counter()

    @property
    def step(self) -> int:
        """The optimiser step that was logged last."""
        return self.events.step

    def start(self, run: TrackedRun) -> None:
        """Start all; those already started are finished if one fails.

        Raises:
            TrackingError: a tracker cannot start.
            RunError: the events file cannot be written.
        """
        started: list[tuple[str, Tracker]] = []
        for name, tracker in self._trackers:
            try:
                tracker.start(run)
            except (TrackingError, OSError) as error:
                for other_name, other in started:
                    self._tell(other_name, other.finish)
                if isinstance(error, OSError):
                    raise RunError(
                        f"tracker {name!r} cannot write in {run.folder}: {error}. "
                        "Make room, or choose another run folder."
                    ) from error
                raise
            started.append((name, tracker))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Losses, learning rate, speeds at an optimiser step."""
        for name, tracker in self._trackers:
            self._tell(name, tracker.log, step, values)

    def scores(self, split: str, metrics: Mapping[str, Any]) -> None:
        """The content of ``metrics.json``; a key ``step`` says when, by default the last step."""
        dated = {"step": self.step, **metrics}
        for name, tracker in self._trackers:
            self._tell(name, tracker.scores, split, dated)

    def overlays(self, step: int, overlays: Sequence[Any]) -> None:
        """Pictures with masks: :class:`t4spp.report.gallery.Overlay` items."""
        for name, tracker in self._trackers:
            self._tell(name, tracker.overlays, step, overlays)

    def predictions(self, path: Path) -> None:
        """The predictions' JSON Lines file."""
        for name, tracker in self._trackers:
            self._tell(name, tracker.predictions, path)

    def artifact(self, name: str, kind: str, path: Path) -> None:
        """A file or folder worth keeping."""
        for tracker_name, tracker in self._trackers:
            self._tell(tracker_name, tracker.artifact, name, kind, path)

    def note(self, message: str, **values: Any) -> None:
        """Write a remark, with values, into the events file: what was dropped, resumed, warned."""
        self._tell("events", self.events.note, message, values)

    def finish(self) -> None:
        """End; called after an error as well."""
        for name, tracker in self._trackers:
            self._tell(name, tracker.finish)
        if self.failures:
            told = ", ".join(f"{name}: {count}" for name, count in sorted(self.failures.items()))
            logger.warning("calls that trackers could not record: %s", told)

    @classmethod
    def of_config(cls, config: TrackingConfig, catalogue: Catalogue) -> Trackers:
        """The trackers that a config names, and the events file.

        Raises:
            PluginError: an unknown tracker, or its package is not installed.
            ConfigError: wrong parameters.
        """
        return cls(
            [
                (
                    part.name,
                    catalogue.build(
                        "tracker", part.name, part.params, f"tracking.trackers.{position}.params"
                    ),
                )
                for position, part in enumerate(config.trackers)
            ]
        )

    @contextmanager
    def following(self, run: TrackedRun) -> Iterator[Trackers]:
        """Start, and finish whatever happens."""
        self.start(run)
        try:
            yield self
        finally:
            self.finish()

    def _tell(self, name: str, method: Callable[..., None], *arguments: Any) -> None:
        try:
            method(*arguments)
        except (TrackingError, OSError) as error:
            self.failures[name] += 1
            if self.failures[name] == 1:
                logger.warning(
                    "tracker %r failed and the run goes on (later failures are only counted): %s",
                    name,
                    error,
                )
