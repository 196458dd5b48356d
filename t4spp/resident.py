"""Resident memory of this process, as Linux tells it."""

from __future__ import annotations

import logging
from pathlib import Path

logger = logging.getLogger(__name__)


def forget_peak() -> None:
    """Let the process's peak count from now, where Linux allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        logger.info("the peak of resident memory counts from the process's start")


def peak_mb() -> float | None:
    """The most resident memory since :func:`forget_peak`, MB; None where the system is silent."""
    return _told("VmHWM:")


def resident_mb() -> float | None:
    """Resident memory now, MB; None where the system does not say."""
    return _told("VmRSS:")


def children_peak_mb() -> float | None:
    """The most resident memory of any process that this one has started and waited for, MB."""
    try:
        import resource
    except ImportError:  # no POSIX
        return None
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def _told(key: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    return None
