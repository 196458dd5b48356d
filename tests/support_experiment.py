"""What the tests of answering and of whole runs share: a tiny experiment, read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from t4spp.config import load_config
from t4spp.evaluation.experiment import Experiment
from t4spp.plugins import load_catalogue

PLUGIN = Path(__file__).resolve().parent / "support_backbone.py"


def tiny_experiment(folder: Path, **sections: Any) -> Experiment:
    """Seven rectangles for a model of a few thousand weights; the config is folder/tiny.yaml."""
    config = {
        "name": "tiny",
        "scheme": {"name": "next-brick", "params": {"grid": 4}},
        "backbone": {"name": "tiny-text"},
        "data": {"recipe": {"name": "rectangles", "params": {"num_samples": 7}}},
        "generation": {"batch_size": 2, "max_new_tokens": 9},
        "evaluation": {"bootstrap": 10},
        **sections,
    }
    path = folder / "tiny.yaml"
    path.write_text(json.dumps(config))
    catalogue = load_catalogue(plugin_files=[PLUGIN])
    return Experiment(config=load_config(path, (), catalogue), catalogue=catalogue)


def texts_in(path: Path) -> list[str]:
    """The raw answers of a predictions file."""
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]
