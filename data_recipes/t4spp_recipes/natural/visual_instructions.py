"""Questions and answers in words about pictures: ``visual-instructions``.

Layouts: LLaVA's conversations (Liu et al., Visual Instruction Tuning, 2023), VQAv2's questions and
annotations (Goyal et al., 2017), POPE's yes and no (Li et al., 2023), and JSON lines of a question
with its answers. Nothing is segmented; samples are dialogues. Docs: docs/dialogue.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import ClassVar

from t4spp.components import Recipe, Source
from t4spp.errors import RecipeError
from t4spp.pictures import picture_size
from t4spp.types import Sample
from t4spp_recipes.lazy_samples import LazySamples
from t4spp_recipes.natural.instruction_config import INSTRUCTION_SOURCES, VisualInstructionsConfig
from t4spp_recipes.natural.instruction_records import (
    KNOWN_COUNTS,
    Talk,
    TalkFile,
    Turn,
    read_talks,
)
from t4spp_recipes.natural.pictures import (
    PictureFile,
    PictureFolder,
    read_picture,
    require_folder,
)
from t4spp_recipes.progress import with_progress
from t4spp_recipes.splits import unknown_split, val_keys

NAME = "visual-instructions"
ALL = "all"
_SPLIT_IN_NAME = re.compile(r"(?<![a-z])(train|val|test)(?![a-z])", re.IGNORECASE)
_COCO_NAME = re.compile(r"\d{12}$")
_ADVICE = (
    "Give the folder under which the annotations' pictures lie: for LLaVA's mixture the one with "
    "coco, gqa, ocr_vqa, textvqa and vg in it, for VQAv2 and POPE COCO's val2014 or train2014 "
    "(https://cocodataset.org/#download; pictures under their Flickr licences)."
)


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """One question, with the turns before it."""

    id: str
    image: str
    turn: Turn
    context: tuple[tuple[str, str], ...]
    tags: tuple[str, ...]
    labels: ClassVar[tuple[str, ...]] = ()
    """A question in words is about none, which is known without its picture."""


class _SampleMaker:
    """Turns entries into samples; picklable."""

    def __init__(self, where: str, pictures: PictureFolder, instruction: str) -> None:
        self.where = where
        self.pictures = pictures
        self.instruction = instruction

    def __call__(self, entry: _Entry) -> Sample:
        path = find_picture(self.pictures, entry.image)
        if path is None:
            raise RecipeError(
                f"{NAME}: the picture {entry.image} of question {entry.id!r} was not found under "
                f"{self.pictures.root}. Complete the folder, or set missing_pictures=skip to leave "
                "out, and count, such questions."
            )
        size = _size_of(path)
        return Sample(
            id=entry.id,
            size=size,
            prompt=self.asked(entry.turn.question),
            targets=(),
            load_image=PictureFile(path=path, size=size, masks=self.where),
            kind="dialogue",
            image_id=entry.image,
            tags=entry.tags,
            answers=entry.turn.answers,
            context=tuple((self.asked(question), answer) for question, answer in entry.context),
        )

    def asked(self, question: str) -> str:
        """A question with the instruction behind it."""
        return f"{question}\n{self.instruction}" if self.instruction else question


def find_picture(pictures: PictureFolder, name: str) -> Path | None:
    """The file of a picture; None if there is none.

    A name with folders is found in those folders alone: mixtures have pictures of one name from
    several datasets. COCO's names of twelve digits are found anywhere.
    """
    path = pictures.root / name
    if path.is_file():
        return path
    bare = PurePosixPath(name)
    if len(bare.parts) > 1 and not _COCO_NAME.search(bare.stem):
        return None
    return pictures.find(bare.name)


@lru_cache(maxsize=4096)
def _size_of(path: Path) -> tuple[int, int]:
    return picture_size(path)


class VisualInstructions(Recipe):
    """Answer questions about pictures in words."""

    sources: ClassVar[tuple[Source, ...]] = INSTRUCTION_SOURCES

    def __init__(self, config: VisualInstructionsConfig) -> None:
        """Read the annotation files (not the pictures).

        Raises:
            RecipeError: a file or folder is missing or malformed.
        """
        self.config = config
        given = config.annotations
        paths = given if isinstance(given, dict) else {ALL: given}
        self._files = {
            name: read_talks(path, config.layout, self._questions(name))
            for name, path in paths.items()
        }
        self._pictures = {name: self._folder(name) for name in self._files}
        self._splits: dict[str, tuple[LazySamples[_Entry], Counter[str]]] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """``all`` and, where they are known, parts of it; or the names in ``annotations``.

        Parts: train and val of ``val_share``; else the one split that the file's name states.
        """
        if isinstance(self.config.annotations, dict):
            return tuple(self.config.annotations)
        if self.config.val_share:
            return (ALL, "train", "val")
        named = set(_SPLIT_IN_NAME.findall(self.config.annotations.name.lower()))
        return (ALL, *named) if len(named) == 1 else (ALL,)

    def samples(self, split: str) -> Sequence[Sample]:
        """The questions of a split, in the file's order.

        Raises:
            RecipeError: unknown split, or with ``missing_pictures=skip`` no picture is there.
        """
        if split not in self.splits:
            raise unknown_split(NAME, split, self.splits)
        if split not in self._splits:
            self._splits[split] = self._build(split)
        return self._splits[split][0]

    def counters(self) -> Mapping[str, int]:
        """What was left out or changed, over the files and the splits opened so far.

        Of splits that overlap (``all`` and its parts), the largest count stands.
        """
        total: Counter[str] = Counter()
        for file in self._files.values():
            total.update(file.counters)
        parts: Counter[str] = Counter()
        for name, (_, counted) in self._splits.items():
            if name != ALL:
                parts.update(counted)
        return dict(total + (parts | self._splits.get(ALL, (None, Counter()))[1]))

    def verify(self) -> list[str]:
        """Count the records of files that are known by name, and decode every picture."""
        messages: list[str] = []
        for name, file in self._files.items():
            expected = KNOWN_COUNTS.get(file.path.name)
            if expected is not None and file.num_records != expected:
                messages.append(
                    f"{file.path}: {file.num_records} records, and the file of this name is "
                    f"distributed with {expected}. Fetch it again, or give a part another name."
                )
            pictures = self._pictures[name]
            images = tuple(dict.fromkeys(talk.image for talk in file.talks))
            missing: list[str] = []
            for image in with_progress(images, f"reading {name}", "picture"):
                path = find_picture(pictures, image)
                if path is None:
                    missing.append(image)
                    continue
                try:
                    read_picture(path)
                except RecipeError as error:
                    messages.append(str(error))
            if missing:
                messages.append(
                    f"{len(missing)} of {len(images)} pictures of {file.path} are not under "
                    f"{pictures.root}, the first is {missing[0]}. {_ADVICE}"
                )
        return messages

    def _questions(self, split: str) -> Path | None:
        given = self.config.questions
        if isinstance(given, dict):
            if split not in given:
                raise RecipeError(
                    f"{NAME}: 'questions' names the splits {', '.join(given)}, but 'annotations' "
                    f"has {split!r}. Give both the same names."
                )
            return given[split]
        return given

    def _folder(self, split: str) -> PictureFolder:
        images = self.config.images
        if isinstance(images, dict):
            if split not in images:
                raise RecipeError(
                    f"{NAME}: 'images' names the splits {', '.join(images)}, but 'annotations' has "
                    f"{split!r}. Give both the same names, or one folder for all."
                )
            images = images[split]
        return PictureFolder(require_folder(images, f"{NAME}: 'images'", _ADVICE))

    def _build(self, split: str) -> tuple[LazySamples[_Entry], Counter[str]]:
        source = split if split in self._files else ALL
        file, pictures = self._files[source], self._pictures[source]
        counters: Counter[str] = Counter()
        talks = self._chosen(split, file)
        if self.config.missing_pictures == "skip":
            present = [talk for talk in talks if find_picture(pictures, talk.image) is not None]
            counters["records_without_picture"] = len(talks) - len(present)
            talks = present
            if not talks:
                raise RecipeError(
                    f"{NAME}: none of the {counters['records_without_picture']} pictures of "
                    f"{file.path} is under {pictures.root}. {_ADVICE}"
                )
        make = _SampleMaker(str(file.path), pictures, self.config.instruction)
        return LazySamples(self._entries(talks, counters), make), +counters

    def _chosen(self, split: str, file: TalkFile) -> list[Talk]:
        if not self.config.val_share or split in self._files:
            return list(file.talks)
        images = list(dict.fromkeys(talk.image for talk in file.talks))
        held_out = val_keys(images, self.config.val_share, self.config.seed)
        return [talk for talk in file.talks if (talk.image in held_out) == (split == "val")]

    def _entries(self, talks: Sequence[Talk], counters: Counter[str]) -> list[_Entry]:
        """A question each; ids that records share are told apart by a number."""
        entries: list[_Entry] = []
        ids = _Ids()
        for talk in talks:
            turns = talk.turns if self.config.turns == "all" else talk.turns[:1]
            counters["further_turns_left_out"] += len(talk.turns) - len(turns)
            for place, turn in enumerate(turns):
                entries.append(
                    _Entry(
                        id=ids.of(f"{talk.id}-{place + 1}" if len(talk.turns) > 1 else talk.id),
                        image=talk.image,
                        turn=turn,
                        context=tuple((one.question, one.answers[0]) for one in turns[:place]),
                        tags=talk.tags,
                    )
                )
        counters["ids_that_repeat"] = ids.num_changed
        return entries


class _Ids:
    """Tells apart what has one id."""

    def __init__(self) -> None:
        self._used: Counter[str] = Counter()
        self.num_changed = 0

    def of(self, wanted: str) -> str:
        """The id, or the first of ``id#2``, ``id#3``... that nobody has yet."""
        self._used[wanted] += 1
        if self._used[wanted] == 1:
            return wanted
        self.num_changed += 1
        while (found := f"{wanted}#{self._used[wanted]}") in self._used:
            self._used[wanted] += 1
        self._used[found] += 1
        return found
