from __future__ import annotations

import numpy as np

from t4spp.plugins import load_catalogue
from t4spp.testing import build_scheme, check_scheme
from t4spp.types import Target


def test_column_rle_obeys_every_law() -> None:
    check_scheme(build_scheme("column-rle", grid=[3, 4]))


def test_pole_is_written_in_one_run() -> None:
    mask = np.zeros((4, 3), dtype=np.bool_)
    mask[:, 1] = True
    scheme = build_scheme("column-rle", grid=[4, 3])
    text = scheme.encode([Target(label="pole", mask=mask)], (4, 3))
    assert text == "others *4\n pole *4\n others *4\n"


def test_problem_names_the_pictures_row_and_column() -> None:
    scheme = build_scheme("column-rle", grid=[4, 3])
    decoded = scheme.decode("others *4\n pole *3\n others *4\n", (4, 3))
    assert decoded.status == "repaired"
    assert [(problem.row, problem.column) for problem in decoded.problems] == [(3, 1)]


def test_chart_is_the_same_each_time() -> None:
    recipe = load_catalogue().build("recipe", "checkerboards", {"size": 64, "num_samples": 5})
    charts = recipe.samples("val")
    assert len(charts) == 5
    assert np.array_equal(charts[3].image, charts[3].image)
    assert (charts[3].targets[0].mask == (charts[3].image[:, :, 0] < 128)).all()
    assert charts[-1].id == "val-00004"
