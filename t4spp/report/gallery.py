"""Which samples a report shows, and their pictures: image, truth, coarse and final mask."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from t4spp.components import Refiner
from t4spp.decoding.prediction import Prediction
from t4spp.evaluation.pairs import read_answer, scored_labels, truth_of
from t4spp.report.overlay import Colour, draw_occupancy, draw_overlay, label_colours
from t4spp.report.runs import ScoreRow
from t4spp.schemes.base import Scheme
from t4spp.types import BACKGROUND, BoolMask, Decoded, Image, Sample

PICTURE_SIDE = 320
"""Pixels of the longer side of an embedded picture; smaller ones are enlarged by whole factors."""
MAX_TEXT = 4000
"""Characters of a raw answer that the page shows; the rest is counted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Overlay:
    """A picture with its true and predicted masks, for trackers and pages.

    Attributes:
        image: uint8[H, W, 3].
        truth: (label, bool[H, W]) pairs.
        prediction: (label, bool[H, W]) pairs.
        caption: one line of text.
    """

    image: Image
    truth: list[tuple[str, BoolMask]]
    prediction: list[tuple[str, BoolMask]]
    caption: str = ""


def overlay_of(sample: Sample, decoded: Decoded, caption: str = "") -> Overlay:
    """A sample's picture with its truth and what an answer says.

    Raises:
        RecipeError: the sample has no picture.
    """
    return Overlay(
        image=sample.image,
        truth=[(target.label, target.mask) for target in sample.targets],
        prediction=[
            (region.label, region.mask) for region in decoded.regions if region.label != BACKGROUND
        ],
        caption=caption or f"{sample.prompt} ({decoded.status})",
    )


@dataclass(frozen=True, kw_only=True)
class Group:
    """A heading of the gallery and the ids under it."""

    title: str
    note: str
    ids: tuple[str, ...]


def sample_scores(rows: Sequence[ScoreRow]) -> dict[str, float]:
    """Mean IoU over a sample's labels with a target, for samples that have one."""
    ious: dict[str, list[float]] = {}
    for row in rows:
        if row.has_target:
            ious.setdefault(row.id, []).append(row.iou)
    return {key: sum(values) / len(values) for key, values in ious.items()}


