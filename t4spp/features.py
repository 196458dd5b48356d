"""Features of pictures that frozen encoders compute once: in memory, and on disk if asked for.

A backbone and a refiner that encode with the same weights name the same key, so that a picture is
encoded once for both.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from t4spp.types import Image
from t4spp.weights.cache import cache_folder

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

NUM_IN_MEMORY = 16
"""Pictures whose features stay in memory."""

_TENSOR = "features"


class FeatureCache:
    """Features by picture content and encoder.

    What is computed is rounded to float16 before it is handed out, also the first time, so that
    an answer does not depend on what the cache held.

    Attributes:
        counters: ``encoded`` pictures, features found in ``memory`` and on ``disk``, files that
            were ``damaged`` and made anew, features that could not be written (``unwritten``).
    """

    def __init__(self, folder: Path | None = None, num_in_memory: int = NUM_IN_MEMORY) -> None:
        """Name the place.

        Args:
            folder: of the files, made when the first is written; None keeps none.
            num_in_memory: pictures whose features stay in memory; the least recently used go.
        """
        self.folder = folder
        self.num_in_memory = num_in_memory
        self.counters: Counter[str] = Counter()
        self._memory: OrderedDict[tuple[str, str], Tensor] = OrderedDict()

    def get(self, image: Image, key: str, compute: Callable[[], Tensor]) -> Tensor:
        """The features of a picture, float32 on the CPU.

        Args:
            image: uint8[H, W, 3].
            key: names the encoder: its weights and its preprocessing; a file name.
            compute: makes them where they are not known yet.
        """
        name = picture_hash(image)
        found = self._memory.get((key, name))
        if found is not None:
            self._memory.move_to_end((key, name))
            self.counters["memory"] += 1
            return found.float()
        path = None if self.folder is None else self.folder / key / name[:2] / f"{name}.safetensors"
        features = None if path is None else self._read(path)
        if features is None:
            features = compute().detach().cpu().half()
            self.counters["encoded"] += 1
            if path is not None:
                self._write(path, features)
        else:
            self.counters["disk"] += 1
        self._memory[key, name] = features
        while len(self._memory) > self.num_in_memory:
            self._memory.popitem(last=False)
        return features.float()

    def _read(self, path: Path) -> Tensor | None:
        """What a file holds; None, and a warning, where it is damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return load(path.read_bytes())[_TENSOR]
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, SafetensorError, KeyError) as error:
            self.counters["damaged"] += 1
            logger.warning("%s cannot be read (%s) and is made anew", path, error)
            return None

    def _write(self, path: Path, features: Tensor) -> None:
        """Write a file, completely or not at all; a full disk costs time, not the run."""
        from safetensors.torch import save

        pending = path.with_suffix(f".{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            pending.write_bytes(save({_TENSOR: features.contiguous()}))
            pending.replace(path)
        except OSError as error:
            with suppress(OSError):
                pending.unlink(missing_ok=True)
            if not self.counters["unwritten"]:
                logger.warning("features of pictures cannot be kept in %s: %s", self.folder, error)
            self.counters["unwritten"] += 1


def picture_hash(image: Image) -> str:
    """SHA-256 of a picture's size and pixels, in hexadecimal."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


_SHARED: dict[Path | None, FeatureCache] = {}


def log_counters() -> dict[str, int]:
    """Log, and return, what the shared caches of this process have counted so far.

    Nothing is logged, and the answer is empty, where nobody asked them for features.
    """
    total = sum((cache.counters for cache in _SHARED.values()), Counter[str]())
    if total:
        said = ", ".join(f"{name} {count}" for name, count in sorted(total.items()))
        logger.info("features of pictures: %s", said)
    return dict(total)


def shared_cache(*, on_disk: bool) -> FeatureCache:
    """The process's cache; on disk, it lies in ``features`` of the cache folder.

    Without a disk, one that already keeps files is taken if there is one: whoever comes later in
    a process finds what others have encoded.
    """
    folder = cache_folder() / "features"
    if not on_disk and folder in _SHARED:
        return _SHARED[folder]
    place = folder if on_disk else None
    if place not in _SHARED:
        _SHARED[place] = FeatureCache(place)
    return _SHARED[place]
