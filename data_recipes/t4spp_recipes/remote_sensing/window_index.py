"""What every window shows: found out once, with a progress bar, and kept in a cache.

The index is a handful of arrays, so that millions of windows fit into memory and load at once.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.geo.pictures import Limits, SceneReader, find_limits
from t4spp.geo.scenes import Scene
from t4spp.geo.view import SceneView
from t4spp.geo.windows import WindowGrid
from t4spp.types import Box
from t4spp_recipes.progress import with_progress
from t4spp_recipes.remote_sensing.label_sources import Labels
from t4spp_recipes.remote_sensing.prompts import Thing

_log = logging.getLogger(__name__)
_VERSION = 1
UNKNOWN = -1
"""The class of what has none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowIndex:
    """What W windows show, K things altogether.

    Attributes:
        scene: int32[W], number of the window's scene.
        number: int64[W], of the window in its scene's grid.
        offsets: int64[W + 1]; the things of window i are offsets[i] to offsets[i + 1].
        feature: int64[K], by which the labels find a thing again.
        label: int32[K], index of its class; ``UNKNOWN`` where it has none.
        area: int32[K], pixels in the window.
        centre: float32[K, 2], (y, x) of the pixels' mean, in the window's pixels.
        box: int32[K, 4], (y0, x0, y1, x1) around them.
        limits: of each scene, what becomes 0 and 255; None where values stay.
        counters: windows padded or without data, and so on.
    """

    scene: npt.NDArray[np.int32]
    number: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int64]
    label: npt.NDArray[np.int32]
    area: npt.NDArray[np.int32]
    centre: npt.NDArray[np.float32]
    box: npt.NDArray[np.int32]
    limits: tuple[Limits | None, ...]
    counters: Counter[str]

    def __len__(self) -> int:
        """Number of windows that hold data."""
        return len(self.scene)

    def features(self, row: int) -> list[int]:
        """The features of a window's things, in their order."""
        return [int(n) for n in self.feature[self.offsets[row] : self.offsets[row + 1]]]

    def things(self, row: int, labels: Labels) -> list[Thing]:
        """A window's things, for prompts; ``scored`` is still to be decided."""
        return [
            Thing(
                label=None if self.label[k] == UNKNOWN else labels.classes[self.label[k]],
                properties=labels.properties(int(self.feature[k])),
                area=int(self.area[k]),
                centre=(float(self.centre[k, 0]), float(self.centre[k, 1])),
                box=Box(
                    y0=int(self.box[k, 0]),
                    x0=int(self.box[k, 1]),
                    y1=int(self.box[k, 2]),
                    x1=int(self.box[k, 3]),
                ),
                single=labels.single,
            )
            for k in range(int(self.offsets[row]), int(self.offsets[row + 1]))
        ]


def index_windows(
    scenes: Sequence[Scene],
    grids: Sequence[WindowGrid],
    labels: Labels,
    view: SceneView,
    cache_dir: Path | None,
) -> WindowIndex:
    """Look at every window once, or load the result of having done so.

    The cache is keyed by the scenes (path, size, time of change, transform), the labels and the
    view; it is written atomically, never beside the data. One that cannot be written costs time
    only, and is logged.

    Raises:
        GeoError: a scene cannot be read, or has changed since its header was read.
    """
    folder = default_cache_dir() if cache_dir is None else cache_dir.expanduser()
    path = folder / f"geo-windows-{_key(scenes, labels, view)}.npz"
    found = _load(path)
    if found is None:
        found = _build(scenes, grids, labels, view)
        _save(path, found)
    return found


def default_cache_dir() -> Path:
    """``$T4SPP_CACHE``, else ``t4spp`` in the user's cache folder."""
    own = os.environ.get("T4SPP_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "t4spp"


class _Rows:
    """Arrays that grow window by window."""

    def __init__(self) -> None:
        self.windows: list[tuple[int, int]] = []
        self.counts: list[int] = []
        self.things: list[tuple[float, ...]] = []

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        windows = np.array(self.windows, dtype=np.int64).reshape(-1, 2)
        things = np.array(self.things, dtype=np.float64).reshape(-1, 9)
        return {
            "scene": windows[:, 0].astype(np.int32),
            "number": windows[:, 1],
            "offsets": np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64),
            "feature": things[:, 0].astype(np.int64),
            "label": things[:, 1].astype(np.int32),
            "area": things[:, 2].astype(np.int32),
            "centre": things[:, 3:5].astype(np.float32),
            "box": things[:, 5:9].astype(np.int32),
        }


