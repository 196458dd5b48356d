"""The same ground under runs whose windows differ: at several resolutions, sizes or strides.

A place is a window of the run with the largest windows. Every run's answers to the windows that
meet it are laid on one grid of pixels over it, so that they can be set side by side, and compared
with the truth of the run with the finest windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.decoding.prediction import Prediction
from t4spp.errors import RunError, T4sppError
from t4spp.evaluation.pairs import read_answer, truth_of
from t4spp.plugins import Catalogue
from t4spp.report.compared import ComparedAnswer, ComparedCard, ComparedGroup
from t4spp.report.gallery import PICTURE_SIDE, Panel, data_uri, masks_picture
from t4spp.report.overlay import label_colours
from t4spp.report.runs import RunView, Stage, find_samples, open_stage
from t4spp.report.window_rows import WindowRow, layers_of, read_window_rows
from t4spp.types import BoolMask, GeoRef, Image, Sample

LEAST_COVER = 0.9
"""Share of a place that every run's windows must show."""
LEAST_OVERLAP = 0.005
"""Share of a place that a window must show to be laid on it."""
LEAST_NEW = 0.5
"""A place of which more than this share was shown already is passed over."""
_RANK = {"ok": 0, "repaired": 1, "invalid": 2}


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A window of a run that shows some of a place.

    Attributes:
        row: the window.
        share: of the window that lies in the place.
        cover: of the place that the window shows.
    """

    row: WindowRow
    share: float
    cover: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """Ground that all runs answered about.

    Attributes:
        row: the window of the run with the largest ones.
        parts: of every run.
        ious: of every run, the mean over its windows, weighed by what they show of the place.
    """

    row: WindowRow
    parts: tuple[tuple[Part, ...], ...]
    ious: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A grid of pixels over a place: (H, W) and the affine transform (a, b, c, d, e, f)."""

    size: tuple[int, int]
    transform: tuple[float, float, float, float, float, float]

    @classmethod
    def over(cls, geo: GeoRef, size: tuple[int, int], side: int = PICTURE_SIDE) -> Frame:
        """The ground of a picture of (H, W) pixels, ``side`` pixels on its longer side."""
        scale = side / max(size)
        height, width = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        a, b, c, d, e, f = geo.transform
        across, down = size[1] / width, size[0] / height
        return cls(
            size=(height, width), transform=(a * across, b * down, c, d * across, e * down, f)
        )

    def places(self, geo: GeoRef) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(rows, columns), int64[H, W]: the pixel of a picture that each pixel's centre lies on."""
        rows, columns = np.mgrid[: self.size[0], : self.size[1]] + 0.5
        a, b, c, d, e, f = self.transform
        x, y = a * columns + b * rows + c, d * columns + e * rows + f
        a, b, c, d, e, f = geo.transform
        scale = a * e - b * d
        own_columns = (e * (x - c) - b * (y - f)) / scale
        own_rows = (a * (y - f) - d * (x - c)) / scale
        return np.floor(own_rows).astype(np.int64), np.floor(own_columns).astype(np.int64)


def compared_places(
    views: Sequence[RunView], catalogue: Catalogue, per_group: int, notes: list[str]
) -> list[ComparedGroup]:
    """Places where the runs differ most, which are hardest and best; none where they share none.

    Args:
        views: the runs; each needs the layers that ``t4spp evaluate`` writes.
        catalogue: the plugins.
        per_group: places in each group.
        notes: gets a sentence about what could not be pictured.

    Raises:
        RunError: layers are damaged, or answers are another scheme's.
    """
    try:
        tables = [read_window_rows(layers_of(view)) for view in views]
    except ImportError:
        notes.append('No places: the layers need pip install "t4spp[geo]" to be read.')
        return []
    if not all(tables):
        return []
    places = find_places(tables)
    if not places:
        notes.append("The runs have no ground in common, so none is pictured.")
        return []
    try:
        stages = [open_stage(view, catalogue) for view in views]
    except RunError:
        raise
    except T4sppError as error:
        notes.append(f"No pictures: the samples cannot be opened here. {error}")
        return []
    notes.extend(
        f"{view.label}: {stage.refiner_fault}"
        for view, stage in zip(views, stages, strict=True)
        if stage.refiner_fault
    )
    chosen = _chosen(places, per_group)
    samples = [
        find_samples(
            view,
            stage.samples,
            {part.row.id for _, _, own in chosen for place in own for part in place.parts[number]},
        )
        for number, (view, stage) in enumerate(zip(views, stages, strict=True))
    ]
    finest = min(range(len(views)), key=lambda number: _median_area(tables[number]))
    groups = []
    for title, note, own in chosen:
        cards = []
        for place in own:
            try:
                cards.append(_card(place, views, stages, samples, finest))
            except T4sppError as error:
                notes.append(f"No picture of {place.row.scene}, {place.row.label!r}: {error}")
        if cards:
            groups.append(ComparedGroup(title=title, note=note, cards=tuple(cards)))
    return groups


