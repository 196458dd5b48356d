"""The engine of every recipe of pictures with class-id masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from t4spp.components import Recipe
from t4spp.errors import RecipeError
from t4spp.types import Sample
from t4spp_recipes.lazy_samples import LazySamples
from t4spp_recipes.natural.mask_index import MaskRecord, index_masks, pair_faults
from t4spp_recipes.natural.pictures import read_picture
from t4spp_recipes.natural.semantic.draws import draw_prompt
from t4spp_recipes.natural.semantic.layout import ALL, Layout, SplitFolders
from t4spp_recipes.natural.semantic.params import SemanticParams
from t4spp_recipes.natural.semantic.samples import Entry, SampleMaker, UnlabelledMaker, num_pixels
from t4spp_recipes.progress import with_progress
from t4spp_recipes.splits import absent_pairs, unknown_split, val_keys


class SemanticRecipe(Recipe):
    """Segment a class, some classes, or every class, of pictures with class-id masks."""

    def __init__(self, layout: Layout, params: SemanticParams, val_share: float = 0.0) -> None:
        """Remember where the files are; masks are scanned when a split is first opened.

        Raises:
            RecipeError: ``val_share`` with data that have splits of their own.
        """
        self.params = params
        self.layout = layout
        self.val_share = val_share
        if val_share and tuple(layout.splits) != (ALL,):
            raise RecipeError(
                f"{layout.name}: val_share splits one folder, but the data have the splits "
                f"{', '.join(layout.splits)} already. Set val_share to 0."
            )
        self._names = {number: name for name, ids in layout.classes.ids.items() for number in ids}
        self._ranks = {name: rank for rank, name in enumerate(layout.classes.ids)}
        self._records: dict[str, tuple[MaskRecord, ...]] = {}
        self._splits: dict[str, tuple[Sequence[Sample], Counter[str]]] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names that prompts use."""
        return self.layout.classes.names

    def label_ids(self) -> Mapping[str, Sequence[int]]:
        """The ids that each class has in the masks."""
        return self.layout.classes.ids

    @property
    def splits(self) -> tuple[str, ...]:
        """The data's own splits; or ``all``, and with ``val_share`` its parts train and val."""
        found = (*self.layout.splits, *self.layout.unlabelled)
        return (*found, "train", "val") if self.val_share else found

    def samples(self, split: str) -> Sequence[Sample]:
        """The samples of a split, by the masks' names; scans the masks at first.

        Raises:
            RecipeError: unknown split; a mask is damaged, of another size than its picture, or
                holds a class id beyond the list.
        """
        if split not in self.splits:
            raise unknown_split(self.layout.name, split, self.splits)
        if split not in self._splits:
            unlabelled = self.layout.unlabelled.get(split)
            self._splits[split] = self._build(split) if unlabelled is None else self._bare(split)
        return self._splits[split][0]

    def counters(self) -> Mapping[str, int]:
        """What was left out, over the splits opened so far (``all`` and its parts count once)."""
        parts: Counter[str] = Counter()
        whole: Counter[str] = Counter()
        for name, (_, counted) in self._splits.items():
            if name == ALL:
                whole = counted
            elif name not in self.layout.unions:
                parts.update(counted)
            else:
                whole = whole | counted
        return dict(parts | whole)

    def verify(self) -> list[str]:
        """Read every mask and decode every picture; compare their numbers with the published."""
        messages: list[str] = []
        for split, folders in self.layout.splits.items():
            try:
                records = self._scan(split)
            except RecipeError as error:
                messages += self._faults(split) or [str(error)]
                continue
            make = self._maker(folders)
            messages += self._missing_pictures(split, records, make.images)
            for record in with_progress(records, f"reading {split}", "picture"):
                load = None if record.picture is None else make.picture(record)
                try:
                    self.layout.classes.check(record.counts, record.mask)
                    if load is not None:
                        load()
                except RecipeError as error:
                    messages.append(str(error))
        for split, pictures in self.layout.unlabelled.items():
            for picture in with_progress(pictures, f"reading {split}", "picture"):
                try:
                    read_picture(picture)
                except RecipeError as error:
                    messages.append(str(error))
        messages += self.layout.differences(self._num_pictures)
        return list(dict.fromkeys(messages))

    def _missing_pictures(
        self, split: str, records: Sequence[MaskRecord], folders: Sequence[Path]
    ) -> list[str]:
        """One message for all pictures that a split lacks; [] where no folder is asked for."""
        lost = list(dict.fromkeys(record.stem for record in records if record.picture is None))
        if not lost or not folders:
            return []
        where = " and ".join(
            f"{folder}{'' if folder.is_dir() else ' (which is not there)'}" for folder in folders
        )
        return [
            f"{self.layout.name}: {len(lost)} of {len({record.stem for record in records})} "
            f"pictures of the split {split!r} are not in {where}, the first is {lost[0]} (.jpg, "
            ".png, ...). The masks are known, so that commands without pixels still work "
            f"(ceiling). {self.layout.advice.strip() or 'Complete the folder.'}"
        ]

    def _num_pictures(self, split: str) -> int | None:
        """Pictures of a split on disk; None where the split is not there or cannot be read."""
        if split in self.layout.unlabelled:
            return len(self.layout.unlabelled[split])
        if split not in self._records:
            return None
        return len({record.mask for record in self._records[split]})

    def _maker(self, folders: Sequence[SplitFolders]) -> SampleMaker:
        return SampleMaker(
            classes=self.layout.classes,
            min_pixels=self.params.min_pixels,
            images=tuple(item.images for item in folders if item.images is not None),
            reader=self.layout.reader,
            instances=self.layout.instances,
        )

    def _faults(self, split: str) -> list[str]:
        """What is wrong with the files of a split, one by one; [] where the list itself is."""
        try:
            pairs = list(self._pairs(split))
        except RecipeError:
            return []
        return pair_faults(pairs, self.layout.reader)

    def _pairs(self, split: str) -> Iterator[tuple[Path, Path | None]]:
        for folders in self.layout.splits[split]:
            yield from pairs_of(folders, self.layout.name, split)

    def _scan(self, split: str) -> tuple[MaskRecord, ...]:
        if split not in self._records:
            records: list[MaskRecord] = []
            for folders in self.layout.splits[split]:
                records += index_masks(
                    list(pairs_of(folders, self.layout.name, split)),
                    self.params.cache_dir,
                    suffix=folders.suffix,
                    reader=self.layout.reader,
                    tiling=self.layout.tiling,
                )
            repeated = [
                name for name, times in Counter(r.name for r in records).items() if times > 1
            ]
            if repeated:
                raise RecipeError(
                    f"{self.layout.name}: the split {split!r} has the picture {repeated[0]!r} "
                    "twice. Ids come from names, which must be unique in a split; rename one."
                )
            self._records[split] = tuple(records)
        return self._records[split]

    def _bare(self, split: str) -> tuple[Sequence[Sample], Counter[str]]:
        make = UnlabelledMaker(names=self.classes)
        return LazySamples(self.layout.unlabelled[split], make), Counter()

    def _build(self, split: str) -> tuple[Sequence[Sample], Counter[str]]:
        source = split if split in self.layout.splits else ALL
        folders = self.layout.splits[source]
        records: Sequence[MaskRecord] = self._scan(source)
        counters: Counter[str] = Counter()
        if source != split:
            stems = [record.stem for record in records]
            held_out = val_keys(stems, self.val_share, self.params.seed)
            records = [item for item in records if (item.stem in held_out) == (split == "val")]
        else:
            with_mask = {record.stem for record in records}
            for part in folders:
                if part.stems is None and part.images is not None:
                    found = pictures_of(part).keys() - with_mask
                    counters["pictures_without_mask"] += len(found)
        with_images = any(part.images is not None for part in folders)
        for record in records:
            self.layout.classes.check(record.counts, record.mask)
            counters["masks_without_picture"] += record.picture is None and with_images
            counters["classes_below_min_pixels"] += sum(
                pixels < self.params.min_pixels for pixels in self._pixels(record).values()
            )
            for name, counted in self.layout.counted_ids.items():
                counters[name] += num_pixels(record, counted)
        if self.params.prompts == "segment-all":
            kind = self.params.segment_all_kind
            entries = [Entry(record=item, id=item.name, kind=kind) for item in records]
        elif self.params.prompts == "mixed":
            entries = self._mixed_entries(records, counters)
        else:
            entries = self._class_entries(records, counters)
        return LazySamples(entries, self._maker(folders)), +counters

    def _pixels(self, record: MaskRecord) -> dict[str, int]:
        """Pixels of each class that has any, in the order of the class list."""
        found: Counter[str] = Counter()
        for number, pixels in record.counts.items():
            if number in self._names:
                found[self._names[number]] += pixels
        return {name: found[name] for name in sorted(found, key=self._ranks.__getitem__)}

    def _shown(self, record: MaskRecord) -> list[str]:
        least = self.params.min_pixels
        return [name for name, pixels in self._pixels(record).items() if pixels >= least]

    def _mixed_entries(self, records: Sequence[MaskRecord], counters: Counter[str]) -> list[Entry]:
        entries: list[Entry] = []
        for item in records:
            shown = self._shown(item)
            if not shown:
                counters["pictures_without_class"] += 1
                continue
            here = self._pixels(item)
            absent = [name for name in self.classes if name not in here]
            for number in range(self.params.rounds):
                key = f"{self.params.seed}:{item.name}:{number}"
                kind, names = draw_prompt(self.params.kinds, shown, absent, key)
                counters[f"prompts_{kind}"] += 1
                suffix = f"-{number}" if self.params.rounds > 1 else ""
                entries.append(Entry(record=item, id=item.name + suffix, kind=kind, names=names))
        return entries

    def _class_entries(self, records: Sequence[MaskRecord], counters: Counter[str]) -> list[Entry]:
        present = {record.name: self._shown(record) for record in records}
        candidates: dict[str, list[str]] = {}
        if self.params.no_target_share:
            used = dict.fromkeys(name for names in present.values() for name in names)
            for record in records:
                here = self._pixels(record)
                candidates[record.name] = [name for name in used if name not in here]
        absent, lacking = absent_pairs(
            candidates,
            sum(map(len, present.values())),
            self.params.no_target_share,
            self.params.seed,
        )
        counters["no_target_prompts"] = sum(map(len, absent.values()))
        counters["no_target_prompts_lacking"] = lacking
        entries: list[Entry] = []
        for item in records:
            asked = (("", present[item.name]), ("no-", absent.get(item.name, [])))
            for mark, names in asked:
                entries += [
                    Entry(
                        record=item, id=f"{item.name}-{mark}{name}", kind="partial", names=(name,)
                    )
                    for name in names
                ]
        return entries


