import json
import math
import pickle

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from t4spp.decoding.prediction import Prediction
from t4spp.evaluation.coco_matching import CocoObject
from t4spp.evaluation.masklets import Masklet, volume_ious
from t4spp.evaluation.pairs import score_pairs
from t4spp.evaluation.protocols.base import Answered
from t4spp.evaluation.protocols.masklets import MaskletsProtocol, phrase_row
from t4spp.types import Decoded, Region, Sample, Target


def _mask(y0, x0, y1, x1, size=(20, 30)):
    mask = np.zeros(size, dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def _masklet(*frames, score=1.0):
    objects = [None if mask is None else CocoObject.of_mask(mask) for mask in frames]
    return Masklet(
        masks=tuple(None if item is None else item.rle for item in objects),
        boxes=tuple((0, 0, 0, 0) if item is None else item.box for item in objects),
        score=score,
    )


def _scores(*rows):
    protocol = MaskletsProtocol()
    protocol.update(rows)
    return protocol.compute()


def test_volume_iou_sums_over_frames_by_hand():
    truth = _masklet(_mask(0, 0, 10, 10), _mask(0, 0, 10, 10), None)
    answer = _masklet(_mask(0, 0, 10, 10), None, _mask(0, 0, 5, 10))
    # 100 in common; 100 + 100 + 50 in either.
    assert volume_ious([answer], [truth], "segm").tolist() == [[100 / 250]]
    assert volume_ious([answer], [truth], "bbox").tolist() == [[100 / 250]]


def test_masklets_that_are_seen_nowhere_are_equal():
    nowhere = _masklet(None, None)
    seen = _masklet(_mask(0, 0, 2, 2), None)
    assert volume_ious([nowhere, seen], [nowhere], "segm").tolist() == [[1.0], [0.0]]


def test_volume_ious_equal_those_of_counted_pixels():
    rng = np.random.default_rng(5)
    volumes = rng.random((4, 6, 20, 30)) > 0.6
    volumes[1, 2] = False
    items = [
        Masklet(
            masks=tuple(
                coco_mask.encode(np.asfortranarray(frame, dtype=np.uint8)) if frame.any() else None
                for frame in volume
            ),
            boxes=((0, 0, 0, 0),) * 6,
        )
        for volume in volumes
    ]
    found = volume_ious(items[:2], items[2:], "segm")
    for row, first in enumerate(volumes[:2]):
        for column, second in enumerate(volumes[2:]):
            assert found[row, column] == (first & second).sum() / (first | second).sum()


def test_answers_are_paired_for_the_largest_sum_and_counted_from_one_half_on():
    truths = [_masklet(_mask(0, 0, 10, 10)), _masklet(_mask(0, 10, 10, 20))]
    answers = [_masklet(_mask(0, 0, 10, 10)), _masklet(_mask(0, 15, 10, 25))]
    row = phrase_row(0, "v", "a dog", truths, answers)
    described = MaskletsProtocol().phrases([row])[0]
    assert described["segm_tp_50"] == 1.0  # the second pair's IoU is 50/150
    assert described["segm_fp_50"] == 1.0
    assert described["segm_fn_50"] == 1.0
    assert described["label"] == "a dog"
    exact = phrase_row(0, "v", "a dog", truths[:1], [_masklet(_mask(0, 0, 10, 5))])
    assert exact.found["segm"][:2] == (1, 0)  # exactly 0.5


def test_unsure_answers_count_in_average_precision_alone():
    truth = [_masklet(_mask(0, 0, 10, 10))]
    row = phrase_row(0, "v", "a dog", truth, [_masklet(_mask(0, 0, 10, 10), score=0.49)])
    scores = _scores(row)
    assert row.num_detected == 0
    assert row.num_unsure == 1
    assert scores["segm_recall_50"] == 0.0
    assert scores["segm_phrase_ap50"] == pytest.approx(1.0)


def test_silence_about_a_phrase_without_target_is_right_and_an_answer_is_wrong():
    there = phrase_row(0, "v", "a", [_masklet(_mask(0, 0, 9, 9))], [_masklet(_mask(0, 0, 9, 9))])
    silent = phrase_row(1, "v", "b", [], [])
    invented = phrase_row(1, "v", "b", [], [_masklet(_mask(0, 0, 9, 9))])
    good, bad = _scores(there, silent), _scores(there, invented)
    assert good["segm_il_mcc"] == pytest.approx(1.0, abs=1e-5)
    assert bad["segm_il_mcc"] == 0.0
    assert good["segm_cgf1_50"] == pytest.approx(1.0, abs=2e-3)
    assert bad["segm_precision_50"] == pytest.approx(0.5, abs=1e-3)


def test_a_picture_is_a_video_of_one_frame_and_ignored_pixels_are_taken_out():
    sample = Sample(
        id="s",
        size=(20, 30),
        prompt="dog|cat",
        labels=("dog", "cat"),
        targets=(Target(label="dog", mask=_mask(0, 0, 10, 10)),),
        ignore=_mask(0, 10, 20, 30),
    )
    decoded = Decoded(
        regions=(
            Region(label="dog", mask=_mask(0, 0, 10, 20)),
            Region(label="cat", mask=_mask(0, 20, 5, 25)),
        ),
        status="ok",
    )
    prediction = Prediction(
        id="s", prompt="", labels=(), text="", num_tokens=0, num_passes=0, seconds=0.0
    )
    answered = Answered(
        position=0,
        sample=sample,
        prediction=prediction,
        decoded=decoded,
        pairs=score_pairs(0, sample, decoded),
    )
    rows = MaskletsProtocol().measure(answered)
    assert [(row.label, row.num_true, row.num_detected) for row in rows] == [
        ("dog", 1, 1),
        ("cat", 0, 0),
    ]
    assert rows[0].found["segm"] == (1,) * 10
    assert pickle.loads(pickle.dumps(rows)) == rows


def _random_rows(number=30):
    rng = np.random.default_rng(11)
    rows = []
    for position in range(number):
        sides = [
            [
                _masklet(*(_mask(y, x, y + 8, x + 9) for _ in range(3)), score=float(rng.random()))
                for y, x in rng.integers(0, 10, (int(rng.integers(0, 4)), 2))
            ]
            for _ in range(2)
        ]
        rows.append(phrase_row(position, f"v{position % 7}", f"phrase {position}", *sides))
    return rows


def test_the_order_of_rows_changes_no_digit():
    rows = _random_rows()
    protocol = MaskletsProtocol()
    protocol.update(rows[20:])
    protocol.update([])
    protocol.update(rows[:20][::-1])
    assert repr(protocol.compute()) == repr(_scores(*rows))


def test_intervals_hold_the_scores_and_a_single_video_has_none():
    rows = _random_rows()
    protocol = MaskletsProtocol()
    scores = _scores(*rows)
    intervals = protocol.intervals(rows, resamples=200, seed=0)
    for name in ("segm_f1_50", "bbox_recall_50", "segm_il_mcc"):
        assert intervals[name].low < scores[name] < intervals[name].high
    assert protocol.intervals(rows[:1], resamples=200, seed=0) == {}
    assert protocol.intervals(rows, resamples=0, seed=0) == {}


def test_sums_kept_for_comparing_runs_give_the_scores_and_each_rows_part():
    rows = _random_rows()
    scores = _scores(*rows)
    protocol = MaskletsProtocol()
    names, values = protocol.summands(rows)
    assert values.shape == (30, len(names))
    found = protocol.of_sums(names, values.sum(axis=0, keepdims=True))
    assert set(found) == {name for name in scores if "ap" not in name}
    for name, (value,) in found.items():
        assert value == pytest.approx(scores[name], abs=1e-12)
    some = _scores(*rows[:9])
    found = protocol.of_sums(names[::-1], values[:9, ::-1].sum(axis=0, keepdims=True))
    assert found["bbox_cgf1_50"][0] == pytest.approx(some["bbox_cgf1_50"], abs=1e-12)
    assert protocol.of_sums(("native/above",), np.ones((1, 1))) == {}


def test_nothing_to_score_is_nan():
    assert all(math.isnan(value) for value in _scores().values())


def test_published_scores_of_the_replayed_video_are_met(shared_data):
    """Every value of every phrase, masks and boxes, and the dataset's own, to the last digit."""
    base = shared_data / "replay_sam3"
    name = "toy_saco_veval_sav_test_{}.json"
    from t4spp.evaluation.elsewhere.coco_results import open_results, read_truth
    from t4spp.evaluation.elsewhere.masklet_results import masklet_rows

    truth = read_truth(base / name.format("gt"), of="video")
    results = open_results(base / name.format("pred"), truth, of="video")
    protocol = MaskletsProtocol()
    with results:
        rows = [row for part in masklet_rows(truth, results, protocol.kinds) for row in part]
    protocol.update(rows)
    scores = protocol.compute()
    published = json.loads((base / name.format("eval_res")).read_text(encoding="utf-8"))
    labels = {identity: label for identity, label in truth.labels.items()}
    phrases = {phrase["label"]: phrase for phrase in protocol.phrases(rows)}
    assert len(phrases) == len(published["video_np_results"]) == 8
    compared = 0
    for expected in published["video_np_results"]:
        found = phrases[labels[expected["category_id"]]]
        for ours, theirs in (("segm", "mask"), ("bbox", "bbox")):
            for count in ("tp", "fp", "fn"):
                for at in ("50", "75", "50_95"):
                    value = expected[f"{theirs}_{count.upper()}_{at}"]
                    assert found[f"{ours}_{count}_{at}"] == pytest.approx(value, abs=1e-12)
                    compared += 1
    assert compared == 144
    whole = published["dataset_results"]
    for ours, theirs in (("segm", "mask"), ("bbox", "bbox")):
        for at in ("50", "75", "50_95"):
            for score in ("precision", "recall", "f1", "pmf1", "cgf1", "cgf1_micro"):
                expected = whole[f"video_{theirs}_demo_{score}_{at}"]
                assert scores[f"{ours}_{score}_{at}"] == pytest.approx(expected, abs=1e-12)
            expected = whole[f"video_{theirs}_demo_positive_micro_f1_{at}"]
            assert scores[f"{ours}_micro_f1_{at}"] == pytest.approx(expected, abs=1e-12)
        assert scores[f"{ours}_il_mcc"] == pytest.approx(
            whole[f"video_{theirs}_demo_ilmcc_50"], abs=1e-12
        )
        for suffix, at in (("", "50_95"), ("50", "50"), ("75", "75")):
            expected = whole[f"video_{theirs}_phrase_ap_{at}"]
            assert scores[f"{ours}_phrase_ap{suffix}"] == pytest.approx(expected, abs=1e-12)
        expected = whole[f"video_{theirs}_mAP_50_95"]
        assert scores[f"{ours}_ap"] == pytest.approx(expected, abs=1e-12)