def find_places(tables: Sequence[Sequence[WindowRow]]) -> list[Place]:
    """The windows of the run with the largest ones that every run shows, in that run's order."""
    import shapely

    largest = max(range(len(tables)), key=lambda number: _median_area(tables[number]))
    trees = [shapely.STRtree([row.outline for row in table]) for table in tables]
    places = []
    for row in tables[largest]:
        parts = tuple(
            tuple(_parts(row, (table[int(index)] for index in tree.query(row.outline))))
            for table, tree in zip(tables, trees, strict=True)
        )
        covers = [
            shapely.union_all([part.row.outline for part in own]).intersection(row.outline).area
            for own in parts
        ]
        ious = [_mean_iou(own) for own in parts]
        if min(covers) < LEAST_COVER * row.outline.area or None in ious:
            continue
        places.append(
            Place(row=row, parts=parts, ious=tuple(iou for iou in ious if iou is not None))
        )
    return places


def _parts(row: WindowRow, near: Iterable[WindowRow]) -> Iterable[Part]:
    for other in near:
        if (other.scene, other.label, other.crs) != (row.scene, row.label, row.crs):
            continue
        shared = other.outline.intersection(row.outline).area
        if shared >= LEAST_OVERLAP * row.outline.area:
            yield Part(
                row=other, share=shared / other.outline.area, cover=shared / row.outline.area
            )


def _mean_iou(parts: Sequence[Part]) -> float | None:
    known = [(part.row.iou, part.cover) for part in parts if part.row.iou is not None]
    total = sum(cover for _, cover in known)
    return sum(iou * cover for iou, cover in known) / total if total else None


def _median_area(rows: Sequence[WindowRow]) -> float:
    return float(np.median([row.outline.area for row in rows]))


def _chosen(places: Sequence[Place], per_group: int) -> list[tuple[str, str, list[Place]]]:
    shown: list[Place] = []
    chosen = []
    for title, note, key in (
        ("Where the runs differ most", "largest gap in IoU", _gap),
        ("Hardest for all", "lowest mean IoU", lambda place: sum(place.ious)),
        ("Best for all", "highest mean IoU", lambda place: -sum(place.ious)),
    ):
        own: list[Place] = []
        for place in sorted(places, key=key):
            if len(own) == per_group:
                break
            if not any(_same_ground(place, other) for other in shown):
                own.append(place)
                shown.append(place)
        chosen.append((title, note, own))
    return chosen


def _same_ground(one: Place, other: Place) -> bool:
    """Whether two places show mostly the same, as windows do that overlap."""
    if (one.row.scene, one.row.label) != (other.row.scene, other.row.label):
        return False
    shared = one.row.outline.intersection(other.row.outline).area
    return bool(shared > LEAST_NEW * one.row.outline.area)


def _gap(place: Place) -> float:
    return min(place.ious) - max(place.ious)


