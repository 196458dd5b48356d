"""How a source says that it could not help; the next one is then tried."""

from __future__ import annotations


class SourceFailedError(Exception):
    """A source does not have the files, cannot be reached, or gave something else."""