def _build(
    scenes: Sequence[Scene], grids: Sequence[WindowGrid], labels: Labels, view: SceneView
) -> WindowIndex:
    from tqdm import tqdm

    rows = _Rows()
    counters: Counter[str] = Counter()
    numbers = {name: index for index, name in enumerate(labels.classes)}
    limits: list[Limits | None] = []
    total = sum(len(grid) for grid in grids)
    with tqdm(
        total=total, desc="indexing windows", unit="window", leave=False, disable=None
    ) as bar:
        for index, (scene, grid) in enumerate(zip(scenes, grids, strict=True)):
            counters["windows_padded"] += grid.num_padded
            limits.append(find_limits(scene, view.picture))
            reader = SceneReader(scene, view.picture, limits[-1])
            try:
                found = _index_scene(index, reader, grid, labels, numbers, rows, counters, bar)
            finally:
                reader.close()
            counters["scenes_without_data"] += not found
    return WindowIndex(**rows.arrays(), limits=tuple(limits), counters=+counters)


def _index_scene(
    index: int,
    reader: SceneReader,
    grid: WindowGrid,
    labels: Labels,
    numbers: dict[str, int],
    rows: _Rows,
    counters: Counter[str],
    bar: Any,
) -> bool:
    """Add a scene's windows; whether one of them holds data."""
    scene = reader.scene
    any_data = False
    for number, window in enumerate(grid):
        bar.update(1)
        valid = None
        if scene.has_gaps:
            valid = reader.valid(window.box, window.out_size)
            if not valid.any():
                counters["windows_without_data"] += 1
                continue
        any_data = True
        found, _ = labels.found(scene, window)
        num = 0
        for item in found:
            if valid is not None and not (item.mask & valid[item.box.slices]).any():
                counters["targets_without_data"] += 1
                continue
            num += 1
            area = int(np.count_nonzero(item.mask))
            y = float(item.mask.sum(axis=1) @ np.arange(item.box.height)) / area + item.box.y0
            x = float(item.mask.sum(axis=0) @ np.arange(item.box.width)) / area + item.box.x0
            name = UNKNOWN if item.label is None else numbers[item.label]
            edges = (item.box.y0, item.box.x0, item.box.y1, item.box.x1)
            rows.things.append((item.feature, name, area, y, x, *edges))
        rows.windows.append((index, number))
        rows.counts.append(num)
    return any_data


def _key(scenes: Sequence[Scene], labels: Labels, view: SceneView) -> str:
    digest = hashlib.sha256(f"{_VERSION}\n{view.model_dump_json()}\n".encode())
    for scene in scenes:
        digest.update(f"{scene.path}\0{scene.stamp}\0{scene.transform}\0{scene.crs}\n".encode())
    digest.update(repr((labels.classes, labels.fingerprint())).encode())
    return digest.hexdigest()[:32]


_ARRAYS = ("scene", "number", "offsets", "feature", "label", "area", "centre", "box")
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,  # a length that is none
    RuntimeError,  # "encrypted"; NotImplementedError: a compression that there is not
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)
"""What reading a damaged file raises."""


def _load(path: Path) -> WindowIndex | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            notes = json.loads(str(stored["notes"]))
            arrays = {name: stored[name] for name in _ARRAYS}
        limits = tuple(
            None if item is None else tuple((float(low), float(high)) for low, high in item)
            for item in notes["limits"]
        )
        return WindowIndex(**arrays, limits=limits, counters=Counter(notes["counters"]))
    except FileNotFoundError:
        return None
    except _DAMAGE as error:
        _log.warning("the index %s cannot be read (%s); looking at the windows again", path, error)
        return None


def _save(path: Path, index: WindowIndex) -> None:
    notes = json.dumps({"limits": index.limits, "counters": dict(index.counters)})
    stored = io.BytesIO()
    arrays: dict[str, Any] = {name: getattr(index, name) for name in _ARRAYS}
    np.savez_compressed(stored, notes=np.array(notes), **arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=path.stem, suffix=".part", delete=False
        ) as part:
            try:
                part.write(stored.getvalue())
                part.close()
                Path(part.name).replace(path)
            except OSError:
                Path(part.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        _log.warning("the index of windows is not kept: %s (%s)", path, error)


def scene_faults(scenes: Sequence[Scene], view: SceneView) -> list[str]:
    """What goes wrong when every pixel of scenes is read, one message each."""
    from t4spp.errors import GeoError
    from t4spp.geo.windows import WindowView, plan_windows

    messages = []
    for scene in with_progress(scenes, "reading", "scene"):
        reader = SceneReader(scene, view.picture)
        try:
            for window in plan_windows(scene, WindowView(size=min(1024, max(16, *scene.size)))):
                reader.read(window.box, window.out_size)
        except GeoError as error:
            messages.append(str(error))
        finally:
            reader.close()
    return messages