def _card(
    place: Place,
    views: Sequence[RunView],
    stages: Sequence[Stage],
    samples: Sequence[dict[str, Sample]],
    finest: int,
) -> ComparedCard:
    label = place.row.label
    own = [
        [(part, found[part.row.id]) for part in parts if part.row.id in found]
        for parts, found in zip(place.parts, samples, strict=True)
    ]
    largest = max(
        (pair for pairs in own for pair in pairs),
        key=lambda pair: (pair[0].cover, pair[0].row.outline.area),
        default=None,
    )
    reference = None if largest is None else largest[1]
    if reference is None or reference.geo is None or not all(own):
        raise RunError("a run's recipe no longer has the samples that it answered")
    frame = Frame.over(reference.geo, reference.size)
    image = _pictured(frame, [sample for _, sample in own[finest]])
    truth, counted = _true(frame, [sample for _, sample in own[finest]], label)
    colours = label_colours({label})
    answers = []
    for view, stage, pairs in zip(views, stages, own, strict=True):
        by_id = {prediction.id: prediction for prediction in view.predictions}
        answers.append(
            _answer(view, stage, [(part, s, by_id[s.id]) for part, s in pairs], frame, label)
        )
    return ComparedCard(
        id=f"{place.row.scene} · {place.row.id}",
        prompt=reference.prompt,
        panels=(
            Panel(title="Image", uri=data_uri(image), alt=f"picture of {place.row.scene}"),
            Panel(
                title="Truth",
                uri=masks_picture(image, [(label, truth)], colours),
                alt="true mask",
            ),
        ),
        answers=tuple(
            ComparedAnswer(
                run=view.label,
                iou=_iou(mask & counted, truth & counted),
                status=status,
                problems=problems,
                num_tokens=tokens,
                text=text,
                panel=Panel(
                    title=view.label,
                    uri=masks_picture(image, [(label, mask)], colours),
                    alt=f"mask answered by {view.label}",
                ),
            )
            for view, (mask, status, problems, tokens, text) in zip(views, answers, strict=True)
        ),
    )


def _answer(
    view: RunView,
    stage: Stage,
    windows: Sequence[tuple[Part, Sample, Prediction]],
    frame: Frame,
    label: str,
) -> tuple[BoolMask, str, tuple[str, ...], int | None, str]:
    """A run's mask of a place, its worst status, problems, tokens and texts."""
    masks: list[tuple[GeoRef, BoolMask]] = []
    status = "ok"
    problems: dict[str, None] = {}
    tokens: float | None = 0.0
    texts = []
    for part, sample, prediction in windows:
        decoded = read_answer(sample, prediction, stage.scheme, stage.refiner)[1]
        assert sample.geo is not None
        masks.append((sample.geo, decoded.union(label, sample.size)))
        status = max(status, decoded.status, key=_RANK.__getitem__)
        problems.update(dict.fromkeys(problem.code for problem in decoded.problems))
        if tokens is not None:
            known = prediction.num_tokens
            tokens = None if known is None else tokens + known * part.share
        texts.append(prediction.text)
    spent = None if tokens is None else round(tokens)
    return laid(frame, masks), status, tuple(problems), spent, "\n\n".join(texts)


def laid(frame: Frame, masks: Sequence[tuple[GeoRef, BoolMask]]) -> BoolMask:
    """Masks of pictures on a frame, bool[H, W]; where several lie, at least half must say so."""
    votes = np.zeros(frame.size, dtype=np.int32)
    shown = np.zeros(frame.size, dtype=np.int32)
    for geo, mask in masks:
        inside, values = _taken(frame, geo, mask)
        votes[inside] += values
        shown[inside] += 1
    says: BoolMask = (votes * 2 >= shown) & (shown > 0)
    return says


def _true(frame: Frame, samples: Sequence[Sample], label: str) -> tuple[BoolMask, BoolMask]:
    """The true mask of a place, and where it counts; bool[H, W] both."""
    truths, counts = [], []
    for sample in samples:
        assert sample.geo is not None
        truths.append((sample.geo, truth_of(sample, label)))
        whole = np.ones(sample.size, dtype=np.bool_)
        counts.append((sample.geo, whole if sample.ignore is None else ~sample.ignore))
    return laid(frame, truths), laid(frame, counts)


def _pictured(frame: Frame, samples: Sequence[Sample]) -> Image:
    """The picture of a place, uint8[H, W, 3]; black where no window shows it."""
    image = np.zeros((*frame.size, 3), dtype=np.uint8)
    for sample in samples:
        assert sample.geo is not None
        inside, values = _taken(frame, sample.geo, sample.image)
        image[inside] = values
    return image


def _taken(frame: Frame, geo: GeoRef, values: npt.NDArray[Any]) -> tuple[BoolMask, Any]:
    """Where a frame's pixels lie on a picture, bool[H, W], and what it has there."""
    rows, columns = frame.places(geo)
    height, width = values.shape[:2]
    inside: BoolMask = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return inside, values[rows[inside], columns[inside]]


def _iou(mask: BoolMask, truth: BoolMask) -> float | None:
    union = int(np.count_nonzero(mask | truth))
    return int(np.count_nonzero(mask & truth)) / union if truth.any() else None
