"""Generating and scoring a split of a run: raw text -> decode -> refine -> metrics."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from t4spp.components import Backbone
from t4spp.data.vocabulary import trained_labels
from t4spp.decoding.engine import Engine
from t4spp.decoding.generate import generate, resume_point
from t4spp.decoding.processes import Crew
from t4spp.errors import RunError
from t4spp.evaluation.experiment import METRICS_NAME, Experiment
from t4spp.evaluation.predictions import (
    PredictionFile,
    PredictionMeta,
    PredictionWriter,
    check_scheme,
    match_samples,
    predictions_path,
    read_meta,
    read_predictions,
    scores_path,
)
from t4spp.evaluation.protocols.catalogue import check_protocols
from t4spp.evaluation.scores import score_lines
from t4spp.evaluation.scoring import Progress, num_workers, score_answers, summarise
from t4spp.evaluation.spatial_run import with_space
from t4spp.evaluation.spatial_windows import WindowCollector
from t4spp.evaluation.sums import sums_lines, sums_path
from t4spp.training.atomic import write_text

logger = logging.getLogger(__name__)


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

    Writes ``predictions/<split>.scores.jsonl``, ``<split>.sums.jsonl`` and ``metrics.json``, or,
    for another split than the config's, ``predictions/<split>.metrics.json``. Every process must
    call this; the main one writes.

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
    answers = PredictionFile(path)
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
    answers.check(samples)
    crew = Crew.current()
    config = experiment.config
    collector = WindowCollector() if config.evaluation.space else None
    scored = score_answers(
        samples,
        answers.find,
        experiment.scheme,
        experiment.refiner,
        protocols=names,
        progress=progress,
        crew=crew,
        collector=collector,
        workers=num_workers(config.evaluation.workers, len(samples), experiment.refiner, crew),
        counters=experiment.recipe.counters,
    )
    metrics = {
        "split": split,
        "scheme": meta.scheme,
        "backbone": meta.backbone,
        "checkpoint": meta.checkpoint,
        "refiner": config.refiner.model_dump(mode="json"),
        "refiner_counters": dict(scored.refined),
        "recipe_counters": _joined(experiment.recipe.counters(), scored.counted),
        **summarise(
            scored,
            crew=crew,
            resamples=config.evaluation.bootstrap,
            seed=config.seed,
            seen=_seen(experiment) if crew.is_main else None,
        ),
    }
    if collector is not None:
        metrics = with_space(metrics, experiment, path, collector, crew)
    if crew.is_main:
        write_text(scores_path(path), score_lines(scored.pairs))
        ids = {row.position: row.id for row in scored.rows}
        lines = sums_lines(ids, scored.panel.protocols, scored.panel.everyone)
        write_text(sums_path(path), "".join(lines))
        text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_text(metrics_path(experiment, run, split), text)
    crew.wait()
    return metrics


def metrics_path(experiment: Experiment, run: Path, split: str) -> Path:
    """Where a split's scores are written."""
    if split == experiment.config.data.eval_split:
        return run / METRICS_NAME
    return predictions_path(run, split).with_name(f"{split}.metrics.json")


def _seen(experiment: Experiment) -> frozenset[str] | None:
    """The labels that the run was trained on; None where it was not, or nobody can say."""
    config = experiment.config
    if config.training.mode == "none":
        return None
    return trained_labels(experiment.recipe, config.data)


def _joined(counters: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    """Counters of this process, and what its workers counted."""
    return {name: counters.get(name, 0) + more.get(name, 0) for name in {**counters, **more}}


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
