"""A folder of mask PNGs against a recipe: what each picture means, and what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from t4spp.decoding.prediction import Prediction
from t4spp.errors import RunError
from t4spp.evaluation.pairs import scored_labels
from t4spp.pictures import read_values
from t4spp.types import Decoded, Problem, Region, Sample

SUFFIX = ".png"
MISSING = "missing-prediction"
"""Problem of a sample that the folder has no mask for; it scores as an empty, invalid answer."""
_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")
_ANYTHING = "object"
"""Label of a mask where the prompt names none."""


class MaskFolder:
    """Masks by name; a ``/`` in an id is a sub-folder, or any character percent-encoded.

    - ``PICTURE.png``, where the recipe has class ids: ids of the dataset's own masks.
    - ``SAMPLE.png``: one mask, everything but 0 is inside.
    - ``SAMPLE/LABEL.png``: one mask of a label; ``SAMPLE/LABEL/*.png``: instances of it.

    Attributes:
        folder: the folder.
        label_ids: the recipe's :meth:`t4spp.components.Recipe.label_ids`.
        counters: what was noticed while reading.
    """

    def __init__(self, folder: Path, label_ids: Mapping[str, Sequence[int]]) -> None:
        """List the folder.

        Raises:
            RunError: it is no folder, or holds no PNG.
        """
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise RunError(f"{folder} {what}. --format mask-png takes a folder of PNG masks.")
        self.folder = folder
        self.label_ids = label_ids
        self.counters: Counter[str] = Counter()
        self._paths = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() == SUFFIX and path.is_file()
        )
        if not self._paths:
            raise RunError(f"{folder} holds no PNG masks. Is it the right folder?")
        self._files: dict[str, Path] = {}
        self._below: dict[str, list[Path]] = {}
        for path in self._paths:
            name = path.relative_to(folder).as_posix()[: -len(SUFFIX)]
            for key in dict.fromkeys((name, unquote(name))):
                self._files.setdefault(key, path)
                self._below.setdefault(key.rpartition("/")[0], []).append(path)
        self._known = frozenset(number for ids in label_ids.values() for number in ids)

    def about(self, sample_id: str, image_id: str, labels: Sequence[str]) -> list[tuple[Path, str]]:
        """The files about a sample, and what each is of.

        What it is of: a label; ``""`` for the one mask of the sample; ``*`` for class ids.
        """
        own, picture = self._files.get(sample_id), self._files.get(image_id)
        if picture is not None and self.label_ids and sample_id == image_id:
            return [(picture, "*")]
        if own is not None:
            return [(own, "")]
        parts: list[tuple[Path, str]] = []
        for label in labels:
            name = f"{sample_id}/{label}"
            whole = [self._files[name]] if name in self._files else []
            parts += [(path, label) for path in (*whole, *self._below.get(name, ()))]
        if not parts and picture is not None and self.label_ids:
            return [(picture, "*")]
        return parts

    def find(self, position: int, sample: Sample) -> Prediction:
        """The files of a sample, as an answer whose text is their names."""
        files = self.about(sample.id, sample.image_id, scored_labels(sample))
        return Prediction(
            id=sample.id,
            prompt=sample.prompt,
            labels=sample.labels,
            text="\n".join(path.relative_to(self.folder).as_posix() for path, _ in files),
            num_tokens=None,
            num_passes=0,
            seconds=0.0,
        )

    def read(self, sample: Sample, prediction: Prediction) -> Decoded:
        """The masks of a sample; invalid and empty where there is no file.

        Raises:
            RunError: a mask has another size than the picture, or colours; or one mask answers a
                prompt for several labels.
        """
        labels = scored_labels(sample)
        files = self.about(sample.id, sample.image_id, labels)
        if not files:
            self.counters["samples_without_prediction"] += 1
            problem = Problem(code=MISSING, message=f"{self.folder} has no mask of this sample")
            return Decoded(regions=(), status="invalid", problems=(problem,))
        regions: list[Region] = []
        for path, what in files:
            values = _read(path, sample.size)
            if what == "*":
                regions += self._by_id(values, labels)
            elif what or len(labels) <= 1:
                label = what or (labels[0] if labels else _ANYTHING)
                regions.append(Region(label=label, mask=values != 0))
            else:
                raise RunError(
                    f"{path} is one mask, but the sample {sample.id!r} asks for "
                    f"{len(labels)} labels: {', '.join(labels[:5])}, ... Write a mask a label, "
                    f"{path.stem}/LABEL.png."
                )
        return Decoded(regions=tuple(item for item in regions if item.mask.any()), status="ok")

    def unmatched(self, asked: set[Path]) -> int:
        """How many files no sample asked for, by those that were."""
        return len(set(self._paths) - asked)

    def examples(self) -> str:
        """The first files, for messages."""
        names = [path.relative_to(self.folder).as_posix() for path in self._paths[:3]]
        more = ", ..." if len(self._paths) > 3 else ""
        return f"{len(self._paths)} PNGs ({', '.join(names)}{more})"

    def _by_id(self, values: npt.NDArray[np.int64], labels: Sequence[str]) -> list[Region]:
        present = set(np.unique(values).tolist())
        if present - self._known:
            self.counters["answers_with_ids_of_no_label"] += 1
        asked = [label for label in labels if present.intersection(self.label_ids.get(label, ()))]
        return [
            Region(label=label, mask=np.isin(values, list(self.label_ids[label])))
            for label in asked
        ]


def _read(path: Path, size: tuple[int, int]) -> npt.NDArray[np.int64]:
    """int64[H, W]; consecutive samples often share a file, so that the last ones stay."""
    values, mode = _cached(path, path.stat().st_mtime_ns)
    if mode not in _MODES:
        raise RunError(
            f"{path} has colour mode {mode}, not one value a pixel. Masks must be greyscale or "
            "palette PNGs: 0 outside and anything else inside, or class ids."
        )
    if values.shape != size:
        raise RunError(
            f"{path} is {values.shape[0]} x {values.shape[1]} pixels (height x width), its picture "
            f"is {size[0]} x {size[1]}. Predictions must be written at the picture's own size."
        )
    return values


@lru_cache(maxsize=2)
def _cached(path: Path, modified: int) -> tuple[npt.NDArray[np.int64], str]:
    values, mode = read_values(path)
    whole = values if mode not in _MODES else values.astype(np.int64)
    return np.asarray(whole), mode
