"""Which class ids a mask may hold, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from t4spp.errors import RecipeError
from t4spp.schemes.labels import label_fault
from t4spp.types import BACKGROUND

BACKGROUND_NAMES = (BACKGROUND, "background", "_background_")
IGNORED_LINE = "__ignore__"
"""labelme's class files begin with it; it stands for id -1, which is void."""


@dataclass(frozen=True, kw_only=True)
class ClassList:
    """The classes of a dataset.

    Attributes:
        ids: class ids by name; a name may have several.
        background: ids that are scored but never asked for.
        void: ids that are not scored.
    """

    ids: Mapping[str, tuple[int, ...]]
    background: frozenset[int]
    void: frozenset[int]

    @property
    def names(self) -> tuple[str, ...]:
        """The names that prompts use, by falling precedence of their ids."""
        return tuple(self.ids)

    def check(self, counts: Mapping[int, int], mask: Path) -> None:
        """Compare the ids of a mask with the list.

        Raises:
            RecipeError: an id is neither a class, nor background, nor void.
        """
        known = {number for ids in self.ids.values() for number in ids}
        for number, pixels in counts.items():
            if number not in known and number not in self.background and number not in self.void:
                last = max((*known, *self.background))
                raise RecipeError(
                    f"the mask {mask} holds the class id {number} in {pixels} pixels, but the "
                    f"class list has {len(self.ids)} classes (ids up to {last}) and void is "
                    f"{sorted(self.void)}. Complete 'classes', or add {number} to 'void'."
                )


def make_class_list(
    names: Mapping[int, str],
    *,
    void: Sequence[int],
    background: Sequence[int] | None = None,
    where: str = "'classes'",
) -> ClassList:
    """Sort class names by what they are for; names are kept as written.

    Args:
        names: by id.
        void: ids that are not scored, in ``names`` or not.
        background: ids of the background; None: those with a name of ``BACKGROUND_NAMES``.
        where: what the list came from, for errors.

    Raises:
        RecipeError: a name is empty or none that a descriptor can carry, or none is left.
    """
    chosen = (
        [number for number, name in names.items() if name in BACKGROUND_NAMES]
        if background is None
        else list(background)
    )
    ids: dict[str, tuple[int, ...]] = {}
    for number, name in sorted(names.items()):
        if not name.strip():
            raise RecipeError(f"{where}: class {number} has an empty name; every class needs one.")
        if number not in void and number not in chosen:
            fault = label_fault(name, max_chars=len(name))  # schemes bound the length
            if fault is not None:
                raise RecipeError(
                    f"{where}: class {number} is called {name!r}, which no descriptor can carry: "
                    f"{fault}. Rename it."
                )
            ids[name] = (*ids.get(name, ()), number)
    if not ids:
        raise RecipeError(f"{where}: no class is left to segment; all are void or background.")
    return ClassList(ids=ids, background=frozenset(chosen), void=frozenset(void))


def read_class_names(given: Sequence[str] | Mapping[int, str] | Path) -> dict[int, str]:
    """Class names by id, from a list, a mapping, or a file of one name a line.

    Raises:
        RecipeError: the file cannot be read, or a list holds a name twice.
    """
    if isinstance(given, Mapping):
        return dict(given)
    where = "'classes'"
    if isinstance(given, Path):
        where = str(given)
        try:
            lines = given.expanduser().read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise RecipeError(
                f"the class file {given} cannot be read: {error.strerror or error}. It holds one "
                "name a line, the first line for class id 0."
            ) from error
        except UnicodeDecodeError as error:
            raise RecipeError(f"the class file {given} is not UTF-8: {error.reason}.") from error
        while lines and not lines[-1].strip():
            lines.pop()
        given = lines[1:] if lines and lines[0] == IGNORED_LINE else lines
    repeated = [name for name in given if list(given).count(name) > 1]
    if repeated:
        raise RecipeError(
            f"{where}: the class {repeated[0]!r} occurs twice. To merge ids under one name, give a "
            "mapping of ids to names."
        )
    return dict(enumerate(given))
