"""The files of a scene's prediction: all of them there, or none."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from t4spp.errors import RunError
from t4spp.geo.cog import MaskFile
from t4spp.geo.layers import Feature, ObjectLayers
from t4spp.geo.overview import Overview
from t4spp.geo.scenes import Scene
from t4spp.geo.stitching import SceneObject, Strip
from t4spp.scene_prediction.truth import Truth
from t4spp.training.atomic import discard, sync_tree

UNFINISHED = ".unfinished"
"""Folder in the output folder that holds what an interrupted prediction goes on with."""
RECORD = "scene.json"
"""Says what was done; written last, so that where it is, everything is."""
NAMES = (
    "mask.tif",
    "objects.gpkg",
    "objects.geojson",
    "quicklook.png",
    "difference.png",
    "map.html",
    "answers.jsonl",
    "answers.meta.json",
    RECORD,
)
"""Everything that may be written; ``difference.png`` only where the truth is given."""
MAP_OBJECTS = 4000
"""Outlines that the map page holds: the largest ones."""


class OutputFolder:
    """Where a prediction is written: under a temporary folder until all is there."""

    def __init__(
        self, path: Path, *, resume: bool, overwrite: bool, inputs: Sequence[Path] = ()
    ) -> None:
        """Check; nothing is touched.

        Args:
            path: the folder; it need not exist.
            resume: go on with an interrupted prediction.
            overwrite: replace what is there.
            inputs: files that are read, and so must not be replaced.

        Raises:
            RunError: an input is one of the output's files; files are there that would be
                replaced, or an interrupted prediction, and neither ``resume`` nor ``overwrite``
                says what to do.
        """
        self.path = path
        self.work = path / UNFINISHED
        self.resumed = resume and self.work.is_dir()
        self._made = False
        if path.is_file():
            raise RunError(f"-o {path} is a file. A scene's layers go into a folder; name one.")
        self._check_inputs(inputs)
        if overwrite:
            return
        found = [name for name in NAMES if (path / name).exists()]
        if found and not self.resumed:
            raise RunError(
                f"{path / found[0]} exists"
                f"{f', and {len(found) - 1} others' if len(found) > 1 else ''}. Give --overwrite "
                "to replace what is there, or choose another -o."
            )
        if self.work.is_dir() and not resume:
            raise RunError(
                f"{path} holds an interrupted prediction. Go on with it by --resume, or begin anew "
                "with --overwrite."
            )

    def _check_inputs(self, inputs: Sequence[Path]) -> None:
        """Refuse inputs that a prediction would replace or remove."""
        folder = self.path.resolve()
        for path in inputs:
            # by its own name, and by that of what it links to
            for place in (path.parent.resolve() / path.name, path.resolve()):
                inside = place.is_relative_to(folder / UNFINISHED)
                if inside or any(_is_same(place, folder / name) for name in NAMES):
                    raise RunError(
                        f"{path} is read, and it is one of the files that a prediction into -o "
                        f"{self.path} replaces ({', '.join(NAMES)}, {UNFINISHED}). Choose another "
                        "-o, or move the input away."
                    )

    def begin(self) -> None:
        """Make the temporary folder; an old one is kept only where it is resumed.

        Raises:
            RunError: it cannot be made, or the old one cannot be removed.
        """
        try:
            if not self.resumed:
                discard(self.work)
            self._made = not self.path.exists()
            self.work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._remove_if_made()
            raise RunError(
                f"the output folder -o {self.path} cannot be made: {error.strerror or error}. Name "
                "a folder that you may write to."
            ) from error

    def abort(self, *, keep_answers: bool) -> None:
        """Remove what is not finished, but for answers that a resume can go on with.

        Args:
            keep_answers: whether they are still of use.
        """
        answers = self.work / "answers.jsonl"
        if keep_answers and answers.is_file() and answers.stat().st_size:
            for path in self.work.iterdir():
                if not path.name.startswith("answers."):
                    discard(path)
            return
        discard(self.work)
        self._remove_if_made()

    def _remove_if_made(self) -> None:
        if self._made:
            with contextlib.suppress(OSError):  # somebody else put something there
                self.path.rmdir()

    def commit(self) -> None:
        """Move everything to its place and remove the temporary folder."""
        sync_tree(self.work)
        for name in NAMES:
            if not (self.work / name).exists():
                (self.path / name).unlink(missing_ok=True)  # of an earlier prediction
        (self.path / RECORD).unlink(missing_ok=True)
        for name in NAMES:
            if (self.work / name).exists():
                (self.work / name).replace(self.path / name)
        discard(self.work)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:  # one of them is not there
        return False


class SceneSink:
    """Takes what the stitcher finishes and writes it.

    Attributes:
        masks: the mask's rows.
        layers: the vector layers.
        overview: a small picture of the scene.
    """

    def __init__(
        self,
        folder: Path,
        scene: Scene,
        labels: Sequence[str],
        *,
        simplify: float,
        least_area: float,
        overview: Overview,
        truth: Truth | None = None,
    ) -> None:
        """Begin all files in a folder for what is not finished."""
        self.masks = MaskFile(folder, scene, labels)
        self.layers = ObjectLayers(folder, scene, labels, simplify=simplify, least_area=least_area)
        self.overview = overview
        self._folder = folder
        self._labels = tuple(labels)
        self._truth = truth
        self._largest: list[tuple[float, int, Feature]] = []
        self._true_rows: list[npt.NDArray[np.bool_]] = []

    def __enter__(self) -> SceneSink:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        with self.masks, self.layers:
            pass

    def rows(self, strip: Strip) -> None:
        """Append finished rows."""
        self.masks.rows(strip)
        if self._truth is not None:
            true = self._truth.compare(strip, self._labels)
            rows, columns = self._sampled(strip)
            self._true_rows.append(true[:, rows][:, :, columns])

    def objects(self, objects: Sequence[SceneObject]) -> None:
        """Write finished objects; the largest are remembered for the map."""
        for feature in self.layers.add(objects):
            entry = (feature.area, -feature.number, feature)
            if len(self._largest) < MAP_OBJECTS:
                heapq.heappush(self._largest, entry)
            else:
                heapq.heappushpop(self._largest, entry)

    def finish(self) -> None:
        """Complete the mask and the layers."""
        self.masks.finish(self._folder / "mask.tif")
        self.layers.finish()

    @property
    def largest(self) -> list[Feature]:
        """The largest objects, large ones first."""
        return [feature for _, _, feature in sorted(self._largest, key=lambda e: e[:2])][::-1]

    @property
    def true_overview(self) -> npt.NDArray[np.bool_] | None:
        """The truth at the overview's pixels, bool[P, h, w]; None where it is not known."""
        return np.concatenate(self._true_rows, axis=1) if self._true_rows else None

    def masks_overview(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """The written mask at the overview's pixels: bool[P, h, w], and valid bool[h, w]."""
        import rasterio
        from rasterio.enums import Resampling

        with rasterio.open(self._folder / "mask.tif") as dataset:
            shape = (dataset.count, *self.overview.size)
            values = dataset.read(out_shape=shape, resampling=Resampling.nearest)
        return values == 1, values[0] != 255

    def _sampled(self, strip: Strip) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows of a strip, and columns, under the centres of the overview's pixels."""
        height, width = self.masks.scene.size
        rows = _centres(self.overview.size[0], height) - strip.top
        inside = (rows >= 0) & (rows < strip.valid.shape[0])
        return rows[inside], _centres(self.overview.size[1], width)


def _centres(count: int, length: int) -> npt.NDArray[np.int64]:
    places = ((np.arange(count) + 0.5) * length / count).astype(np.int64)
    return np.minimum(places, length - 1)
