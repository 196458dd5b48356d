"""Answers against the truth, one after another or by several processes, with the same result."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from t4spp.components import Refiner
from t4spp.decoding.prediction import Prediction
from t4spp.decoding.processes import Crew
from t4spp.evaluation.breakdowns import describe_breakdowns
from t4spp.evaluation.pairs import AnswerRow, PairScore, answer_row, read_answer, score_pairs
from t4spp.evaluation.protocols.base import Answered, HasImage
from t4spp.evaluation.protocols.native import NativeProtocol
from t4spp.evaluation.protocols.panel import Panel
from t4spp.evaluation.scores import NO_TARGET_TAG, SCHEMA, describe_answers
from t4spp.evaluation.spatial_windows import WindowCollector
from t4spp.evaluation.workers import by_workers
from t4spp.schemes.base import Scheme
from t4spp.types import Decoded, Sample

logger = logging.getLogger(__name__)

Progress = Callable[[int], object]
"""Told how many samples have just been done, by all processes together."""
Find = Callable[[int, Sample], Prediction]
"""The answer to a sample, by its position in the split; RunError where there is none."""
Read = Callable[[Sample, Prediction], Decoded]
"""What an answer says, refined."""
Count = Callable[[], Mapping[str, int]]
"""Counters so far."""

MAX_WORKERS = 8
"""Processes that are taken unasked."""
LEAST_SAMPLES = 1000
"""Below it, starting processes costs more than it saves."""
_CHUNK = 64
"""Samples that a worker takes at once."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Scored answers.

    Attributes:
        pairs: all processes', in the split's order.
        rows: likewise, one a sample.
        panel: the protocols, with the rows of what this process scored.
        refined: how many regions the refiner changed or left, by its own names, in all processes.
        counted: what the recipe counted while workers read its samples; those that this process
            read itself, the recipe knows of.
    """

    pairs: Sequence[PairScore]
    rows: Sequence[AnswerRow]
    panel: Panel
    refined: Mapping[str, int]
    counted: Mapping[str, int] = field(default_factory=dict)


@dataclass(kw_only=True)
class _Part:
    """What came out of some samples; picklable."""

    num_samples: int = 0
    pairs: list[PairScore] = field(default_factory=list)
    rows: list[AnswerRow] = field(default_factory=list)
    measured: dict[str, list[HasImage]] = field(default_factory=dict)
    collector: WindowCollector | None = None
    refined: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What scoring a sample needs. Workers get it by being forked, so nothing has to pickle."""

    samples: Sequence[Sample]
    find: Find
    read: Read
    refiner: Refiner
    panel: Panel
    collects: bool
    counters: Count

    def score(self, positions: Sequence[int]) -> _Part:
        """Score the samples at some positions."""
        part = _Part(collector=WindowCollector() if self.collects else None)
        refined, counted = Counter(self.refiner.counters()), Counter(self.counters())
        for position in positions:
            self._score_one(position, part)
        part.refined.update(self.refiner.counters())
        part.refined.subtract(refined)
        part.counted.update(self.counters())
        part.counted.subtract(counted)
        part.num_samples = len(positions)
        return part

    def _score_one(self, position: int, part: _Part) -> None:
        sample = self.samples[position]
        prediction = self.find(position, sample)
        decoded = self.read(sample, prediction)
        tagged = _tagged(sample)
        pairs = score_pairs(position, tagged, decoded)
        answered = Answered(
            position=position, sample=tagged, prediction=prediction, decoded=decoded, pairs=pairs
        )
        part.pairs.extend(pairs)
        for name, rows in self.panel.measure(answered).items():
            part.measured.setdefault(name, []).extend(rows)
        if part.collector is not None:
            part.collector(position, tagged, prediction, decoded, pairs)
        part.rows.append(answer_row(position, tagged, prediction, decoded))


