"""Scoring a model while it trains; nothing is written to disk."""

from __future__ import annotations

from typing import Any

from t4spp.components import Backbone
from t4spp.data.head import head
from t4spp.decoding.engine import Engine
from t4spp.decoding.generate import generate
from t4spp.decoding.processes import Crew
from t4spp.evaluation.experiment import Experiment
from t4spp.evaluation.scoring import score_answers, summarise


class TrainingEvaluator:
    """Answers and scores the first ``training.eval_samples`` of the scored split.

    The trainer calls it on every process, every ``training.evaluate_every`` steps. It stops
    nothing and writes nothing: what it returns goes to the trackers.
    """

    def __init__(self, experiment: Experiment, engine: Engine | None = None) -> None:
        """Keep the experiment; the samples are read at the first call."""
        self.experiment = experiment
        self.engine = engine

    def __call__(self, backbone: Backbone, step: int) -> dict[str, Any]:
        """The content of a ``metrics.json`` after ``step`` steps, without intervals."""
        config = self.experiment.config
        crew = Crew.current()
        whole = self.experiment.samples(config.data.eval_split)
        samples = head(whole, config.training.eval_samples)
        answers = generate(
            backbone,
            samples,
            self.experiment.scheme,
            self.experiment.builder(backbone),
            self.experiment.settings(),
            crew=crew,
            engine=self.engine,
        )
        predictions = crew.share(list(answers))
        scored = score_answers(
            samples,
            predictions,
            self.experiment.scheme,
            self.experiment.refiner,
            protocols=config.evaluation.protocols,
            crew=crew,
        )
        return {
            "step": step,
            **summarise(scored, crew=crew, resamples=0, seed=config.seed),
        }
