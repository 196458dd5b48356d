"""Where the REFER datasets keep refs, annotations and pictures, below a folder that a user names.

Below the root, or one of the folders above it that LISA's and the dataset's own API name: refs and
annotations in ``refcoco/refs(unc).p`` and ``refcoco/instances.json``; COCO's pictures in
``images/mscoco/images/train2014`` (the API, LISA), ``images/train2014`` (ReLA) or
``images/coco_2014/train2014`` (Text4Seg); refCLEF's in ``images/saiapr_tc-12``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from t4spp.components import Source
from t4spp.errors import RecipeError
from t4spp_recipes.natural.pictures import require_folder

COCO_FOLDERS = (
    "images/mscoco/images/train2014",
    "images/train2014",
    "images/coco_2014/train2014",
    "images/mscoco/train2014",
    "coco/train2014",
    "train2014",
)
CLEF_FOLDERS = ("images/saiapr_tc-12", "images/saiaprtc12", "saiapr_tc-12")
DATASETS = ("refclef", "refcoco", "refcoco+", "refcocog", "grefcoco")
_ABOVE = ("", "refer_seg", "data", "dataset/refer_seg", "datasets/refer_seg", "refer/data")


@dataclass(frozen=True, kw_only=True)
class ReferFiles:
    """A dataset on disk. ``images``: None where there is no folder of pictures."""

    refs: Path
    instances: Path
    images: Path | None
    images_expected: Path
    """Where the pictures belong, for errors."""


def find_refer(
    recipe: str,
    root: Path,
    dataset: str,
    refs_names: Sequence[str],
    picture_folders: Sequence[str],
    images: Path | None,
    sources: Sequence[Source],
) -> ReferFiles:
    """The files of a REFER dataset.

    Args:
        recipe: its name, for errors.
        root: the folder that holds the dataset's, one above that, or the dataset's own.
        dataset: the folder's name as distributed, one of ``DATASETS``.
        refs_names: names that the file of refs may have; the first that is there counts.
        picture_folders: where pictures may lie, beside the dataset's folder.
        images: the folder of pictures where a user names it; None: look for it.
        sources: told in the error.

    Raises:
        RecipeError: refs or annotations are missing; lists everything that is, and where to get it.
    """
    root = root.expanduser()
    advice = where_to_get(sources)
    if not root.is_dir():
        require_folder(root, f"{recipe}: 'root'", advice)
    folder = _dataset_folder(root, dataset)
    refs = next((folder / name for name in refs_names if (folder / name).is_file()), None)
    instances = folder / "instances.json"
    found = (
        None
        if images is not None
        else next((path for path in _picture_paths(folder, picture_folders) if path.is_dir()), None)
    )
    if refs is None or not instances.is_file():
        missing = [
            *([] if refs is not None else [f"{dataset}/{' or '.join(refs_names)}"]),
            *([] if instances.is_file() else [f"{dataset}/instances.json"]),
            *([] if found or images else [f"{picture_folders[0]}/ (pictures)"]),
        ]
        raise RecipeError(
            f"{recipe}: {root} lacks {', '.join(missing)}. Point 'root' at the folder that holds "
            f"{dataset}/ and images/.\n{advice}"
        )
    if images is not None:
        found = require_folder(images, f"{recipe}: 'images'", "Give the folder of the pictures.")
    return ReferFiles(
        refs=refs,
        instances=instances,
        images=found,
        images_expected=folder.parent / picture_folders[0],
    )


def where_to_get(sources: Sequence[Source]) -> str:
    """A line a source: what, where, under which licence."""
    return "\n".join(
        f"  get {source.note}: {source.url} (licence: {source.licence})" for source in sources
    )


def _dataset_folder(root: Path, dataset: str) -> Path:
    for above in _ABOVE:
        if (root / above / dataset).is_dir():
            return root / above / dataset
    other = root.name in DATASETS and root.name != dataset
    return root if (root / "instances.json").is_file() and not other else root / dataset


def _picture_paths(folder: Path, names: Sequence[str]) -> list[Path]:
    return [base / name for base in (folder.parent, folder.parent.parent, folder) for name in names]
