"""The content of ``metrics.json``: scores with intervals, how answers were read, what they cost."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from t4spp.evaluation.pairs import AnswerRow, PairScore
from t4spp.evaluation.protocols.native import NativeProtocol
from t4spp.evaluation.protocols.panel import with_intervals

SCHEMA = 1
"""Version of ``metrics.json``."""
NO_TARGET_TAG = "no-target"
"""Tag that every sample without a target gets in the break-down."""


def describe_answers(
    rows: Sequence[AnswerRow],
    pairs: Sequence[PairScore],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """How the answers were read and what they cost, and the ``native`` scores a tag.

    Args:
        rows: one a sample.
        pairs: the scored pairs.
        resamples: of the bootstrap of each tag's scores.
        seed: of the bootstrap.
    """
    statuses = Counter(row.status for row in rows)
    occurrences: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    for row in rows:
        occurrences.update(row.problems)
        answers.update(row.problems.keys())
    tokens = [row.num_tokens for row in rows if row.num_tokens is not None]
    return {
        "num_answers": len(rows),
        **{name: statuses[name] for name in ("ok", "repaired", "invalid")},
        "shares": {
            name: statuses[name] / len(rows) if rows else None
            for name in ("ok", "repaired", "invalid")
        },
        "problems": {
            code: {"answers": answers[code], "occurrences": number}
            for code, number in sorted(occurrences.items(), key=lambda item: (-item[1], item[0]))
        },
        "unasked_labels": sum(row.unasked_labels for row in rows),
        "tokens": {"mean": _mean(tokens), "p95": _percentile(tokens, 95)},
        "passes": {"mean": _mean([row.num_passes for row in rows])},
        "tokens_per_pass": _tokens_per_pass(rows),
        "drafted": {
            "mean": _mean([row.num_drafted for row in rows]),
            "accepted": _mean([row.num_accepted for row in rows]),
        },
        "engines": dict(Counter(row.engine for row in rows if row.engine)),
        "seconds": {"mean": _mean([row.seconds for row in rows])},
        "tags": _by_tag(rows, pairs, resamples, seed),
    }


def _tokens_per_pass(rows: Sequence[AnswerRow]) -> float | None:
    """Tokens over passes, sums, of the answers that passes were made for."""
    counted = [row for row in rows if row.num_tokens is not None and row.num_passes]
    passes = sum(row.num_passes for row in counted)
    return sum(row.num_tokens or 0 for row in counted) / passes if passes else None


def score_lines(pairs: Sequence[PairScore]) -> str:
    """JSON Lines, one a pair: what the report ranks its gallery by."""
    return "".join(
        json.dumps(
            {
                "id": pair.id,
                "image_id": pair.image_id,
                "label": pair.label,
                "iou": pair.iou,
                "intersection": pair.intersection,
                "union": pair.union,
                "status": pair.status,
                "has_target": pair.has_target,
                "tags": list(pair.tags),
            },
            ensure_ascii=False,
        )
        + "\n"
        for pair in pairs
    )


def _by_tag(
    rows: Sequence[AnswerRow], pairs: Sequence[PairScore], resamples: int, seed: int
) -> dict[str, Any]:
    tags = sorted({tag for pair in pairs for tag in pair.tags})
    described: dict[str, Any] = {}
    for tag in tags:
        chosen = [pair for pair in pairs if tag in pair.tags]
        positions = {pair.position for pair in chosen}
        statuses = Counter(row.status for row in rows if row.position in positions)
        protocol = NativeProtocol()
        values = {name: term.value() for name, term in protocol.terms(chosen).items()}
        intervals = protocol.intervals(chosen, resamples=resamples, seed=seed)
        described[tag] = {
            "num_samples": len(positions),
            "ok": statuses["ok"],
            "repaired": statuses["repaired"],
            "invalid": statuses["invalid"],
            **with_intervals(values, intervals),
        }
    return described


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None
