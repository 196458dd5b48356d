"""Scores of predictions from elsewhere, as ``metrics.json`` has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from t4spp.components import Recipe, Refiner
from t4spp.decoding.processes import Crew
from t4spp.errors import RunError
from t4spp.evaluation.elsewhere.coco_results import coco_rows, kinds_of, open_results, read_truth
from t4spp.evaluation.elsewhere.mask_folder import SUFFIX, MaskFolder
from t4spp.evaluation.elsewhere.masklet_results import asked_pairs, masklet_rows
from t4spp.evaluation.protocols.base import EvaluationProtocol, HasImage
from t4spp.evaluation.protocols.instances import InstancesProtocol
from t4spp.evaluation.protocols.masklets import MaskletsProtocol
from t4spp.evaluation.protocols.panel import with_intervals
from t4spp.evaluation.scores import SCHEMA, describe_answers
from t4spp.evaluation.scoring import num_workers, score_answers, summarise
from t4spp.types import Sample

Progress = Callable[[int], object]
Bar = Callable[[int, str], Any]
"""A context that gives a Progress, of so many steps under a title."""


def score_coco(
    predictions: Path, truth_path: Path, *, resamples: int, seed: int, bar: Bar
) -> dict[str, Any]:
    """Score COCO results by ``instances``.

    Args:
        predictions: the results, a JSON list of detections.
        truth_path: the annotation file.
        resamples: of the bootstrap; 0: no intervals.
        seed: of the bootstrap.
        bar: makes progress bars.

    Raises:
        RunError: a file is missing, malformed, or does not fit the other.
    """
    truth = read_truth(truth_path)
    with bar(_size(predictions), "find predictions") as progress:
        results = open_results(predictions, truth, progress=progress)
    kinds = kinds_of(results)
    protocol = InstancesProtocol(kinds)
    with results, bar(len(truth.sizes), "score pictures") as progress:
        rows = _collect(coco_rows(truth, results, kinds), progress)
    counts = {"num_samples": len(rows), "num_images": len(truth.sizes)}
    counters = {"predictions": len(results), **truth.counters}
    return _metrics(
        protocol,
        rows,
        "coco-results",
        predictions,
        counts,
        counters,
        resamples=resamples,
        seed=seed,
    )


def score_masklets(
    predictions: Path, truth_path: Path, *, resamples: int, seed: int, bar: Bar
) -> dict[str, Any]:
    """Score masklets by ``masklets``; the arguments are those of :func:`score_coco`.

    Raises:
        RunError: a file is missing, malformed, or does not fit the other.
    """
    truth = read_truth(truth_path, of="video")
    with bar(_size(predictions), "find predictions") as progress:
        results = open_results(predictions, truth, of="video", progress=progress)
    kinds = kinds_of(results, ("segmentations", "bboxes"))
    protocol = MaskletsProtocol(kinds)
    pairs = len(asked_pairs(truth, results))
    with results, bar(pairs, "score phrases") as progress:
        rows = _collect(masklet_rows(truth, results, kinds), progress)
    counts = {"num_samples": len(rows), "num_images": len(truth.sizes)}
    counters = {"predictions": len(results), **truth.counters}
    metrics = _metrics(
        protocol, rows, "masklets", predictions, counts, counters, resamples=resamples, seed=seed
    )
    return {**metrics, "phrases": protocol.phrases(rows)}


def score_masks(
    folder: Path,
    recipe: Recipe,
    samples: Sequence[Sample],
    refiner: Refiner,
    *,
    protocols: Sequence[str],
    resamples: int,
    seed: int,
    workers: int | None,
    bar: Bar,
) -> dict[str, Any]:
    """Score a folder of mask PNGs against a recipe's samples.

    Args:
        folder: see :class:`MaskFolder`.
        recipe: of the samples.
        samples: the truth.
        refiner: one that changes nothing.
        protocols: by name.
        resamples: of the bootstrap; 0: no intervals.
        seed: of the bootstrap.
        workers: ``evaluation.workers``.
        bar: makes progress bars.

    Raises:
        RunError: the folder is missing, a mask cannot be used, or none is about a sample.
        RecipeError: the dataset is damaged.
    """
    masks = MaskFolder(folder, recipe.label_ids())
    crew = Crew()

    def counters() -> Mapping[str, int]:
        return Counter(recipe.counters()) + masks.counters

    with bar(len(samples), "score masks") as progress:
        scored = score_answers(
            samples,
            masks.find,
            masks.read,
            refiner,
            protocols=protocols,
            progress=progress,
            crew=crew,
            workers=num_workers(workers, len(samples), refiner, crew),
            counters=counters,
        )
    counted = Counter(counters()) + Counter(scored.counted)
    if counted["samples_without_prediction"] == len(samples):
        first = samples[0]
        names = dict.fromkeys([first.id, first.image_id if masks.label_ids else first.id])
        raise RunError(
            f"none of the {len(samples)} samples has a mask in {folder}: the first would be "
            f"{' or '.join(name + SUFFIX for name in names)}, the folder has {masks.examples()}. "
            "Name masks as docs/evaluation.md says."
        )
    counted["masks_of_no_sample"] = masks.unmatched(_asked(masks, scored.pairs))
    return {
        "predictions": {"format": "mask-png", "name": folder.name},
        "recipe_counters": {name: counted[name] for name in recipe.counters()},
        "prediction_counters": {
            name: number for name, number in counted.items() if name not in recipe.counters()
        },
        **summarise(scored, crew=crew, resamples=resamples, seed=seed),
    }


def _asked(masks: MaskFolder, pairs: Iterable[Any]) -> set[Path]:
    """The files that samples asked for."""
    labels: dict[tuple[str, str], list[str]] = {}
    for pair in pairs:
        labels.setdefault((pair.id, pair.image_id), []).append(pair.label)
    return {
        path
        for (sample, image), asked in labels.items()
        for path, _ in masks.about(sample, image, asked)
    }


def _collect(parts: Iterable[Sequence[Any]], progress: Progress) -> list[Any]:
    rows: list[Any] = []
    for part in parts:
        rows.extend(part)
        progress(1)
    return rows


def _metrics(
    protocol: EvaluationProtocol[Any],
    rows: Sequence[HasImage],
    form: str,
    predictions: Path,
    counts: Mapping[str, int],
    counters: Mapping[str, int],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    protocol.update(rows)
    intervals = protocol.intervals(rows, resamples=resamples, seed=seed)
    return {
        "schema": SCHEMA,
        "predictions": {"format": form, "name": predictions.name},
        "prediction_counters": dict(counters),
        **counts,
        "protocols": {protocol.name: with_intervals(protocol.compute(), intervals)},
        "protocol_counts": {protocol.name: dict(protocol.counts(rows))},
        "answers": describe_answers([], [], resamples=0, seed=seed),
    }


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
