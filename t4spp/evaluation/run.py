"""Generating and scoring a split of a run: raw text -> decode -> refine -> metrics."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t4spp.components import Backbone, Refiner
from t4spp.decoding.engine import Engine
from t4spp.decoding.generate import generate, resume_point
from t4spp.decoding.prediction import Prediction
from t4spp.decoding.processes import Crew
from t4spp.errors import RunError
from t4spp.evaluation.experiment import METRICS_NAME, Experiment
from t4spp.evaluation.pairs import (
    AnswerRow,
    PairScore,
    answer_row,
    read_answer,
    score_pairs,
)
from t4spp.evaluation.predictions import (
    PredictionMeta,
    PredictionWriter,
    check_scheme,
    match_samples,
    predictions_path,
    read_meta,
    read_predictions,
    scores_path,
)
from t4spp.evaluation.protocols.base import Answered
from t4spp.evaluation.protocols.catalogue import check_protocols
from t4spp.evaluation.protocols.native import NativeProtocol
from t4spp.evaluation.protocols.panel import Panel
from t4spp.evaluation.scores import NO_TARGET_TAG, SCHEMA, describe_answers, score_lines
from t4spp.evaluation.spatial_run import with_space
from t4spp.evaluation.spatial_windows import WindowCollector
from t4spp.schemes.base import Scheme
from t4spp.training.atomic import write_text
from t4spp.types import Decoded, Sample

logger = logging.getLogger(__name__)

Progress = Callable[[int], object]
"""Told how many samples have just been done, by all processes together."""
Watch = Callable[[int, Sample, Prediction, Decoded, Sequence[PairScore]], object]
"""Told of each answer that this process has scored."""


def generate_split(
    experiment: Experiment,
    run: Path,
    split: str,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    backbone: Backbone | None = None,
    engine: Engine | None = None,
) -> Path:
    """Answer a split and write ``predictions/<split>.jsonl`` as the answers come.

    Every process of an ``accelerate launch`` must call this; the main one writes.

    Args:
        experiment: the run's.
        run: its folder.
        split: of the recipe.
        resume: go on with what an interrupted generation left.
        overwrite: start anew.
        progress: told about answered samples, resumed ones first.
        backbone: with its trained weights; None loads it from ``run``.
        engine: answers a batch; None takes what the config asks for.

    Returns:
        The predictions' path.

    Raises:
        RunError: predictions exist and neither ``resume`` nor ``overwrite`` is set, they cannot
            be resumed, or the run has no checkpoint.
    """
    crew = Crew.current()
    samples = experiment.samples(split)
    path = predictions_path(run, split)
    checkpoint = experiment.checkpoint_name(run) if backbone is None else ""
    if path.exists() and not overwrite:
        if not resume:
            raise RunError(
                f"{path} exists. Go on with it by --resume, or replace it by --overwrite."
            )
        if _is_complete(path, experiment, split, len(samples), checkpoint):
            return path
    if backbone is None:
        backbone = experiment.trained_backbone(run)
    meta = PredictionMeta(
        scheme=experiment.scheme.fingerprint(),
        config_hash=experiment.answers_hash(),
        backbone=backbone.fingerprint(),
        checkpoint=checkpoint,
        split=split,
        num_samples=len(samples),
    )
    writer = PredictionWriter(path, meta, resume=resume, overwrite=overwrite)
    settings = experiment.settings()
    start = resume_point(len(writer.done), len(samples), settings.batch_size)
    writer.keep(start)
    match_samples(writer.done, samples[:start], path)
    crew.wait()  # nobody may write before all have read
    if progress is not None and start:
        progress(start)
    answers = generate(
        backbone,
        samples,
        experiment.scheme,
        experiment.builder(backbone),
        settings,
        progress,
        crew=crew,
        start=start,
        engine=engine,
    )
    if crew.is_main:
        with writer:
            for prediction in answers:
                writer.write(prediction)
    else:
        for _ in answers:
            pass
    crew.wait()
    return path


def evaluate_split(
    experiment: Experiment,
    run: Path,
    split: str,
    *,
    protocols: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a split's predictions again, without any model, and write what comes out.

    Writes ``predictions/<split>.scores.jsonl`` and ``metrics.json``, or, for another split than
    the config's, ``predictions/<split>.metrics.json``. Every process must call this; the main one
    writes.

    Args:
        experiment: the run's; its scheme must be the one that wrote the predictions.
        run: its folder.
        split: of the recipe.
        protocols: by name; None takes the config's.
        progress: told about scored samples.

    Returns:
        The content of ``metrics.json``.

    Raises:
        RunError: predictions are missing, incomplete, or of another scheme or recipe.
        ConfigError: an unknown protocol.
    """
    names = check_protocols(protocols or experiment.config.evaluation.protocols)
    path = predictions_path(run, split)
    predictions = read_predictions(path)
    meta = read_meta(path)
    check_scheme(meta, experiment.scheme.fingerprint(), path)
    if meta.config_hash != experiment.answers_hash():
        logger.warning(
            "%s was generated under another config (hash %s, now %s): seed, backbone, data, "
            "training or generation differ",
            path,
            meta.config_hash,
            experiment.answers_hash(),
        )
    samples = experiment.samples(split)
    crew = Crew.current()
    matched = match_samples(predictions, samples, path)
    config = experiment.config
    collector = WindowCollector() if config.evaluation.space else None
    scored = score_answers(
        samples,
        matched,
        experiment.scheme,
        experiment.refiner,
        protocols=names,
        progress=progress,
        crew=crew,
        watch=collector,
    )
    metrics = {
        "split": split,
        "scheme": meta.scheme,
        "backbone": meta.backbone,
        "checkpoint": meta.checkpoint,
        "refiner": config.refiner.model_dump(mode="json"),
        "refiner_counters": dict(scored.refined),
        "recipe_counters": dict(experiment.recipe.counters()),
        **summarise(
            scored,
            crew=crew,
            resamples=config.evaluation.bootstrap,
            seed=config.seed,
        ),
    }
    if collector is not None:
        metrics = with_space(metrics, experiment, path, collector, crew)
    if crew.is_main:
        write_text(scores_path(path), score_lines(scored.pairs))
        text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_text(metrics_path(experiment, run, split), text)
    crew.wait()
    return metrics


