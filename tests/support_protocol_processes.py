"""Answers, scored by every protocol for masks on however many processes there are.

Started by ``accelerate launch``, it writes what the main process computed: FILE NUMBER NUMBER ...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from support_protocols import answered

from t4spp.decoding.processes import Crew
from t4spp.evaluation.protocols.base import Answered
from t4spp.evaluation.protocols.catalogue import PROTOCOLS
from t4spp.evaluation.protocols.panel import Panel
from t4spp.types import FURTHER_PHRASE

NAMES = tuple(name for name, protocol in PROTOCOLS.items() if not protocol.dialogue)


def an_answer(position: int) -> Answered:
    """Masks of three classes that share no simple fraction, some absent, some invented."""
    generator = np.random.default_rng(position)
    size = (17 + position, 23)
    names = ("cat", "dog", "sky")
    truth = [(name, generator.random(size) < 0.3) for name in names if generator.random() < 0.7]
    # Most of each true mask, and something that was not asked for every third time.
    answer = [(name, mask & (generator.random(size) < 0.8)) for name, mask in truth[:2]]
    if position % 3 == 0:
        answer.append(("dog", generator.random(size) < 0.1))
    return answered(
        truth,
        answer,
        labels=names,
        position=position,
        size=size,
        kind="partial" if position == 5 else "conditioned",
        image_id=f"picture-{position // 2}",
        tags=(FURTHER_PHRASE,) if position == 1 else (),
        ignore=generator.random(size) < 0.1 if position % 2 else None,
    )


def all_scores(crew: Crew, number: int) -> dict[str, Any]:
    """Every protocol's scores, intervals and counts; each process measures every n-th answer."""
    panel = Panel(NAMES)
    for position in range(crew.rank, number, crew.size):
        panel.add(panel.measure(an_answer(position)))
    scores, counts = panel.scores(crew, resamples=50, seed=0)
    return {"size": crew.size, "scores": scores, "counts": counts}


if __name__ == "__main__":
    current = Crew.current()
    results = [all_scores(current, int(number)) for number in sys.argv[2:]]
    if current.is_main:
        Path(sys.argv[1]).write_text(json.dumps(results))
    current.wait()