def score_answers(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction] | Find,
    scheme: Scheme | Read,
    refiner: Refiner,
    *,
    protocols: Sequence[str] = (NativeProtocol.name,),
    progress: Progress | None = None,
    crew: Crew | None = None,
    collector: WindowCollector | None = None,
    workers: int = 0,
    counters: Count = dict,
) -> Scored:
    """Decode, refine and compare; each process takes every ``crew.size``-th sample.

    Args:
        samples: the truth.
        predictions: the answer to each sample, in the same order; or what finds it.
        scheme: that wrote them; or what reads them instead, and refines.
        refiner: of the decoded masks.
        protocols: by name, all in the one pass.
        progress: told as samples are done.
        crew: the processes; None for the current ones.
        collector: remembers windows of scenes.
        workers: processes that this one forks to share its samples among; 0: none. Scores do not
            depend on it. See :func:`num_workers`.
        counters: what the recipe has counted so far.

    Raises:
        RecipeError: the refiner reads pixels and a picture is missing or damaged.
        RunError: a sample has no answer, or a worker died.
    """
    crew = crew or Crew.current()
    panel = Panel(protocols)
    find = predictions if callable(predictions) else _in_order(predictions)
    job = _Job(
        samples=samples,
        find=find,
        read=_by_scheme(scheme, refiner) if isinstance(scheme, Scheme) else scheme,
        refiner=refiner,
        panel=panel,
        collects=collector is not None,
        counters=counters if workers else dict,
    )
    positions = range(crew.rank, len(samples), crew.size)
    size = _CHUNK if workers else 1
    chunks = [positions[start : start + size] for start in range(0, len(positions), size)]
    mine: list[PairScore] = []
    rows: list[AnswerRow] = []
    refined: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    left = len(samples)
    parts = (
        by_workers(
            job.score,
            chunks,
            workers,
            advice="--set evaluation.workers=0 scores in the process itself",
        )
        if workers
        else map(job.score, chunks)
    )
    for part in parts:
        mine.extend(part.pairs)
        rows.extend(part.rows)
        panel.add(part.measured)
        refined.update(part.refined)
        if workers:
            counted.update(part.counted)
        if collector is not None and part.collector is not None:
            collector.extend(part.collector)
        if progress is not None:
            done = min(left, part.num_samples * crew.size)
            left -= done
            progress(done)
    return Scored(
        pairs=sorted(crew.gather(mine), key=lambda pair: pair.position),
        rows=sorted(crew.gather(rows), key=lambda row: row.position),
        panel=panel,
        refined=sum((Counter(part) for part in crew.gather([dict(refined)])), Counter()),
        counted=+counted,
    )


def num_workers(wanted: int | None, num_samples: int, refiner: Refiner, crew: Crew) -> int:
    """How many processes score a split; 0: this one.

    Args:
        wanted: ``evaluation.workers``; None: one a core that this process may use, ``MAX_WORKERS``
            at most, for ``LEAST_SAMPLES`` and more.
        num_samples: of the split.
        refiner: one that reads pixels has a model, which is not copied into other processes.
        crew: of several processes, each scores its own share alone.
    """
    obstacle = ""
    if refiner.reads_pixels:
        obstacle = "the refiner reads pixels"
    elif crew.size > 1:
        obstacle = f"{crew.size} processes share the samples already"
    elif "fork" not in multiprocessing.get_all_start_methods():
        obstacle = "this system cannot fork"
    if obstacle:
        if wanted:
            logger.warning("evaluation.workers: %d is left out: %s", wanted, obstacle)
        return 0
    if wanted is not None:
        return wanted
    cores = min(_num_cores(), MAX_WORKERS)
    return cores if cores > 1 and num_samples >= LEAST_SAMPLES else 0


def summarise(
    scored: Scored,
    *,
    crew: Crew,
    resamples: int,
    seed: int,
    seen: frozenset[str] | None = None,
) -> dict[str, Any]:
    """What ``metrics.json`` has of scores and answers. All processes must call it.

    Args:
        scored: the answers.
        crew: the processes.
        resamples: of the bootstrap; 0: no intervals.
        seed: of the bootstrap.
        seen: labels of the training samples; None where they are not known.
    """
    present = sum(pair.has_target for pair in scored.pairs)
    num_in_words = sum(row.in_words for row in scored.rows)
    if num_in_words and not any(p.dialogue for p in scored.panel.protocols.values()):
        logger.warning(
            "%d of %d samples ask for words, and no protocol looks at them: add dialogue to "
            "evaluation.protocols",
            num_in_words,
            len(scored.rows),
        )
    scores, counts = scored.panel.scores(crew, resamples=resamples, seed=seed)
    return {
        "schema": SCHEMA,
        "num_samples": len(scored.rows),
        "num_in_words": num_in_words,
        "num_images": len({pair.image_id for pair in scored.pairs}),
        "num_targets": present,
        "num_no_target": len(scored.pairs) - present,
        "protocols": scores,
        "protocol_counts": counts,
        "breakdowns": describe_breakdowns(scored.pairs, resamples=resamples, seed=seed, seen=seen),
        "answers": describe_answers(scored.rows, scored.pairs, resamples=resamples, seed=seed),
    }


def _by_scheme(scheme: Scheme, refiner: Refiner) -> Read:
    return lambda sample, prediction: read_answer(sample, prediction, scheme, refiner)[1]


def _in_order(predictions: Sequence[Prediction]) -> Find:
    return lambda position, sample: predictions[position]


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _tagged(sample: Sample) -> Sample:
    """The sample, tagged where a mask is asked for and it has no target."""
    if sample.targets or sample.kind == "dialogue" or NO_TARGET_TAG in sample.tags:
        return sample
    return dataclasses.replace(sample, tags=(*sample.tags, NO_TARGET_TAG))
