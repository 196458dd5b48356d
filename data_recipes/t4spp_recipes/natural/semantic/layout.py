"""Where a dataset of pictures and class-id masks keeps its files, and what was published of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from t4spp.errors import RecipeError
from t4spp.pictures import PICTURE_SUFFIXES
from t4spp_recipes.natural.class_lists import ClassList
from t4spp_recipes.natural.semantic.maps import PLAIN, MapReader
from t4spp_recipes.natural.semantic.samples import InstanceSplitter
from t4spp_recipes.natural.semantic.tiling import Tiling

ALL = "all"
Published = int | tuple[int, ...]
"""A published number; several where publications differ."""
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif")


@dataclass(frozen=True, kw_only=True)
class SplitFolders:
    """A folder of pictures, one of masks, and the stems that belong to a split.

    Attributes:
        images: None: no pixels.
        masks: the folder of masks.
        stems: of the pictures; None: every mask there is.
        suffix: what a mask's stem has beyond its picture's.
        mask_suffixes: file suffixes of masks, in lower case.
        picture_suffixes: file suffixes of pictures, in lower case, the preferred ones first.
        not_pictures: ends of stems of files beside the pictures that are none.
        not_masks: ends of stems of files beside the masks that are other masks.
        deep: whether sub-folders are looked into.
    """

    images: Path | None
    masks: Path
    stems: tuple[str, ...] | None = None
    suffix: str = ""
    mask_suffixes: tuple[str, ...] = MASK_SUFFIXES
    picture_suffixes: tuple[str, ...] = PICTURE_SUFFIXES
    not_pictures: tuple[str, ...] = ()
    not_masks: tuple[str, ...] = ()
    deep: bool = False

    def files(self, folder: Path) -> Iterable[Path]:
        """The files that may count in a folder."""
        return folder.rglob("*") if self.deep else folder.iterdir()


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A dataset on disk.

    Attributes:
        name: the recipe's.
        splits: the folders of each split that is there.
        classes: ids and names.
        unions: splits that others make up, for counting once.
        reader: makes class ids of a mask.
        tiling: windows instead of whole pictures.
        instances: parts a class into instances.
        unlabelled: pictures of splits whose truth is not given out.
        counted_ids: ids whose pixels are counted, by the counter's name.
        published: pictures of each split as published; empty: not compared.
        advice: where to get what is missing, and its licence.
    """

    name: str = "semantic-folder"
    splits: Mapping[str, tuple[SplitFolders, ...]]
    classes: ClassList
    unions: tuple[str, ...] = ("trainval",)
    reader: MapReader = PLAIN
    tiling: Tiling | None = None
    instances: InstanceSplitter | None = None
    unlabelled: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    counted_ids: Mapping[str, Sequence[int]] = field(default_factory=dict)
    published: Mapping[str, Published] = field(default_factory=dict)
    advice: str = ""

    def differences(self, num_pictures: Callable[[str], int | None]) -> list[str]:
        """What the numbers on disk say against the published ones, a message a split."""
        found = {split: num_pictures(split) for split in self.published}
        return count_faults(self.name, found, self.published, "pictures", self.advice)


def count_faults(
    recipe: str,
    found: Mapping[str, int | None],
    published: Mapping[str, Published],
    what: str,
    advice: str,
) -> list[str]:
    """A message for every split whose number is not the published one.

    Args:
        recipe: its name.
        found: by split; None: the split is not there.
        published: by split; several numbers where publications differ.
        what: what is counted, in the plural.
        advice: where to get the dataset, and its licence.
    """
    messages: list[str] = []
    for split, wanted in published.items():
        number = found.get(split)
        valid = wanted if isinstance(wanted, tuple) else (wanted,)
        if number not in valid:
            state = "is not there" if number is None else f"has {number} {what}"
            messages.append(
                f"{recipe}: the split {split!r} {state}, the published dataset has "
                f"{' or '.join(map(str, valid))} {what}. "
                f"For a part of the dataset set counts=false.{_behind(advice)}"
            )
    return messages


def first_with(root: Path, below: Sequence[str], wanted: Sequence[str]) -> Path:
    """``root`` or the first sub-folder of it that holds one of ``wanted``; failing that, root."""
    for name in ("", *below):
        if any((root / name / item).exists() for item in wanted):
            return root / name
    return root


def listed_stems(path: Path) -> tuple[str, ...]:
    """The stems that a list of a split names: one a line, bare or as paths (the first counts).

    Raises:
        RecipeError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"the list {path} cannot be read: {error}. Fetch it again.") from error
    return tuple(Path(line.split()[0]).stem for line in lines if line.strip())


def nothing_found(recipe: str, root: Path, wanted: Sequence[str], advice: str) -> RecipeError:
    """The error for a folder that holds nothing of a dataset."""
    return RecipeError(
        f"{recipe}: {root} holds none of what the dataset's download makes: "
        f"{'; '.join(wanted)}.{_behind(advice)}"
    )


def _behind(advice: str) -> str:
    return advice if advice.startswith("\n") else f" {advice}"
