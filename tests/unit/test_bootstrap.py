import numpy as np
import pytest

from t4spp.evaluation.bootstrap import Terms, bootstrap_intervals


def _terms(numerator, denominator=None):
    numerator = np.asarray(numerator, dtype=np.float64)
    if denominator is None:
        denominator = np.ones_like(numerator)
    return Terms(numerator=numerator, denominator=np.asarray(denominator, dtype=np.float64))


def _loop(image_ids, term, resamples, seed):
    """The same resampling, one draw at a time in plain Python."""
    names = sorted(set(image_ids))
    rng = np.random.default_rng(seed)
    values = []
    for start in range(0, resamples, 64):
        picks = rng.integers(0, len(names), (min(64, resamples - start), len(names)))
        for row in picks:
            numerator = denominator = 0.0
            for pick in row:
                for image, n, d in zip(image_ids, term.numerator, term.denominator, strict=True):
                    if image == names[pick]:
                        numerator += n
                        denominator += d
            if denominator > 0:
                values.append(numerator / denominator)
    return np.percentile(values, [2.5, 97.5])


def test_vectorised_resampling_equals_a_loop_over_images():
    rng = np.random.default_rng(3)
    image_ids = [f"image{i}" for i in rng.integers(0, 7, 20)]
    term = _terms(rng.random(20), rng.integers(0, 3, 20))
    found = bootstrap_intervals(image_ids, {"score": term}, resamples=130, seed=5)["score"]
    low, high = _loop(image_ids, term, 130, 5)
    assert found.low == pytest.approx(low, abs=1e-12)
    assert found.high == pytest.approx(high, abs=1e-12)


def test_equal_seeds_give_equal_intervals_and_other_seeds_do_not():
    ids = [str(i) for i in range(30)]
    terms = {"score": _terms(np.linspace(0, 1, 30))}
    first = bootstrap_intervals(ids, terms, seed=1)
    assert first == bootstrap_intervals(ids, terms, seed=1)
    assert first != bootstrap_intervals(ids, terms, seed=2)


def test_prompts_of_one_picture_are_drawn_together():
    # 40 prompts that always agree within a picture: 4 pictures carry the whole uncertainty.
    values = np.repeat([0.0, 0.0, 1.0, 1.0], 10)
    ids = np.repeat(["a", "b", "c", "d"], 10).tolist()
    together = bootstrap_intervals(ids, {"score": _terms(values)})["score"]
    apart = bootstrap_intervals([str(i) for i in range(40)], {"score": _terms(values)})["score"]
    assert together.low == 0.0
    assert together.high == 1.0
    assert apart.low > 0.3
    assert apart.high < 0.7


def test_interval_of_the_mean_has_its_textbook_width():
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    found = bootstrap_intervals([str(i) for i in range(400)], {"m": _terms(values)}, seed=1)["m"]
    half_width = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half_width, abs=0.0015)
    assert found.high == pytest.approx(values.mean() + half_width, abs=0.0015)


def test_score_without_rows_has_no_interval():
    none = _terms([1.0, 1.0], [0.0, 0.0])
    found = bootstrap_intervals(["a", "b"], {"none": none, "all": _terms([1.0, 1.0])})
    assert np.isnan(found["none"].low)
    assert found["all"].low == 1.0
    assert np.isnan(none.value())


@pytest.mark.parametrize("resamples", [0, 1000])
def test_no_rows_at_all_are_no_error(resamples):
    empty = {"score": _terms([])}
    found = bootstrap_intervals([], empty, resamples=resamples)
    assert np.isnan(found["score"].low)


def test_a_resample_without_rows_of_a_score_is_left_out_of_its_interval():
    terms = {"rare": _terms([0.4, 0.0, 0.0], [1.0, 0.0, 0.0])}
    found = bootstrap_intervals(["a", "b", "c"], terms)["rare"]
    assert (found.low, found.high) == (pytest.approx(0.4), pytest.approx(0.4))