def metrics_path(experiment: Experiment, run: Path, split: str) -> Path:
    """Where a split's scores are written."""
    if split == experiment.config.data.eval_split:
        return run / METRICS_NAME
    return predictions_path(run, split).with_name(f"{split}.metrics.json")


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Scored answers.

    Attributes:
        pairs: all processes', in the split's order.
        rows: likewise, one a sample.
        panel: the protocols, with the rows of what this process scored.
        refined: how many regions the refiner changed or left, by its own names, in all processes.
    """

    pairs: Sequence[PairScore]
    rows: Sequence[AnswerRow]
    panel: Panel
    refined: Mapping[str, int]


def score_answers(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    scheme: Scheme,
    refiner: Refiner,
    *,
    protocols: Sequence[str] = (NativeProtocol.name,),
    progress: Progress | None = None,
    crew: Crew | None = None,
    watch: Watch | None = None,
) -> Scored:
    """Decode, refine and compare; each process takes every ``crew.size``-th sample.

    Args:
        samples: the truth.
        predictions: the answer to each sample, in the same order.
        scheme: that wrote them.
        refiner: of the decoded masks.
        protocols: by name, all in the one pass.
        progress: told after each sample.
        crew: the processes; None for the current ones.
        watch: told of each answer that this process scores.

    Raises:
        RecipeError: the refiner reads pixels and a picture is missing or damaged.
    """
    crew = crew or Crew.current()
    panel = Panel(protocols)
    mine: list[PairScore] = []
    rows: list[AnswerRow] = []
    before = Counter(refiner.counters())
    for position in range(crew.rank, len(samples), crew.size):
        sample, prediction = samples[position], predictions[position]
        decoded = read_answer(sample, prediction, scheme, refiner)[1]
        tagged = _tagged(sample)
        pairs = score_pairs(position, tagged, decoded)
        mine.extend(pairs)
        answered = Answered(
            position=position, sample=tagged, prediction=prediction, decoded=decoded, pairs=pairs
        )
        panel.add(panel.measure(answered))
        if watch is not None:
            watch(position, tagged, prediction, decoded, pairs)
        rows.append(answer_row(position, tagged, prediction, decoded))
        if progress is not None:
            progress(min(crew.size, len(samples) - position + crew.rank))
    refined = Counter(refiner.counters())
    refined.subtract(before)
    return Scored(
        pairs=sorted(crew.gather(mine), key=lambda pair: pair.position),
        rows=sorted(crew.gather(rows), key=lambda row: row.position),
        panel=panel,
        refined=sum((Counter(part) for part in crew.gather([dict(refined)])), Counter()),
    )


def summarise(scored: Scored, *, crew: Crew, resamples: int, seed: int) -> dict[str, Any]:
    """Counts, protocols and answers as ``metrics.json`` has them. All processes must call it."""
    present = sum(pair.has_target for pair in scored.pairs)
    scores, counts = scored.panel.scores(crew, resamples=resamples, seed=seed)
    return {
        "schema": SCHEMA,
        "num_samples": len(scored.rows),
        "num_images": len({pair.image_id for pair in scored.pairs}),
        "num_targets": present,
        "num_no_target": len(scored.pairs) - present,
        "protocols": scores,
        "protocol_counts": counts,
        "answers": describe_answers(scored.rows, scored.pairs, resamples=resamples, seed=seed),
    }


def _tagged(sample: Sample) -> Sample:
    """The sample, tagged where a mask is asked for and it has no target."""
    if sample.targets or sample.kind == "dialogue" or NO_TARGET_TAG in sample.tags:
        return sample
    return dataclasses.replace(sample, tags=(*sample.tags, NO_TARGET_TAG))


def _is_complete(
    path: Path, experiment: Experiment, split: str, num_samples: int, checkpoint: str
) -> bool:
    """Whether a resumed generation has nothing left to do, told without loading any weights."""
    meta = read_meta(path)
    same = (
        meta.scheme == experiment.scheme.fingerprint()
        and meta.config_hash == experiment.answers_hash()
        and meta.checkpoint == checkpoint
        and meta.split == split
    )
    return same and len(read_predictions(path)) >= num_samples
