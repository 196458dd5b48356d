"""How fast answers on disk are scored, and what memory that takes.

A dataset and a run's predictions are generated on disk, then scored as ``t4spp evaluate`` scores
any run: the recipe reads the truth's run-length codes, the scheme reads the texts, and everything
that stands in ``metrics.json`` is made. The yardstick is the least that any evaluation must do, in
one process and with nothing checked: parse the line, decode the text, decode the truth, count.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from t4spp.config import ComponentConfig, DataConfig, EvaluationConfig, RunConfig
from t4spp.decoding.prediction import Prediction
from t4spp.evaluation.coco_file import write_coco
from t4spp.evaluation.experiment import Experiment
from t4spp.evaluation.predictions import (
    PredictionMeta,
    meta_path,
    prediction_line,
    predictions_path,
)
from t4spp.evaluation.run import evaluate_split
from t4spp.plugins import Catalogue
from t4spp.resident import children_peak_mb, forget_peak, peak_mb, resident_mb
from t4spp.types import BoolMask, Sample, Target

NUM_SHAPES = 499
"""Distinct masks; a prime, so that they meet each place in another order."""
PER_IMAGE = 5
"""Objects on each picture."""
YARDSTICK = 2000
"""Answers that the yardstick reads, at most."""
LABEL = "thing"
BACKBONE = "stand-in"
"""Wrote the answers; nothing builds it."""

Progress = Callable[[int], object]
Begin = Callable[[int, str], AbstractContextManager[Progress]]
"""Given a number of answers and a title."""


def _unseen(total: int, title: str) -> AbstractContextManager[Progress]:
    return nullcontext(lambda done: None)


@dataclass(frozen=True, kw_only=True)
class EvaluateBench:
    """What was measured.

    Attributes:
        num_predictions: answers, each with one mask.
        size: (H, W) of the pictures.
        seconds: of the evaluation, from the run's folder to ``metrics.json``, the reading of the
            annotation file not counted.
        loop_seconds: of it, until the last answer was scored; the rest is intervals and writing.
        open_seconds: of reading the annotation file.
        yardstick_rate: masks a second of the yardstick, one process.
        peak_rss_mb: most resident memory of the process meanwhile; None where unknown.
        begin_rss_mb: resident memory when it began.
        tenth_rss_mb: resident memory after a tenth of the answers.
        end_rss_mb: resident memory after all of them.
        worker_peak_rss_mb: most resident memory of a process that it started, pages that it shares
            with this one counted.
        mean_iou: of the answers, which says that they were scored.
        workers: ``evaluation.workers``.
    """

    num_predictions: int
    size: tuple[int, int]
    seconds: float
    loop_seconds: float
    open_seconds: float
    yardstick_rate: float
    peak_rss_mb: float | None
    begin_rss_mb: float | None
    tenth_rss_mb: float | None
    end_rss_mb: float | None
    worker_peak_rss_mb: float | None
    mean_iou: float
    workers: int | None

    @property
    def rate(self) -> float:
        """Masks a second, intervals and files included."""
        return self.num_predictions / self.seconds

    @property
    def ratio(self) -> float:
        """The rate over the yardstick's."""
        return self.rate / self.yardstick_rate


def bench_evaluate(
    folder: Path,
    *,
    num: int,
    size: tuple[int, int],
    scheme: ComponentConfig,
    recipe: str,
    catalogue: Catalogue,
    workers: int | None = None,
    protocols: Sequence[str] = ("native",),
    progress: Begin = _unseen,
) -> EvaluateBench:
    """Generate, measure.

    Args:
        folder: for what is written.
        num: answers.
        size: (H, W) of the pictures.
        scheme: of the answers.
        recipe: reads COCO's JSON of instances, by ``annotations`` and ``prompts``.
        catalogue: the plugins.
        workers: ``evaluation.workers``.
        protocols: to score by.
        progress: bars.
    """
    annotations = folder / "annotations.json"
    catalogue.build("scheme", scheme.name, scheme.params, "--scheme")  # refused before the work
    masks = _shapes(size)
    write_coco(_truth(masks, num, progress), annotations, description="t4spp bench")
    params = {"annotations": str(annotations), "prompts": "per-instance"}
    config = RunConfig(
        name="bench",
        scheme=scheme,
        backbone=ComponentConfig(name=BACKBONE),
        data=DataConfig(recipe=ComponentConfig(name=recipe, params=params), eval_split="all"),
        evaluation=EvaluationConfig.model_validate(
            {"protocols": list(protocols), "workers": workers}
        ),
    )
    experiment = Experiment(config=config, catalogue=catalogue)
    began = time.perf_counter()
    samples = experiment.samples("all")
    open_seconds = time.perf_counter() - began
    _write_answers(folder, experiment, samples, masks, progress)
    del masks
    yardstick = _yardstick(folder, experiment, annotations, progress)

    marks: list[float | None] = [None, None]
    done = 0
    loop_ended = 0.0
    forget_peak()
    begin_rss = resident_mb()
    began = time.perf_counter()
    with progress(len(samples), "t4spp") as told:

        def watch(number: int) -> None:
            nonlocal done, loop_ended
            if done < len(samples) // 10 <= done + number:
                marks[0] = resident_mb()
            done += number
            if done == len(samples):
                marks[1], loop_ended = resident_mb(), time.perf_counter()
            told(number)

        metrics = evaluate_split(experiment, folder, "all", progress=watch)
    ended = time.perf_counter()
    return EvaluateBench(
        num_predictions=len(samples),
        size=size,
        seconds=ended - began,
        loop_seconds=loop_ended - began,
        open_seconds=open_seconds,
        yardstick_rate=yardstick,
        peak_rss_mb=peak_mb(),
        begin_rss_mb=begin_rss,
        tenth_rss_mb=marks[0],
        end_rss_mb=marks[1],
        worker_peak_rss_mb=children_peak_mb() or None,
        mean_iou=metrics["protocols"]["native"]["mean_iou"]["value"],
        workers=workers,
    )


