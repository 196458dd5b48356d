"""Errors that are the user's to mend. The command line prints them without a traceback, exit 2."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class T4sppError(Exception):
    """Base of every error whose message says what, where, what was received and what to do."""


class ConfigError(T4sppError):
    """A configuration or command-line value is wrong."""


class SchemeError(T4sppError):
    """Targets cannot be written by a scheme, or a scheme's parameters contradict each other."""


class PluginError(T4sppError):
    """A plugin collides with another, misspells a hook, or is missing."""


class RecipeError(T4sppError):
    """A dataset is missing, incomplete or damaged."""


class BackboneError(T4sppError):
    """A backbone cannot be loaded, or a checkpoint belongs to another one."""


class WeightsError(T4sppError):
    """Pretrained weights are unknown, cannot be had, or are not what their checksum says."""


class RunError(T4sppError):
    """A run's folder exists, is incomplete, or does not fit what is asked of it."""


class GeoError(T4sppError):
    """A scene, a vector layer or a window of one cannot be used as it is."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that no space is left.

    Libraries wrap the OS error in text: safetensors says ``os error 28``.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        text = str(seen).lower()
        if "no space left" in text or "os error 28" in text:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def nearest(name: str, choices: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` when a valid choice is close to ``name``, else an empty string."""
    found = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return f" Did you mean {found[0]!r}?" if found else ""
