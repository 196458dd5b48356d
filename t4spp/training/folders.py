"""Claiming a run's folder: never into somebody else's work by accident."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from t4spp.config import RunConfig, dump_config
from t4spp.errors import ConfigError, RunError
from t4spp.training.atomic import discard, write_text
from t4spp.training.binding import binding_config, differences
from t4spp.training.checkpoints import CHECKPOINTS, CheckpointStore
from t4spp.yaml12 import parse_yaml

CONFIG_NAME = "config.yaml"

RUN_ENTRIES = (
    CONFIG_NAME,
    CHECKPOINTS,
    "predictions",
    "metrics.json",
    "events.jsonl",
    "report.html",
)
"""What belongs to a run; ``overwrite`` removes these and nothing else."""


def check_run_folder(
    folder: Path, config: RunConfig, *, resume: bool = False, overwrite: bool = False
) -> None:
    """Refuse a folder that is not to be had; nothing in it is touched.

    Args:
        folder: may be missing or empty.
        config: of the run.
        resume: go on with the run that is there, if ``config`` teaches and asks what its own
            does.
        overwrite: replace the run that is there. Files that no run writes are left alone.

    Raises:
        RunError: the folder holds something and neither option was given, both were given, there
            is nothing to resume or the run's config differs.
    """
    if resume and overwrite:
        raise RunError("--resume and --overwrite contradict each other: choose one.")
    if folder.exists() and not folder.is_dir():
        raise RunError(f"the run folder {folder} is a file. Choose another with -o.")
    occupied = folder.is_dir() and any(folder.iterdir())
    if resume:
        _check_same_run(folder, config)
    if occupied and not (resume or overwrite):
        raise RunError(
            f"the run folder {folder} exists and is not empty. Give --resume to go on with it, "
            "--overwrite to replace it, or another folder with -o."
        )
    if occupied and overwrite and not (folder / CONFIG_NAME).is_file():
        raise RunError(
            f"{folder} is not empty and holds no run ({CONFIG_NAME} is missing), so --overwrite "
            "removes nothing there. Choose another folder with -o."
        )


def claim_run_folder(
    folder: Path, config: RunConfig, *, resume: bool = False, overwrite: bool = False
) -> None:
    """Make ``folder`` this run's, and write the resolved config into it.

    Args:
        folder: see :func:`check_run_folder`, as of the rest.
        config: what is written to ``config.yaml``.
        resume: half-written checkpoints are removed.
        overwrite: what a run wrote is removed.

    Raises:
        RunError: the folder is refused, or cannot be written.
    """
    check_run_folder(folder, config, resume=resume, overwrite=overwrite)
    try:
        if overwrite:
            for name in RUN_ENTRIES:
                discard(folder / name)
        folder.mkdir(parents=True, exist_ok=True)
        CheckpointStore(folder).clean()
        write_text(folder / CONFIG_NAME, dump_config(config))
    except OSError as error:
        raise RunError(
            f"cannot write in the run folder {folder}: {error.strerror or error}. "
            "Make room or mend its permissions, or choose another with -o."
        ) from error


def _check_same_run(folder: Path, config: RunConfig) -> None:
    """Refuse to resume another run, before anything of it is touched."""
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise RunError(f"there is no run in {folder} to resume. Leave --resume out to start one.")
    changed = differences(binding_config(read_run_config(folder)), binding_config(config))
    if changed:
        raise RunError(
            f"the config differs from that of the run in {folder}: {'; '.join(changed)}. Resume "
            f"with {path}, or start another run with -o."
        )


def read_run_config(folder: Path) -> RunConfig:
    """The config that a run's folder holds, its components not looked up.

    Raises:
        RunError: it is missing or damaged.
    """
    path = folder / CONFIG_NAME
    try:
        return RunConfig.model_validate(parse_yaml(path.read_text(encoding="utf-8"), str(path)))
    except (OSError, UnicodeDecodeError, ValidationError, ConfigError) as error:
        raise RunError(
            f"{path} cannot be read ({error}), so nobody knows whether this is the run to go on "
            "with. Restore it, or start another with -o."
        ) from error