def pictures_of(folders: SplitFolders) -> dict[str, Path]:
    """The pictures of a split by stem, JPEG before others; none where the folder is not there."""
    assert folders.images is not None  # the callers' own rule
    if not folders.images.is_dir():
        return {}
    files = [
        path
        for path in folders.files(folders.images)
        if path.suffix.lower() in folders.picture_suffixes
        and not path.stem.endswith(folders.not_pictures)
    ]
    rank = folders.picture_suffixes.index
    files.sort(key=lambda path: rank(path.suffix.lower()), reverse=True)
    return {path.stem: path for path in files}


def pairs_of(folders: SplitFolders, recipe: str, split: str) -> Iterator[tuple[Path, Path | None]]:
    """(mask, picture or None) of a split.

    Raises:
        RecipeError: there is no mask, or the split lists one that is not there.
    """
    masks = {
        path.stem.removesuffix(folders.suffix): path
        for path in sorted(folders.files(folders.masks))
        if path.suffix.lower() in folders.mask_suffixes
        and path.stem.endswith(folders.suffix)
        and not path.stem.endswith(folders.not_masks)
    }
    if not masks:
        raise RecipeError(
            f"{recipe}: {folders.masks} holds no masks "
            f"({', '.join(f'*{folders.suffix}{suffix}' for suffix in folders.mask_suffixes)}). "
            "Is it the right folder, and is it unpacked?"
        )
    pictures = {} if folders.images is None else pictures_of(folders)
    for stem in masks if folders.stems is None else folders.stems:
        if stem not in masks:
            raise RecipeError(
                f"{recipe}: the split {split!r} lists {stem!r}, but {folders.masks} has no "
                "mask of that name. Fetch the dataset again, or mend the list."
            )
        yield masks[stem], pictures.get(stem)
