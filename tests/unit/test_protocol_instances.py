import contextlib
import io
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t4spp.decoding.prediction import Prediction
from t4spp.evaluation import coco_intervals
from t4spp.evaluation.coco_intervals import RESAMPLED, RESAMPLED_POOLED
from t4spp.evaluation.coco_matching import CocoObject, match_objects, object_ious, pair_up
from t4spp.evaluation.coco_scores import SUMMARY, read_records, write_records
from t4spp.evaluation.pairs import score_pairs
from t4spp.evaluation.protocols.base import Answered
from t4spp.evaluation.protocols.instances import InstancesProtocol, instance_row
from t4spp.types import Decoded, Region, Sample, Target


def _mask(y0, x0, y1, x1, size=(100, 100)):
    mask = np.zeros(size, dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def _answered(targets, regions, *, position=0, labels=("dog",), ignore=None, image_id=""):
    sample = Sample(
        id=f"s{position}",
        size=(100, 100),
        prompt="|".join(labels),
        labels=labels,
        targets=tuple(Target(label=label, mask=mask) for label, mask in targets),
        ignore=ignore,
        image_id=image_id,
    )
    decoded = Decoded(
        regions=tuple(Region(label=label, mask=mask) for label, mask in regions), status="ok"
    )
    prediction = Prediction(
        id=sample.id, prompt="", labels=labels, text="", num_tokens=0, num_passes=0, seconds=0.0
    )
    pairs = score_pairs(position, sample, decoded)
    return Answered(
        position=position, sample=sample, prediction=prediction, decoded=decoded, pairs=pairs
    )


def _scores(*answers):
    protocol = InstancesProtocol()
    rows = [row for answer in answers for row in protocol.measure(answer)]
    protocol.update(rows)
    return protocol.compute(), protocol.counts(rows)


def test_two_instances_found_one_to_one_score_one_in_every_value():
    two = [("dog", _mask(0, 0, 40, 40)), ("dog", _mask(50, 50, 90, 90))]
    scores, counts = _scores(_answered(two, two))
    for name in ("ap", "ap50", "ap75", "ap_medium", "ar10", "ar100", "phrase_ap"):
        assert scores[f"segm_{name}"] == pytest.approx(1.0)
        assert scores[f"bbox_{name}"] == pytest.approx(1.0)
    assert scores["segm_ar1"] == 0.5  # one detection a picture finds one of two
    assert math.isnan(scores["segm_ap_small"])  # no object is below 32 x 32 pixels
    assert math.isnan(scores["segm_ap_large"])
    assert (scores["precision"], scores["recall"], scores["f1"]) == (1.0, 1.0, 1.0)
    assert counts["true_objects"] == counts["detections"] == 2


def test_one_mask_over_two_instances_finds_neither():
    two = [("dog", _mask(0, 0, 40, 40)), ("dog", _mask(0, 40, 40, 80))]
    scores, _ = _scores(_answered(two, [("dog", _mask(0, 0, 40, 80))]))
    # IoU with each is exactly 0.5, which counts as found, of one of them.
    assert scores["recall"] == 0.5
    scores, _ = _scores(_answered(two, [("dog", _mask(0, 0, 41, 80))]))
    assert scores["recall"] == 0.0
    assert scores["segm_ap"] == 0.0


def test_an_area_range_is_that_of_the_mask_at_the_pictures_own_resolution():
    small = [("dog", _mask(0, 0, 31, 31))]
    exactly = [("dog", _mask(0, 0, 32, 32))]
    for truth, counted, not_counted in ((small, "small", "medium"), (exactly, "medium", "large")):
        scores, _ = _scores(_answered(truth, truth))
        assert scores[f"segm_ap_{counted}"] == pytest.approx(1.0)
        assert math.isnan(scores[f"segm_ap_{not_counted}"])


def test_a_detection_in_ignored_pixels_is_neither_right_nor_wrong():
    truth = [("dog", _mask(0, 0, 40, 40))]
    answer = [*truth, ("dog", _mask(60, 60, 80, 80))]
    scores, _ = _scores(_answered(truth, answer))
    assert scores["precision"] == 0.5
    scores, counts = _scores(_answered(truth, answer, ignore=_mask(50, 50, 100, 100)))
    assert scores["precision"] == 1.0
    assert counts["detections_in_crowds"] == 1
    assert scores["segm_ap"] == pytest.approx(1.0)


def test_a_label_without_truth_counts_in_precision_and_not_in_average_precision():
    truth = [("dog", _mask(0, 0, 40, 40))]
    answer = [*truth, ("cat", _mask(50, 50, 90, 90))]
    scores, counts = _scores(_answered(truth, answer, labels=("dog", "cat")))
    assert scores["segm_ap"] == pytest.approx(1.0)
    assert scores["precision"] == 0.5
    assert counts["labels_without_truth"] == 1
    assert counts["detections_of_labels_without_truth"] == 1


def test_an_answer_to_a_prompt_without_label_or_target_is_invented():
    scores, counts = _scores(
        _answered([], [("thing", _mask(0, 0, 9, 9))], labels=()),
        _answered([("dog", _mask(0, 0, 9, 9))], [], position=1),
    )
    assert scores["precision"] == 0.0
    assert counts["detections"] == 1


def test_empty_regions_are_left_out_and_counted():
    truth = [("dog", _mask(0, 0, 40, 40))]
    scores, counts = _scores(_answered(truth, [*truth, ("dog", _mask(0, 0, 0, 0))]))
    assert scores["precision"] == 1.0
    assert counts["empty_masks_left_out"] == 1


def test_background_is_no_detection():
    truth = [("dog", _mask(0, 0, 40, 40))]
    _, counts = _scores(_answered(truth, [*truth, ("others", _mask(50, 0, 90, 90))]))
    assert counts["detections"] == 1


def test_pairs_are_those_with_the_largest_sum_not_the_greedy_ones():
    ious = np.array([[0.9, 0.8], [0.85, 0.1]])
    assert sorted(pair_up(ious).tolist()) == [0.8, 0.85]
    assert pair_up(np.zeros((0, 3))).tolist() == []


def _random_objects(rng, number, *, scores, equal=True):
    objects = []
    for _ in range(number):
        y, x = rng.integers(0, 60, 2)
        height, width = rng.integers(3, 40, 2)
        score = float(rng.choice([0.2, 0.5, 0.9]) if equal else rng.random()) if scores else 1.0
        crowd = not scores and bool(rng.random() < 0.15)
        mask = _mask(y, x, y + height, x + width)
        objects.append(CocoObject.of_mask(mask, crowd=crowd, score=score))
    return objects


def _by_pycocotools(pictures, kind):
    """The twelve values of pycocotools itself, over datasets in its own format."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = [], []
    for image, labels in enumerate(pictures, start=1):
        for category, (truths, detections) in labels.items():
            for item in truths:
                truth.append(
                    {
                        "id": len(truth) + 1,
                        "image_id": image,
                        "category_id": category,
                        "area": item.area,
                        "bbox": list(item.box),
                        "segmentation": item.rle,
                        "iscrowd": int(item.crowd),
                    }
                )
            for item in detections:
                found.append(
                    {
                        "image_id": image,
                        "category_id": category,
                        "score": item.score,
                        "segmentation": item.rle,
                    }
                )
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO()
        dataset.dataset = {
            "images": [{"id": i + 1, "height": 100, "width": 100} for i in range(len(pictures))],
            "annotations": truth,
            "categories": [{"id": 1}, {"id": 2}, {"id": 3}],
        }
        dataset.createIndex()
        evaluation = COCOeval(dataset, dataset.loadRes(found), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.where(evaluation.stats < 0, np.nan, evaluation.stats)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(4))
def test_random_pictures_score_what_pycocotools_prints_for_them(kind, seed):
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(12):
        pictures.append(
            {
                category: (
                    _random_objects(rng, int(rng.integers(0, 4)), scores=False),
                    _random_objects(rng, int(rng.integers(0, 6)), scores=True),
                )
                for category in (1, 2, 3)
            }
        )
    expected = _by_pycocotools(pictures, kind)
    protocol = InstancesProtocol()
    rows = [
        instance_row(position, str(position), f"label {category}", truths, detections)
        for position, labels in enumerate(pictures)
        for category, (truths, detections) in labels.items()
    ]
    protocol.update(rows)
    scores = protocol.compute()
    found = np.array([scores[f"{kind}_{name}"] for name in SUMMARY])
    np.testing.assert_array_equal(found, expected)

    # In another order, and over several updates, not a digit changes.
    shuffled = InstancesProtocol()
    order = rng.permutation(len(rows))
    shuffled.update([rows[index] for index in order[:5]])
    shuffled.update([])
    shuffled.update([rows[index] for index in order[5:]])
    assert repr(shuffled.compute()) == repr(scores)


def test_an_annotation_with_the_id_zero_is_matched():
    # pycocotools takes a match with the id 0 for none; here ids never reach it.
    truth = [("dog", _mask(0, 0, 40, 40))]
    scores, _ = _scores(_answered(truth, truth))
    assert scores["segm_ap"] == pytest.approx(1.0)


def test_only_the_hundred_best_detections_are_matched_and_the_rest_is_counted():
    truth = [CocoObject.of_mask(_mask(0, 0, 40, 40))]
    wrong = [CocoObject.of_mask(_mask(60, 60, 70, 70), score=0.9) for _ in range(100)]
    right = [CocoObject.of_mask(_mask(0, 0, 40, 40), score=0.1)]
    row = instance_row(0, "a", "dog", truth, [*right, *wrong])
    protocol = InstancesProtocol()
    protocol.update([row])
    assert protocol.compute()["segm_ar100"] == 0.0
    assert protocol.counts([row])["detections_beyond_the_100_best"] == 1


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_records_come_back_as_they_were_written(seed):
    rng = np.random.default_rng(seed)
    records = []
    for position in range(3):
        detections = _random_objects(rng, int(rng.integers(0, 4)), scores=True)
        truths = _random_objects(rng, int(rng.integers(0, 4)), scores=False)
        matches = match_objects(detections, truths, object_ious(detections, truths, "segm"))
        records.append((position, "ein Hund, größer als 犬", matches))
    assert read_records(write_records(records).numpy().tobytes()) == records


def test_rows_are_small_and_travel():
    protocol = InstancesProtocol()
    truth = [("dog", _mask(0, 0, 40, 40))]
    rows = protocol.measure(_answered(truth, truth))
    assert pickle.loads(pickle.dumps(rows)) == rows
    assert len(pickle.dumps(rows)) < 1500  # no mask of 100 x 100 is in it


def test_nothing_to_score_is_nan():
    protocol = InstancesProtocol()
    protocol.update([])
    assert all(math.isnan(value) for value in protocol.compute().values())
    assert protocol.counts([])["detections"] == 0


def test_the_intervals_terms_are_precision_recall_and_f1():
    truth = [("dog", _mask(0, 0, 40, 40))]
    answers = [
        _answered(truth, truth, position=0),
        _answered(truth, [("dog", _mask(50, 50, 90, 90))], position=1),
        _answered(truth, [], position=2),
    ]
    protocol = InstancesProtocol()
    rows = [row for answer in answers for row in protocol.measure(answer)]
    protocol.update(rows)
    scores, terms = protocol.compute(), protocol.terms(rows)
    assert set(terms) == {"precision", "recall", "f1"}
    assert terms["precision"].value() == scores["precision"] == 0.5
    assert terms["recall"].value() == scores["recall"] == pytest.approx(1 / 3)
    assert terms["f1"].value() == scores["f1"] == pytest.approx(2 / 5)


def _random_rows(seed, number=12):
    rng = np.random.default_rng(seed)
    return [
        instance_row(
            position,
            f"picture {position}",
            f"label {category}",
            _random_objects(rng, int(rng.integers(0, 4)), scores=False),
            _random_objects(rng, int(rng.integers(0, 6)), scores=True, equal=False),
        )
        for position in range(number)
        for category in range(3)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_a_picture_that_is_drawn_twice_counts_as_if_it_stood_there_twice(seed, monkeypatch):
    rows = _random_rows(seed)
    times = np.random.default_rng(seed).integers(0, 3, (1, 12)).astype(np.float64)
    names = sorted({row.image_id for row in rows})
    repeated = [
        replace(row, position=row.position * 10 + copy)
        for row in rows
        for copy in range(int(times[0, names.index(row.image_id)]))
    ]
    for weights, expected_rows in ((np.ones((1, 12)), rows), (times, repeated)):
        draw = [weights]
        monkeypatch.setattr(coco_intervals, "resampled_times", lambda *_, draw=draw: iter(draw))
        protocol = InstancesProtocol()
        protocol.update(expected_rows)
        expected = protocol.compute()
        found = protocol.intervals(rows, resamples=1, seed=0)
        for kind in ("segm", "bbox"):
            for name in (*RESAMPLED, *RESAMPLED_POOLED):
                interval = found[f"{kind}_{name}"]
                assert interval.low == interval.high
                assert interval.low == pytest.approx(expected[f"{kind}_{name}"], abs=1e-12)


def test_intervals_hold_the_scores():
    rows = _random_rows(5, number=40)
    protocol = InstancesProtocol()
    protocol.update(rows)
    scores = protocol.compute()
    intervals = protocol.intervals(rows, resamples=300, seed=0)
    for name in ("segm_ap", "segm_ap50", "bbox_ar100", "segm_phrase_ap", "precision"):
        assert intervals[name].low < scores[name] < intervals[name].high
    assert "segm_ap_small" not in intervals
    assert protocol.intervals(rows, resamples=300, seed=0) == intervals
