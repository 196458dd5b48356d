"""The refs of the REFER datasets: read from their pickle or JSON, checked field by field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t4spp.errors import RecipeError
from t4spp_recipes.natural.coco_annotations import Id, read_json
from t4spp_recipes.natural.referring.safe_pickle import read_plain_pickle

NO_TARGET = -1
"""gRefCOCO's annotation id of an expression that nothing in the picture matches."""
MAX_SPLIT_CHARS = 40
MAX_SPLITS = 40
"""Names of splits that a file may use; the datasets have eleven at the most."""
_TEST_PARTS = ("A", "B", "C")


@dataclass(frozen=True, kw_only=True, slots=True)
class Phrase:
    """One expression. ``sent``: cleaned by the dataset; ``raw``: as it was typed, if known."""

    id: Id
    sent: str
    raw: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ref:
    """What one object, or a set of objects, of a picture is called. No ids: no such object."""

    id: Id
    image_id: Id
    annotation_ids: tuple[Id, ...]
    split: str
    phrases: tuple[Phrase, ...]


def read_refs(path: Path) -> tuple[Ref, ...]:
    """The refs of a pickle (``.p``) or JSON file, in its order.

    Raises:
        RecipeError: the file is missing, damaged, hostile, or a record lacks what it needs.
    """
    what = "the file of referring expressions"
    content = read_json(path, what) if path.suffix == ".json" else read_plain_pickle(path)
    if not isinstance(content, list) or not content:
        raise RecipeError(
            f"{path}: expected a list of refs, found a {type(content).__name__}"
            f"{' without any' if content == [] else ''}. Is it the dataset's own file?"
        )
    refs = tuple(_ref(record, f"{path}: ref {number}") for number, record in enumerate(content))
    splits = dict.fromkeys(ref.split for ref in refs)
    if len(splits) > MAX_SPLITS:
        raise RecipeError(
            f"{path} names {len(splits)} splits, {', '.join(list(splits)[:5])} ... Datasets have "
            "train, val and test or parts of it. Is it the dataset's own file? Fetch it again."
        )
    return refs


def splits_of(refs: Sequence[Ref]) -> tuple[str, ...]:
    """The splits that refs name, in order: train, val, test and its parts.

    refCLEF has refs of several parts (``testAB``); they belong to each of them.
    """
    named = dict.fromkeys(ref.split for ref in refs)
    found: dict[str, None] = {}
    for name in named:
        letters = name.removeprefix("test")
        if name.startswith("test") and letters and set(letters) <= set(_TEST_PARTS):
            found.update(dict.fromkeys(f"test{letter}" for letter in letters))
        else:
            found[name] = None
    order = ("train", "val", "test", *(f"test{letter}" for letter in _TEST_PARTS))
    known = [name for name in order if name in found]
    return (*known, *(name for name in found if name not in order))


def belongs(ref: Ref, split: str) -> bool:
    """Whether a ref is of a split; ``testAB`` is of testA and of testB."""
    if split.startswith("test") and split[4:] in _TEST_PARTS:
        return ref.split.startswith("test") and split[4] in ref.split[4:]
    return ref.split == split


def _ref(record: Any, where: str) -> Ref:
    if not isinstance(record, dict):
        raise RecipeError(f"{where} must be a dictionary, found a {type(record).__name__}.")
    annotation = _field(record, "ann_id", where)
    ids = annotation if isinstance(annotation, list | tuple) else [annotation]
    sentences = _field(record, "sentences", where)
    if not isinstance(sentences, list | tuple):
        raise RecipeError(f"{where}: sentences is a {type(sentences).__name__}, not a list.")
    # grefs(unc).json says it a second time with "no_target"; the id alone decides.
    return Ref(
        id=_id(_field(record, "ref_id", where), "ref_id", where),
        image_id=_id(_field(record, "image_id", where), "image_id", where),
        annotation_ids=tuple(
            number for number in (_id(one, "ann_id", where) for one in ids) if number != NO_TARGET
        ),
        split=_split(_field(record, "split", where), where),
        phrases=tuple(
            _phrase(sentence, f"{where}, sentence {number}")
            for number, sentence in enumerate(sentences)
        ),
    )


def _split(value: Any, where: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_SPLIT_CHARS:
        raise RecipeError(
            f"{where}: split must be a short text such as train, found {_shown(value)}."
        )
    return value


def _phrase(record: Any, where: str) -> Phrase:
    if not isinstance(record, dict):
        raise RecipeError(f"{where} must be a dictionary, found a {type(record).__name__}.")
    sent, raw = _field(record, "sent", where), record.get("raw")
    if not isinstance(sent, str) or not isinstance(raw, str | None):
        raise RecipeError(f"{where}: 'sent' and 'raw' must be texts.")
    return Phrase(id=_id(_field(record, "sent_id", where), "sent_id", where), sent=sent, raw=raw)


def _field(record: dict[Any, Any], key: str, where: str) -> Any:
    if key not in record:
        names = ", ".join(str(name)[:20] for name in list(record)[:20])
        raise RecipeError(f"{where} has no {key!r}; it has {names or 'nothing'}.")
    return record[key]


def _id(value: Any, key: str, where: str) -> Id:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise RecipeError(f"{where}: {key} must be a number or a text, found {_shown(value)}.")
    return value


def _shown(value: Any) -> str:
    """A value for an error; never the whole of a large one."""
    if isinstance(value, list | tuple | dict):
        return f"a {type(value).__name__} of {len(value)}"
    return repr(value[:60] if isinstance(value, str) else value)