def _shapes(size: tuple[int, int]) -> list[BoolMask]:
    """Stars of all sizes, bool[H, W] each, some cut by the border; small ones as often as large."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices(size)
    reach = min(size) / 2.4
    masks = []
    for _ in range(NUM_SHAPES):
        y, x = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        radius = float(np.exp(rng.uniform(np.log(reach / 20), np.log(reach))))
        angle = np.arctan2(rows - y, columns - x) + rng.uniform(0, 6.3)
        wave = 1 + 0.3 * np.sin(rng.integers(2, 7) * angle)
        mask = np.hypot(rows - y, columns - x) < radius * wave
        mask[int(y), int(x)] = True
        masks.append(mask)
    return masks


def _truth(masks: Sequence[BoolMask], num: int, progress: Begin) -> Iterator[Sample]:
    with progress(num, "generate") as told:
        for number in range(num):
            label = f"{LABEL} {number % PER_IMAGE}"
            mask = masks[number % len(masks)]
            yield Sample(
                id=str(number),
                size=(mask.shape[0], mask.shape[1]),
                prompt=label,
                targets=(Target(label=label, mask=mask),),
                labels=(label,),
                image_id=str(number // PER_IMAGE),
            )
            told(1)


def _write_answers(
    folder: Path,
    experiment: Experiment,
    samples: Sequence[Sample],
    masks: Sequence[BoolMask],
    progress: Begin,
) -> None:
    """A run's predictions: every second answer is right, the others are to another shape."""
    scheme = experiment.scheme
    texts: dict[tuple[int, str], str] = {}
    path = predictions_path(folder, "all")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream, progress(len(samples), "answer") as told:
        for number in range(len(samples)):
            label = f"{LABEL} {number % PER_IMAGE}"
            shape = (number + (number % 2)) % len(masks)
            text = texts.get((shape, label))
            if text is None:
                mask = masks[shape]
                size = (mask.shape[0], mask.shape[1])
                text = scheme.encode((Target(label=label, mask=mask),), size)
                texts[shape, label] = text
            sample = samples[number]
            prediction = Prediction(
                id=sample.id,
                prompt=sample.prompt,
                labels=sample.labels,
                text=f"Here it is.\n<seg>{text}</seg>",
                num_tokens=len(text) // 3,
                num_passes=1,
                seconds=0.0,
            )
            stream.write(prediction_line(prediction))
            told(1)
    meta = PredictionMeta(
        scheme=scheme.fingerprint(),
        config_hash=experiment.answers_hash(),
        backbone=BACKBONE,
        split="all",
        num_samples=len(samples),
    )
    meta_path(path).write_text(json.dumps(asdict(meta)) + "\n", encoding="utf-8")


def _yardstick(folder: Path, experiment: Experiment, annotations: Path, progress: Begin) -> float:
    """Masks a second of the bare loop; the annotation file is read beforehand."""
    from pycocotools import mask as coco_mask

    codes = [
        {"size": one["segmentation"]["size"], "counts": one["segmentation"]["counts"].encode()}
        for one in json.loads(annotations.read_text(encoding="utf-8"))["annotations"][:YARDSTICK]
    ]
    path = predictions_path(folder, "all")
    ious = 0.0
    with path.open(encoding="utf-8") as stream, progress(len(codes), "yardstick") as told:
        began = time.perf_counter()
        for code, line in zip(codes, stream, strict=False):
            values = json.loads(line)
            truth = coco_mask.decode(code).astype(np.bool_)
            size = (truth.shape[0], truth.shape[1])
            decoded = experiment.scheme.decode(values["text"], size, values["labels"])
            predicted = decoded.union(values["labels"][0], size)
            union = np.count_nonzero(truth | predicted)
            ious += np.count_nonzero(truth & predicted) / union if union else 1.0
            told(1)
        seconds = time.perf_counter() - began
    return len(codes) / seconds
