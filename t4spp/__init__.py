"""t4spp: segmentation written as text.

A multimodal language model answers "segment the dog on the left" with a descriptor that decodes
to a mask. Importing this package loads neither torch nor transformers; ``t4spp.load`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from t4spp.api import Segmenter

__version__ = "0.1.0"

__all__ = ["__version__", "load"]


def load(run: str | Path) -> Segmenter:
    """Open a finished run for prediction; see :class:`t4spp.api.Segmenter`.

    Args:
        run: the folder that ``t4spp train`` or ``t4spp run`` wrote.

    Raises:
        ConfigError: the folder is not a run, or one of its components is missing.
    """
    from t4spp.api import Segmenter

    return Segmenter.from_run(run)
