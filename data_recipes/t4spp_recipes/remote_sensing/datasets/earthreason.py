"""EarthReason: ``earthreason``.

5,434 overhead pictures of 0.5 to 153 m with a mask each and several questions that take reasoning,
over 30,000 questions and answers together; some ask for what the picture does not show. No-data
rule: none. Paper: Li et al., SegEarth-R1: Geospatial Pixel Reasoning via Large Language Model,
2025. Docs: docs/datasets-remote-sensing.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from t4spp.components import Source
from t4spp.errors import RecipeError
from t4spp.types import FURTHER_PHRASE
from t4spp_recipes.natural.coco_annotations import read_json
from t4spp_recipes.natural.pictures import require_folder
from t4spp_recipes.natural.referring.refer_layout import where_to_get
from t4spp_recipes.natural.semantic.layout import first_with, nothing_found
from t4spp_recipes.progress import with_progress
from t4spp_recipes.remote_sensing.datasets.params import EarthReasonConfig
from t4spp_recipes.remote_sensing.datasets.phrase_recipe import (
    MaskRule,
    PhraseEntry,
    PhraseRecipe,
    read_mask,
    writable,
)
from t4spp_recipes.remote_sensing.datasets.sources import EARTHREASON_SOURCES

PUBLISHED = {"train": 2371, "val": 1135, "test": 1928}
"""Pictures."""
_PICTURES = (".jpg", ".jpeg", ".png")
_RULE: MaskRule = "not-black"


class EarthReason(PhraseRecipe):
    """Segment what a question about an overhead picture implies."""

    sources: ClassVar[tuple[Source, ...]] = EARTHREASON_SOURCES

    def __init__(self, config: EarthReasonConfig) -> None:
        """Read the questions.

        Raises:
            RecipeError: there is no split, or a file of questions is malformed.
        """
        advice = "\n" + where_to_get(EARTHREASON_SOURCES)
        root = require_folder(config.root, "earthreason: root", advice)
        below = ("EarthReason", "RSReasonSeg", "rs_reason_seg/RSReasonSeg")
        base = first_with(root, below, tuple(PUBLISHED))
        counters: Counter[str] = Counter()
        self._answered: dict[Path, bool] = {}
        splits: dict[str, list[PhraseEntry]] = {}
        for split in PUBLISHED:
            if _part(base / split, "QAs").is_dir():
                splits[split] = self._entries(base / split, config, counters)
        if not splits:
            wanted = ("{train,val,test}/images", "labels (.png)", "QAs (.json)")
            raise nothing_found("earthreason", root, wanted, advice)
        super().__init__(
            "earthreason",
            splits,
            rule=_RULE,
            counters=counters,
            published=PUBLISHED if config.counts else {},
            what="pictures",
            advice=advice,
        )

    def verify(self) -> list[str]:
        """As every recipe of phrases; besides, answers and masks must agree on there being any."""
        messages = super().verify()
        for mask, answered in with_progress(tuple(self._answered.items()), "comparing", "mask"):
            try:
                shown = bool(read_mask(mask, _RULE).any())
            except RecipeError:
                continue  # told already
            if shown != answered:
                says = "no answer" if shown else "answers"
                messages.append(
                    f"{mask}: the mask shows {'a' if shown else 'no'} target, but the questions "
                    f"have {says}. The mask decides; tell the dataset's authors."
                )
        return messages

    def _entries(
        self, folder: Path, config: EarthReasonConfig, counters: Counter[str]
    ) -> list[PhraseEntry]:
        entries: list[PhraseEntry] = []
        for picture, mask, questions in _triples(folder, config.compat, counters):
            content = _questions(questions)
            self._answered[mask] = bool(content["answer"])
            asked = content["questions"]
            if not asked:
                counters["pictures_without_question"] += 1
            if config.questions == "first":
                counters["further_questions_left_out"] += len(asked[1:])
                asked = asked[:1]
            first = True
            for number, question in enumerate(asked):
                if not question.strip():
                    counters["phrases_empty"] += 1
                    continue
                further, first = not first, False
                prompt, label = writable(question, config.label, counters)
                entries.append(
                    PhraseEntry(
                        id=f"{picture.stem}-{number}",
                        picture=picture,
                        mask=mask,
                        phrase=prompt,
                        label=label,
                        tags=(FURTHER_PHRASE,) if further else (),
                    )
                )
        return entries


def _triples(
    folder: Path, compat: str | None, counters: Counter[str]
) -> list[tuple[Path, Path, Path]]:
    """(picture, mask, questions) of a split, by name; or by position as the published loader."""
    pictures = _files(_part(folder, "images"), _PICTURES)
    masks = _files(_part(folder, "labels"), (".png",))
    questions = _files(_part(folder, "QAs"), (".json", ".txt"))
    if compat == "segearth":
        if min(len(masks), len(questions)) < len(pictures):
            raise RecipeError(
                f"earthreason: {folder} has {len(pictures)} pictures, {len(masks)} labels and "
                f"{len(questions)} files of questions; the published loader breaks there. Complete "
                "the download, or leave compat out."
            )
        return list(zip(pictures, masks, questions, strict=False))
    mask_of = {path.stem: path for path in masks}
    questions_of = {path.stem: path for path in questions}
    picture_of = {path.stem: path for path in pictures}
    counters["pictures_without_questions"] += len(picture_of.keys() - questions_of.keys())
    triples: list[tuple[Path, Path, Path]] = []
    for stem, path in questions_of.items():
        # What is missing is told where it is read: data check, or the sample itself.
        picture = picture_of.get(stem, _part(folder, "images") / f"{stem}.jpg")
        mask = mask_of.get(stem, _part(folder, "labels") / f"{stem}.png")
        triples.append((picture, mask, path))
    return triples


def _part(folder: Path, name: str) -> Path:
    """A folder of a split; an archive may unpack it one deeper: train/train/images."""
    deeper = folder / folder.name / name
    return deeper if deeper.is_dir() and not (folder / name).is_dir() else folder / name


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)


def _questions(path: Path) -> dict[str, list[str]]:
    """``questions`` and ``answer``, lists of texts."""
    content: Any = read_json(path, "the file of questions")
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: expected an object, found a {type(content).__name__}.")
    found: dict[str, list[str]] = {}
    for key in ("questions", "answer"):
        value = content.get(key)
        if not isinstance(value, list) or any(not isinstance(text, str) for text in value):
            raise RecipeError(
                f"{path}: {key!r} must be a list of texts, found {value!r:.80}. Is it a file of "
                "EarthReason's QAs?"
            )
        found[key] = value
    return found
