"""The store of pretrained weights: a manifest, a cache folder, and sources that are tried in order.

``fetch(name)`` is what backbones and refiners call; ``t4spp weights`` is the same by hand.
"""

from __future__ import annotations

from t4spp.weights.cache import CACHE_VARIABLE, FOLDERS_VARIABLE, cache_folder
from t4spp.weights.fetching import Obtained, fetch, find_entry, obtain
from t4spp.weights.reading import read_checkpoint

__all__ = [
    "CACHE_VARIABLE",
    "FOLDERS_VARIABLE",
    "Obtained",
    "cache_folder",
    "fetch",
    "find_entry",
    "obtain",
    "read_checkpoint",
]
