import math
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4spp.decoding.prediction import Prediction
from t4spp.evaluation.contours import contour, contour_distances
from t4spp.evaluation.pairs import score_pairs
from t4spp.evaluation.protocols.base import Answered
from t4spp.evaluation.protocols.contour import ContourProtocol
from t4spp.types import Decoded, Region, Sample, Target


def _mask(y0, x0, y1, x1, size=(30, 40)):
    mask = np.zeros(size, dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def _answered(truth, predicted, *, position=0, ignore=None, labels=("dog",)):
    size = (predicted if truth is None else truth).shape
    sample = Sample(
        id=f"s{position}",
        size=size,
        prompt="dog",
        labels=labels,
        targets=() if truth is None else (Target(label="dog", mask=truth),),
        ignore=ignore,
    )
    regions = () if predicted is None else (Region(label="dog", mask=predicted),)
    decoded = Decoded(regions=regions, status="ok")
    prediction = Prediction(
        id=sample.id, prompt="dog", labels=labels, text="", num_tokens=0, num_passes=0, seconds=0.0
    )
    return Answered(
        position=position,
        sample=sample,
        prediction=prediction,
        decoded=decoded,
        pairs=score_pairs(position, sample, decoded),
    )


def _scores(*answers):
    protocol = ContourProtocol()
    rows = [row for answer in answers for row in protocol.measure(answer)]
    protocol.update(rows)
    return protocol.compute(), protocol.counts(rows)


def _random_pairs(number=200, seed=7):
    """Blobs, rings, specks, frames, and masks with an empty side, of several sizes."""
    rng = np.random.default_rng(seed)
    for index in range(number):
        size = (int(rng.integers(8, 49)), int(rng.integers(8, 65)))
        pair = []
        for _ in range(2):
            grid = rng.random((int(rng.integers(2, 9)), int(rng.integers(2, 9))))
            rows = np.arange(size[0]) * grid.shape[0] // size[0]
            columns = np.arange(size[1]) * grid.shape[1] // size[1]
            pair.append(grid[rows][:, columns] > rng.uniform(0.1, 0.95))
        if index % 20 == 0:
            pair[0][:] = False
        if index % 20 in (0, 1):
            pair[1][:] = False
        if index % 20 == 2:
            pair[0][:] = True
        if index % 20 == 3:
            pair[1] = pair[0].copy()
        yield pair


def test_distances_equal_monais_on_200_random_pairs_empty_sides_included():
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics", reason="monai is a dependency of the tests")
    empty = 0
    for first, second in _random_pairs():
        ours = contour_distances(first, second)
        one, other = (torch.from_numpy(mask)[None, None].float() for mask in (first, second))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            directed = [
                float(metrics.compute_average_surface_distance(a, b, include_background=True))
                for a, b in ((one, other), (other, one))
            ]
            theirs = [
                float(
                    metrics.compute_hausdorff_distance(
                        one, other, include_background=True, percentile=percentile
                    )
                )
                for percentile in (None, 95)
            ]
        if not first.any() or not second.any():
            empty += 1
            # MONAI: NaN, infinite or 0, by the empty side. Ours: 0 for two, the diagonal for one.
            assert not all(math.isfinite(value) and value > 0 for value in (*directed, *theirs))
            expected = math.hypot(*first.shape) if first.any() or second.any() else 0.0
            assert (ours.ahd, ours.hd95, ours.hd) == (expected,) * 3
            continue
        assert ours.ahd == pytest.approx(sum(directed) / 2, rel=1e-6, abs=1e-6)
        assert ours.hd == pytest.approx(theirs[0], rel=1e-6, abs=1e-6)
        assert ours.hd95 == pytest.approx(theirs[1], rel=1e-6, abs=1e-6)
    assert empty >= 20


def test_the_contour_of_a_square_is_its_rim_and_a_full_picture_has_one():
    rim = contour(_mask(2, 3, 6, 8))
    assert int(rim.sum()) == 2 * 5 + 2 * 2
    assert not rim[3, 4]
    assert int(contour(np.ones((4, 5), dtype=np.bool_)).sum()) == 14


def test_a_corner_neighbour_outside_makes_no_contour_pixel():
    mask = np.ones((5, 5), dtype=np.bool_)
    mask[0, 0] = False
    assert not contour(mask)[1, 1]


def test_a_square_moved_by_three_columns_by_hand():
    # Rims of 4 x 4, twelve pixels each. The columns 0..3 against 3..6: each of 4, 2, 2, 4 pixels
    # lies 3, 2, 1, 0 columns away, except where the other rim's rows lie nearer.
    first, second = _mask(10, 10, 14, 14), _mask(10, 13, 14, 17)
    found = contour_distances(first, second)
    assert found.ahd == pytest.approx((4 * 3 + 2 * 2 + 2 * 1 + 4 * 0) / 12)
    assert found.hd == 3.0


def test_one_empty_side_is_the_diagonal_and_two_are_nothing():
    nothing = np.zeros((30, 40), dtype=np.bool_)
    for pair in ((nothing, _mask(0, 0, 5, 5)), (_mask(0, 0, 5, 5), nothing)):
        assert contour_distances(*pair).ahd == 50.0
        assert contour_distances(*pair).hd == 50.0
    assert contour_distances(nothing, nothing).ahd == 0.0


@given(
    st.lists(st.booleans(), min_size=48, max_size=48),
    st.lists(st.booleans(), min_size=48, max_size=48),
)
def test_distances_are_symmetric_ordered_and_zero_for_equal_masks_alone(first, second):
    one, other = (np.array(bits, dtype=np.bool_).reshape(6, 8) for bits in (first, second))
    found = contour_distances(one, other)
    assert found == contour_distances(other, one)
    assert 0 <= found.ahd <= found.hd <= 10
    assert found.hd95 <= found.hd
    assert (found.hd == 0) == bool((contour(one) == contour(other)).all())
    assert contour_distances(one, one).hd == 0


def test_an_equal_mask_scores_one_and_an_empty_answer_nothing():
    scores, counts = _scores(
        _answered(_mask(5, 5, 15, 15), _mask(5, 5, 15, 15)),
        _answered(_mask(5, 5, 15, 15), None, position=1),
    )
    assert scores["contour_score"] == 0.5
    assert scores["mean_iou"] == 0.5
    assert scores["ahd"] == 25.0  # 0 and the diagonal of 30 x 40
    assert scores["ahd_relative"] == 0.5
    assert scores["ahd_found"] == 0.0
    assert counts == {"pairs": 2, "empty_answers": 1, "pairs_without_target_left_out": 0}


def test_the_score_halves_where_contours_lie_two_percent_of_the_diagonal_apart():
    # 30 x 40 has the diagonal 50, so that 2 % are one pixel. A full row, moved by one pixel.
    scores, _ = _scores(_answered(_mask(10, 0, 11, 40), _mask(11, 0, 12, 40)))
    assert scores["ahd"] == 1.0
    assert scores["contour_score"] == 0.0  # no pixel in common
    scores, _ = _scores(_answered(_mask(10, 0, 12, 40), _mask(11, 0, 13, 40)))
    assert scores["ahd"] == pytest.approx(0.5)
    assert scores["contour_score"] == pytest.approx((1 / 3) / 1.5)


def test_prompts_without_a_target_add_nothing_and_are_counted():
    scores, counts = _scores(
        _answered(None, _mask(0, 0, 3, 3)),
        _answered(_mask(5, 5, 15, 15), _mask(5, 5, 15, 15), position=1),
    )
    assert scores["contour_score"] == 1.0
    assert counts["pairs_without_target_left_out"] == 1


def test_ignored_pixels_move_no_contour():
    ignore = _mask(5, 15, 15, 40)
    scores, _ = _scores(_answered(_mask(5, 5, 15, 15), _mask(5, 5, 15, 30), ignore=ignore))
    assert scores["ahd"] == 0.0
    assert scores["contour_score"] == 1.0


def test_nothing_to_score_is_nan_and_rows_travel():
    protocol = ContourProtocol()
    protocol.update([])
    assert all(math.isnan(value) for value in protocol.compute().values())
    rows = protocol.measure(_answered(_mask(5, 5, 15, 15), _mask(5, 6, 15, 16)))
    assert pickle.loads(pickle.dumps(rows)) == list(rows)


def test_the_intervals_terms_are_the_scores():
    answers = [
        _answered(_mask(5, 5, 15, 15), _mask(5, 5 + shift, 15, 15 + shift), position=shift)
        for shift in range(6)
    ] + [_answered(_mask(5, 5, 15, 15), None, position=6)]
    protocol = ContourProtocol()
    rows = [row for answer in answers for row in protocol.measure(answer)]
    protocol.update(rows)
    scores = protocol.compute()
    terms = protocol.terms(rows)
    assert set(terms) == set(scores)
    for name, term in terms.items():
        assert term.value() == pytest.approx(scores[name], abs=1e-12)


def test_the_order_of_rows_changes_no_digit():
    rng = np.random.default_rng(3)
    protocol = ContourProtocol()
    rows = []
    for position in range(40):
        y, x = rng.integers(0, 15, 2)
        truth, answer = _mask(5, 5, 15, 15), _mask(y, x, y + 9, x + 12)
        rows += protocol.measure(_answered(truth, answer, position=position))
    protocol.update(rows)
    other = ContourProtocol()
    other.update(rows[::-1][:7])
    other.update(rows[::-1][7:])
    assert other.compute() == protocol.compute()
