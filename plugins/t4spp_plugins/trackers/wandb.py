"""The tracker ``wandb``: a run's losses, scores, pictures, answers and adapter, offline first."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import wandb
from wandb.sdk.lib.service.service_token import WandbServiceConnectionError
from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

from t4spp.components import TrackedRun, Tracker
from t4spp.report.gallery import Overlay
from t4spp.tracking import TrackingError, flatten
from t4spp.types import BoolMask
from t4spp_plugins.trackers.plugin import WandbConfig

logger = logging.getLogger(__name__)

WANDB_ERRORS = (
    wandb.Error,
    WandbServiceConnectionError,
    MailboxClosedError,
    HandleAbandonedError,
    TimeoutError,
    OSError,
)
"""What wandb raises when its service, the network or the disk fails."""

ID_FILE = "run-id.txt"
MASK_BACKGROUND = "others"
MAX_CLASSES = 255
"""Labels that a mask of 8 bits tells apart, beside the background."""
TABLE_COLUMNS = (
    "id",
    "prompt",
    "labels",
    "text",
    "status",
    "iou",
    "num_tokens",
    "num_passes",
    "seconds",
)

Result = TypeVar("Result")


class WandbTracker(Tracker):
    """Writes a run to Weights & Biases.

    All files lie in ``<run folder>/wandb``, staging files of artifacts too: for the run's length
    the environment variables ``WANDB_DATA_DIR`` and ``WANDB_CACHE_DIR`` point there, unless they
    are set already. A resumed run keeps its wandb id, which ``wandb/run-id.txt`` holds.
    """

    def __init__(self, config: WandbConfig) -> None:
        """Keep the parameters; nothing is opened before ``start``."""
        self._config = config
        self._run: Any = None
        self._class_ids: dict[str, int] = {MASK_BACKGROUND: 0}
        self._set_here: list[str] = []

    def start(self, run: TrackedRun) -> None:
        """Open the wandb run: a new one, or for a resumed run the one that its folder had.

        Raises:
            TrackingError: wandb cannot start, for example online without a login.
        """
        config = self._config
        folder = run.folder.resolve() / "wandb"
        id_file = folder / ID_FILE
        folder.mkdir(parents=True, exist_ok=True)
        for variable, name in (("WANDB_DATA_DIR", "data"), ("WANDB_CACHE_DIR", "cache")):
            if variable not in os.environ:
                os.environ[variable] = str(folder / name)
                self._set_here.append(variable)
        known = ""
        if run.resumed and id_file.exists():
            known = id_file.read_text(encoding="utf-8").strip()
        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            save_code=False,
            x_disable_stats=not config.system_metrics,
            x_disable_meta=not config.system_metrics,
            x_disable_machine_info=not config.system_metrics,
            x_save_requirements=False,
        )
        try:
            self._run = wandb.init(
                project=config.project,
                entity=config.entity,
                mode=config.mode,
                group=config.group,
                tags=[*config.tags, *run.tags] or None,
                name=run.name,
                id=known or None,
                # Offline, wandb ignores `resume` and warns; `wandb sync` joins files of one id.
                resume="allow" if known and config.mode == "online" else None,
                config=run.config,
                dir=str(run.folder.resolve()),
                settings=settings,
            )
        except WANDB_ERRORS as error:
            self._restore_environment()
            raise TrackingError(
                f"tracker 'wandb' cannot start in mode {config.mode!r}: {error}. "
                "Log in with `wandb login`, or set tracking.trackers[].params.mode to 'offline'."
            ) from error
        if config.mode != "disabled":
            id_file.write_text(f"{self._run.id}\n", encoding="utf-8")
        # Steps are a value of their own: wandb's counter may not go back, a resumed run's does.
        self._call(lambda: self._run.define_metric("step", hidden=True))
        self._call(lambda: self._run.define_metric("*", step_metric="step"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log values under ``train/``."""
        self._log(step, {f"train/{key}": value for key, value in values.items()})

    def scores(self, split: str, metrics: Mapping[str, Any]) -> None:
        """Log every number of ``metrics.json`` under ``<split>/``, for example val/native/ciou."""
        step = metrics.get("step", 0)
        flat = flatten({key: value for key, value in metrics.items() if key != "step"})
        self._log(int(step), {f"{split}/{key}": value for key, value in flat.items()})

    def overlays(self, step: int, overlays: Sequence[Overlay]) -> None:
        """Log pictures with the masks ``truth`` and ``prediction``, which wandb can toggle."""
        shown = overlays[: self._config.log_images]
        if len(shown) < len(overlays):
            logger.info("wandb: %d of %d pictures logged (log_images)", len(shown), len(overlays))
        labels = {label for overlay in shown for label, _ in [*overlay.truth, *overlay.prediction]}
        if len(labels) > MAX_CLASSES:
            raise TrackingError(
                f"tracker 'wandb': {len(labels)} labels in {len(shown)} pictures, and a mask "
                f"holds {MAX_CLASSES}. Lower log_images."
            )
        if len(labels | set(self._class_ids)) > MAX_CLASSES + 1:
            self._class_ids = {MASK_BACKGROUND: 0}
        if shown:
            self._log(step, {"overlays": [self._image(overlay) for overlay in shown]})

    def predictions(self, path: Path) -> None:
        """Log the predictions as a table, with status and IoU where they were scored.

        Args:
            path: ``predictions/<split>.jsonl``; ``<split>.scores.jsonl`` beside it is optional.
        """
        scores = _scores_by_id(path.with_name(f"{path.stem}.scores.jsonl"))
        table = wandb.Table(columns=list(TABLE_COLUMNS))
        for line in _json_lines(path):
            status, iou = scores.get(str(line.get("id")), (None, None))
            row = {**line, "labels": "|".join(line.get("labels") or ()), "status": status}
            row["iou"] = iou
            table.add_data(*(row.get(column) for column in TABLE_COLUMNS))
        self._call(lambda: self._run.log({f"predictions/{path.stem}": table}))

    def artifact(self, name: str, kind: str, path: Path) -> None:
        """Keep a copy of a file or folder as an artifact of type ``kind``."""
        if not self._config.log_artifacts:
            return

        def keep() -> None:
            artifact = wandb.Artifact(re.sub(r"[^A-Za-z0-9._-]+", "-", name), type=kind)
            files = sorted(path.rglob("*")) if path.is_dir() else [path]
            root = path if path.is_dir() else path.parent
            for file in (file for file in files if file.is_file()):
                # One by one: Artifact.add_dir prints, whatever the settings say.
                artifact.add_file(
                    str(file), name=file.relative_to(root).as_posix(), skip_cache=True
                )
            self._run.log_artifact(artifact)
            if path.suffix == ".html":  # pages are shown as well, where wandb shows pictures
                self._run.log({f"pages/{name}": wandb.Html(str(path))})

        self._call(keep)

    def finish(self) -> None:
        """Close the wandb run.

        wandb's own process writes the file's end; it is complete when this process ends at the
        latest.
        """
        if self._run is None:
            return
        try:
            self._call(self._run.finish)
        finally:
            self._run = None
            self._restore_environment()

    def _log(self, step: int, values: Mapping[str, Any]) -> None:
        self._call(lambda: self._run.log({"step": step, **values}))

    def _call(self, action: Callable[[], Result]) -> Result:
        if self._run is None:
            raise TrackingError("tracker 'wandb' was told something before its run started.")
        try:
            return action()
        except WANDB_ERRORS as error:
            raise TrackingError(
                f"tracker 'wandb': {error}. What it wrote so far lies in the run's folder."
            ) from error

    def _restore_environment(self) -> None:
        for variable in self._set_here:
            os.environ.pop(variable, None)
        self._set_here.clear()

    def _image(self, overlay: Overlay) -> wandb.Image:
        layers = {"truth": overlay.truth, "prediction": overlay.prediction}
        size = overlay.image.shape[:2]
        painted = {name: self._paint(pairs, size) for name, pairs in layers.items()}
        classes = {number: label for label, number in self._class_ids.items()}
        masks = {
            name: {"mask_data": mask, "class_labels": classes} for name, mask in painted.items()
        }
        return wandb.Image(overlay.image, masks=masks, caption=overlay.caption)

    def _paint(
        self, pairs: Iterable[tuple[str, BoolMask]], size: tuple[int, int]
    ) -> npt.NDArray[np.int32]:
        """int32[H, W]: 0 background, else the label's number, kept while numbers last."""
        painted = np.zeros(size, dtype=np.int32)
        for label, mask in pairs:
            number = self._class_ids.setdefault(label, len(self._class_ids))
            painted[mask] = number
        return painted


def _json_lines(path: Path) -> Iterable[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise TrackingError(f"{path}, line {number}: no JSON object: {error}") from error


def _scores_by_id(path: Path) -> dict[str, tuple[str | None, float | None]]:
    """Status and mean IoU over labels by sample id; empty where nothing was scored."""
    if not path.exists():
        return {}
    statuses: dict[str, str | None] = {}
    ious: dict[str, list[float]] = {}
    for line in _json_lines(path):
        key = str(line.get("id"))
        statuses[key] = line.get("status")
        if isinstance(line.get("iou"), int | float):
            ious.setdefault(key, []).append(float(line["iou"]))
    return {
        key: (status, sum(ious[key]) / len(ious[key]) if key in ious else None)
        for key, status in statuses.items()
    }