def choose_groups(
    rows: Sequence[ScoreRow], predictions: Sequence[Prediction], per_group: int
) -> list[Group]:
    """Best, median and worst samples by IoU, then no-target prompts and faulty answers.

    No sample appears twice, and no picture twice in a group while there are others; of few
    samples each group takes at most a third; ties go to the split's order. Without scores the
    first answers are shown.
    """
    if not rows:
        first = tuple(prediction.id for prediction in predictions[: 3 * per_group])
        return [Group(title="First answers", note="not scored yet", ids=first)] if first else []
    scores = sample_scores(rows)
    ranked = sorted(scores, key=lambda key: -scores[key])
    shown: set[str] = set()

    pictures = {row.id: row.image_id or row.id for row in rows}

    def take(candidates: Sequence[str], number: int = per_group) -> tuple[str, ...]:
        left = [key for key in dict.fromkeys(candidates) if key not in shown]
        first = {pictures[key]: key for key in reversed(left)}  # of each picture
        again = [key for key in left if first[pictures[key]] != key]
        chosen = [*[key for key in left if first[pictures[key]] == key], *again][:number]
        shown.update(chosen)
        return tuple(chosen)

    middle = len(ranked) // 2
    around = sorted(range(len(ranked)), key=lambda index: abs(index - middle))
    third = min(per_group, max(1, len(ranked) // 3))
    best, worst = take(ranked, third), take(ranked[::-1], third)
    median = take([ranked[index] for index in around], third)
    absent = list(dict.fromkeys(row.id for row in rows if row.id not in scores))
    by_id: dict[str, list[ScoreRow]] = {}
    for row in rows:
        by_id.setdefault(row.id, []).append(row)
    # Invented masks first: they are what a reader wants to see of no-target prompts.
    absent.sort(key=lambda key: min(row.iou for row in by_id[key]))
    half = max(1, per_group // 2)
    invented, silent = absent[:half], absent[::-1]
    no_target = take([*invented, *silent])
    invalid = take([row.id for row in rows if row.status == "invalid"])
    repaired = take([row.id for row in rows if row.status == "repaired"])
    groups = [
        Group(title="Best", note="highest IoU", ids=best),
        Group(title="Median", note="around the middle of all samples by IoU", ids=median),
        Group(title="Worst", note="lowest IoU", ids=worst),
        Group(
            title="No target",
            note="nothing in the picture matches; the right answer is empty",
            ids=no_target,
        ),
        Group(title="Invalid answers", note="nothing could be read", ids=invalid),
        Group(title="Repaired answers", note="something had to be guessed", ids=repaired),
    ]
    return [group for group in groups if group.ids]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture of a card: a data URI, its caption and a description for screen readers."""

    title: str
    uri: str
    alt: str


@dataclass(frozen=True, kw_only=True)
class LabelNote:
    """A label in a card's legend: its colour as #rrggbb and its IoU where it was scored."""

    label: str
    colour: str
    iou: float | None


@dataclass(frozen=True, kw_only=True)
class Card:
    """A sample with its answer, ready for the page.

    ``coarse_iou`` and ``final_iou`` are computed from the pictured masks, over labels with a
    target; None where the truth is empty. ``problems`` are (code, count, first message).
    ``num_regions`` counts those with a scored pixel.
    """

    id: str
    prompt: str
    iou: float | None
    coarse_iou: float | None
    final_iou: float | None
    status: str
    problems: tuple[tuple[str, int, str], ...]
    num_regions: int
    num_tokens: int | None
    num_passes: int
    seconds: float
    labels: tuple[LabelNote, ...]
    tags: tuple[str, ...]
    text: str
    text_left_out: int
    panels: tuple[Panel, ...]
    size: tuple[int, int]
    has_target: bool

    @property
    def num_bytes(self) -> int:
        """About what the card adds to the page."""
        return sum(len(panel.uri) for panel in self.panels) + len(self.text) + 2000


def shrink(image: npt.NDArray[np.uint8], side: int = PICTURE_SIDE) -> npt.NDArray[np.uint8]:
    """Bring uint8[H, W, 3] to about ``side`` pixels on its longer side."""
    from PIL import Image as PilImage

    longest = max(image.shape[:2])
    if longest > side:
        scale = side / longest
        width, height = (max(1, round(edge * scale)) for edge in (image.shape[1], image.shape[0]))
        picture = PilImage.fromarray(image).resize((width, height), PilImage.Resampling.LANCZOS)
        return np.asarray(picture)
    factor = max(1, side // longest)
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def shrink_mask(mask: BoolMask, size: tuple[int, int]) -> BoolMask:
    """Bring bool[H, W] to ``size``; a pixel is set where any of the pixels under it is.

    So an object a pixel wide survives, which nearest-neighbour resizing may drop.
    """
    height, width = mask.shape
    if size[0] >= height and size[1] >= width:
        rows = np.arange(size[0]) * height // size[0]
        columns = np.arange(size[1]) * width // size[1]
        enlarged: BoolMask = mask[rows[:, np.newaxis], columns]
        return enlarged
    row_starts = np.arange(size[0]) * height // size[0]
    column_starts = np.arange(size[1]) * width // size[1]
    rows_joined = np.logical_or.reduceat(mask, row_starts, axis=0)
    shrunk: BoolMask = np.logical_or.reduceat(rows_joined, column_starts, axis=1)
    return shrunk


def data_uri(image: npt.NDArray[np.uint8]) -> str:
    """uint8[H, W, 3] as a data URI: JPEG, without colour subsampling to keep outlines crisp."""
    from PIL import Image as PilImage

    stream = io.BytesIO()
    picture = PilImage.fromarray(image)
    picture.save(stream, format="JPEG", quality=84, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def masks_picture(
    image: Image, pairs: Sequence[tuple[str, BoolMask]], colours: Mapping[str, Colour]
) -> str:
    """A picture with masks as a data URI; masks are drawn after shrinking, so lines stay crisp."""
    small = shrink(image)
    size = (small.shape[0], small.shape[1])
    drawn = [(label, shrink_mask(mask, size)) for label, mask in pairs]
    return data_uri(draw_overlay(small, drawn, alpha=0.5, fade=0.8, colours=colours))


def colours_of(sample: Sample, decoded: Sequence[Decoded]) -> dict[str, Colour]:
    """One colour a label for all pictures of a sample."""
    labels = {target.label for target in sample.targets} | set(sample.labels)
    labels.update(region.label for answer in decoded for region in answer.regions)
    return label_colours(labels - {BACKGROUND})


def picture_iou(sample: Sample, decoded: Decoded) -> float | None:
    """Mean over the true labels of the IoU of unions; None for a sample without a target."""
    counted = np.ones(sample.size, np.bool_) if sample.ignore is None else ~sample.ignore
    ious = []
    for label in scored_labels(sample):
        truth = truth_of(sample, label) & counted
        predicted = decoded.union(label, sample.size) & counted
        if truth.any():
            ious.append(np.count_nonzero(truth & predicted) / np.count_nonzero(truth | predicted))
    return float(np.mean(ious)) if ious else None


def regions_of(decoded: Decoded) -> list[tuple[str, BoolMask]]:
    """The masks of an answer, background left out."""
    return [(region.label, region.mask) for region in decoded.regions if region.label != BACKGROUND]


def scored_regions(sample: Sample, decoded: Decoded) -> list[tuple[str, BoolMask]]:
    """The masks of an answer that have a scored pixel: of a label that was asked for, not ignored.

    An answer without any says that nothing is there, as the scores have it.
    """
    asked = scored_labels(sample)
    return [
        (label, mask)
        for label, mask in regions_of(decoded)
        if (not asked or label in asked)
        and (mask if sample.ignore is None else mask & ~sample.ignore).any()
    ]


def coarse_picture(image: Image, coarse: Decoded, colours: Mapping[str, Colour]) -> str:
    """What the descriptor's grid says: occupancy, and the boxes that were written."""
    regions = [region for region in coarse.regions if region.label != BACKGROUND]
    soft = [
        (
            region.label,
            region.soft if region.soft is not None else region.mask.astype(np.float32),
        )
        for region in regions
    ]
    boxes = [(region.label, region.box) for region in regions if region.box is not None]
    return data_uri(shrink(draw_occupancy(image, soft, boxes, colours=colours)))


def make_card(
    sample: Sample,
    prediction: Prediction,
    rows: Sequence[ScoreRow],
    scheme: Scheme,
    refiner: Refiner | None,
) -> Card:
    """Decode, refine and picture one answer.

    Raises:
        RecipeError: the sample's picture is missing or damaged.
    """
    coarse, final = read_answer(sample, prediction, scheme, refiner)
    image = sample.image
    colours = colours_of(sample, [coarse, final])
    truth = [(target.label, target.mask) for target in sample.targets]
    panels = (
        Panel(title="Image", uri=data_uri(shrink(image)), alt=f"picture {sample.id}"),
        Panel(
            title="Truth",
            uri=masks_picture(image, truth, colours),
            alt=f"true masks: {_told(truth)}",
        ),
        Panel(
            title="Coarse",
            uri=coarse_picture(image, coarse, colours),
            alt=f"what the descriptor's grid says: {_told(regions_of(coarse))}",
        ),
        Panel(
            title="Final",
            uri=masks_picture(image, regions_of(final), colours),
            alt=f"answered masks: {_told(regions_of(final))}",
        ),
    )
    ious = {row.label: row.iou for row in rows if row.has_target}
    counts = Counter(problem.code for problem in final.problems)
    messages: dict[str, str] = {}
    for problem in final.problems:
        messages.setdefault(problem.code, problem.message)
    return Card(
        id=sample.id,
        prompt=sample.prompt,
        iou=sample_scores(rows).get(sample.id),
        coarse_iou=picture_iou(sample, coarse),
        final_iou=picture_iou(sample, final),
        status=final.status,
        problems=tuple((code, count, messages[code]) for code, count in counts.most_common()),
        num_regions=len(scored_regions(sample, final)),
        num_tokens=prediction.num_tokens,
        num_passes=prediction.num_passes,
        seconds=prediction.seconds,
        labels=tuple(
            LabelNote(label=label, colour="#{:02x}{:02x}{:02x}".format(*rgb), iou=ious.get(label))
            for label, rgb in colours.items()
            if any(label == name for name, _ in [*truth, *regions_of(final)])
        ),
        tags=sample.tags,
        text=prediction.text[:MAX_TEXT],
        text_left_out=max(0, len(prediction.text) - MAX_TEXT),
        panels=panels,
        size=sample.size,
        has_target=bool(sample.targets),
    )


def _told(pairs: Sequence[tuple[str, BoolMask]]) -> str:
    return ", ".join(dict.fromkeys(label for label, _ in pairs)) or "none"
