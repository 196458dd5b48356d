"""Lists of phrases: ``output_phrase_train.txt`` and its like, a name and a phrase a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from t4spp.errors import RecipeError
from t4spp_recipes.remote_sensing.datasets.phrase_recipe import PhraseEntry, writable

SPLITS = ("train", "val", "test")


def list_of(base: Path, split: str) -> Path:
    """The list of a split."""
    return base / f"output_phrase_{split}.txt"


def read_phrase_list(path: Path) -> tuple[list[tuple[int, str, str]], int]:
    """(line number from 0, file name, phrase) of every line, and how many have no phrase.

    Raises:
        RecipeError: the file cannot be read.
    """
    try:
        # Not splitlines: a phrase may hold U+2028 and its like, which end no line of the list.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"the list {path} cannot be read: {error}. Fetch it again.") from error
    found: list[tuple[int, str, str]] = []
    without = 0
    for number, line in enumerate(lines):
        name, _, phrase = line.strip().partition(" ")
        if name and phrase.strip():
            found.append((number, name, phrase.strip()))
        elif name:
            without += 1
    return found, without


def entries_of_lists(
    base: Path,
    files: Callable[[str], tuple[Path, Path]],
    label: str | None,
    counters: Counter[str],
) -> Mapping[str, tuple[PhraseEntry, ...]]:
    """The entries of every split whose list is there.

    Args:
        base: the folder of the lists.
        files: the name in a line -> (picture, mask).
        label: what answers call the region; None: the phrase.
        counters: are added to.

    Raises:
        RecipeError: a list cannot be read.
    """
    splits: dict[str, tuple[PhraseEntry, ...]] = {}
    for split in SPLITS:
        if not list_of(base, split).is_file():
            continue
        lines, without = read_phrase_list(list_of(base, split))
        counters["phrases_empty"] += without
        entries: list[PhraseEntry] = []
        for number, name, phrase in lines:
            picture, mask = files(name)
            prompt, own = writable(phrase, label, counters)
            # One picture may be named twice, so that the line is part of the id.
            entries.append(
                PhraseEntry(
                    id=f"{picture.stem}-{number}",
                    picture=picture,
                    mask=mask,
                    phrase=prompt,
                    label=own,
                )
            )
        splits[split] = tuple(entries)
    return splits
