"""Two gloo processes with uneven shards score what one process scores, to the last bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from support_protocol_processes import NAMES, all_scores

from t4spp.decoding.processes import Crew

NUMBERS = (7, 1)
"""Answers: four on one process and three on the other; one and none."""


def test_two_processes_score_exactly_what_one_scores(project: Path, tmp_path: Path) -> None:
    single = json.loads(json.dumps([all_scores(Crew(), number) for number in NUMBERS]))
    file = tmp_path / "two.json"
    folders = [project / name for name in (".", "plugins", "data_recipes", "tests")]
    program = project / "tests" / "support_protocol_processes.py"
    launched = subprocess.run(
        [
            *(sys.executable, "-m", "accelerate.commands.launch"),
            *("--config_file", str(project / "configs" / "base" / "accelerate" / "cpu2.yaml")),
            *map(str, (program, file, *NUMBERS)),
        ],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert launched.returncode == 0, launched.stderr
    two = json.loads(file.read_text())
    assert [result.pop("size") for result in single] == [1, 1]
    assert [result.pop("size") for result in two] == [2, 2]
    for shared, alone in zip(two, single, strict=True):
        assert set(shared["scores"]) == set(NAMES)
        assert shared == alone
    for name in ("native", "lisa", "grefcoco", "reasonseg", "rmsin", "segearth", "open-vocab"):
        values = [score["value"] for score in two[0]["scores"][name].values()]
        assert any(value not in (None, 0.0, 1.0) for value in values), name
