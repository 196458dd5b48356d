import json

import numpy as np
import pytest

from t4spp.decoding.prediction import Prediction
from t4spp.evaluation.pairs import answer_row, score_pairs, scored_labels
from t4spp.evaluation.protocols.native import NativeProtocol
from t4spp.evaluation.scores import describe_answers
from t4spp.types import Box, Decoded, Problem, Region, Sample, Target


def _mask(y0, x0, y1, x1, size=(20, 20)):
    mask = np.zeros(size, dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def _sample(targets=(), labels=("dog",), **fields):
    return Sample(
        id=fields.pop("id", "s"),
        size=(20, 20),
        prompt="|".join(labels),
        labels=labels,
        targets=tuple(Target(label=label, mask=mask) for label, mask in targets),
        **fields,
    )


def _decoded(*regions, status="ok", problems=()):
    return Decoded(
        regions=tuple(Region(label=label, mask=mask) for label, mask in regions),
        status=status,
        problems=problems,
    )


def _scores(*pairs):
    protocol = NativeProtocol()
    protocol.update(pairs)
    return protocol.compute()


def test_scores_of_two_prompts_by_hand():
    # IoU 50/100 and 0/200: mean 1/4, cumulative 50/300.
    first = score_pairs(
        0, _sample([("dog", _mask(0, 0, 10, 10))]), _decoded(("dog", _mask(0, 0, 5, 10)))
    )
    second = score_pairs(
        1, _sample([("dog", _mask(0, 0, 10, 10))]), _decoded(("dog", _mask(10, 10, 20, 20)))
    )
    scores = _scores(*first, *second)
    assert scores["mean_iou"] == 0.25
    assert scores["ciou"] == pytest.approx(50 / 300)
    assert scores["acc@0.5"] == 0.0
    assert np.isnan(scores["n_acc"])


def test_box_accuracy_is_strictly_greater_than_one_half():
    sample = _sample([("dog", _mask(0, 0, 10, 10))])
    half = score_pairs(0, sample, _decoded(("dog", _mask(0, 0, 5, 10))))
    more = score_pairs(0, sample, _decoded(("dog", _mask(0, 0, 6, 10))))
    assert _scores(*half)["acc@0.5"] == 0.0
    assert _scores(*more)["acc@0.5"] == 1.0


def test_box_of_one_pixel_has_an_area():
    pixel = _mask(3, 4, 4, 5)
    pairs = score_pairs(0, _sample([("dog", pixel)]), _decoded(("dog", pixel)))
    assert pairs[0].true_box == Box(y0=3, x0=4, y1=4, x1=5)
    assert _scores(*pairs)["acc@0.5"] == 1.0


def test_instances_of_one_label_are_scored_as_their_union():
    sample = _sample([("dog", _mask(0, 0, 4, 4)), ("dog", _mask(10, 10, 14, 14))])
    decoded = _decoded(("dog", _mask(10, 10, 14, 14)), ("dog", _mask(0, 0, 4, 4)))
    (pair,) = score_pairs(0, sample, decoded)
    assert (pair.intersection, pair.union) == (32, 32)


def test_labels_are_scored_apart_by_name():
    sample = _sample(
        [("dog", _mask(0, 0, 4, 4)), ("cat", _mask(8, 8, 12, 12))], labels=("dog", "cat")
    )
    swapped = _decoded(("cat", _mask(0, 0, 4, 4)), ("dog", _mask(8, 8, 12, 12)))
    assert [pair.iou for pair in score_pairs(0, sample, swapped)] == [0.0, 0.0]


def test_region_of_another_label_does_not_count():
    sample = _sample([("dog", _mask(0, 0, 4, 4))])
    decoded = _decoded(("dog", _mask(0, 0, 4, 4)), ("others", _mask(0, 0, 20, 20)))
    assert score_pairs(0, sample, decoded)[0].iou == 1.0


@pytest.mark.parametrize(("status", "n_acc"), [("ok", 1.0), ("repaired", 1.0), ("invalid", 0.0)])
def test_only_an_answer_that_can_be_read_says_that_nothing_is_there(status, n_acc):
    pairs = score_pairs(0, _sample(), _decoded(status=status))
    assert _scores(*pairs)["n_acc"] == n_acc
    assert NativeProtocol().terms(pairs)["n_acc"].value() == n_acc
    assert pairs[0].iou == 1.0  # both masks are empty, whatever was meant


def test_no_target_prompt_is_scored_apart_and_adds_nothing_to_the_union():
    with_target = score_pairs(
        0, _sample([("dog", _mask(0, 0, 4, 4))]), _decoded(("dog", _mask(0, 0, 4, 4)))
    )
    invented = score_pairs(1, _sample(), _decoded(("dog", _mask(0, 0, 20, 20))))
    silent = score_pairs(2, _sample(), _decoded())
    scores = _scores(*with_target, *invented, *silent)
    assert scores == {"mean_iou": 1.0, "ciou": 1.0, "acc@0.5": 1.0, "n_acc": 0.5}


def test_no_target_prompt_without_labels_counts_every_region():
    sample = _sample(labels=())
    (pair,) = score_pairs(0, sample, _decoded(("anything", _mask(0, 0, 2, 2))))
    assert (pair.label, pair.predicted_area) == ("", 4)


def test_absent_label_of_a_list_is_a_pair_without_a_target():
    sample = _sample([("dog", _mask(0, 0, 4, 4))], labels=("dog", "cat"))
    pairs = score_pairs(0, sample, _decoded(("dog", _mask(0, 0, 4, 4))))
    assert [(pair.label, pair.has_target) for pair in pairs] == [("dog", True), ("cat", False)]


def test_empty_answer_to_a_target_keeps_the_union():
    (pair,) = score_pairs(0, _sample([("dog", _mask(0, 0, 4, 4))]), _decoded(status="invalid"))
    assert (pair.intersection, pair.union, pair.status) == (0, 16, "invalid")


def test_ignored_pixels_count_on_neither_side():
    sample = _sample([("dog", _mask(0, 0, 4, 4))], ignore=_mask(0, 0, 2, 20))
    (pair,) = score_pairs(0, sample, _decoded(("dog", _mask(1, 0, 4, 6))))
    assert (pair.intersection, pair.union) == (8, 12)


def test_target_that_is_ignored_altogether_is_not_scored():
    sample = _sample([("dog", _mask(0, 0, 2, 2))], ignore=_mask(0, 0, 2, 20))
    assert score_pairs(0, sample, _decoded(("dog", _mask(5, 5, 9, 9)))) == []


def test_open_prompt_is_scored_on_the_labels_of_its_targets():
    sample = _sample([("sky", _mask(0, 0, 9, 20)), ("road", _mask(9, 0, 20, 20))], labels=())
    assert scored_labels(sample) == ("sky", "road")


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_scores_do_not_depend_on_how_the_pairs_are_grouped_or_ordered(cut):
    rng = np.random.default_rng(0)
    pairs = []
    for position in range(7):
        mask, guess = rng.random((20, 20)) > 0.6, rng.random((20, 20)) > 0.5
        sample = _sample([("dog", mask)] if position % 3 else [])
        pairs += score_pairs(position, sample, _decoded(("dog", guess)))
    whole = NativeProtocol()
    whole.update(pairs)
    parts = NativeProtocol()
    for start in reversed(range(0, len(pairs), cut)):
        parts.update(pairs[start : start + cut])
    assert parts.compute() == whole.compute()


def test_metrics_equal_the_ratios_that_the_bootstrap_draws():
    rng = np.random.default_rng(1)
    pairs = []
    for position in range(12):
        sample = _sample([("dog", rng.random((20, 20)) > 0.7)] if position % 4 else [])
        pairs += score_pairs(position, sample, _decoded(("dog", rng.random((20, 20)) > 0.6)))
    terms = NativeProtocol().terms(pairs)
    for name, value in _scores(*pairs).items():
        assert terms[name].value() == pytest.approx(value, abs=1e-12)


def test_iou_equals_pycocotools_on_real_masks(shared_data):
    coco_mask = pytest.importorskip("pycocotools.mask")
    compared = 0
    for truth, found in _replayed_masks(shared_data, num_images=25):
        expected = coco_mask.iou(found, truth, [False] * len(truth))
        for row, column in np.argwhere(expected > 0).tolist():
            mask = coco_mask.decode(truth[column]).astype(np.bool_)
            sample = Sample(
                id="x",
                size=mask.shape,
                prompt="thing",
                labels=("thing",),
                targets=(Target(label="thing", mask=mask),),
            )
            guess = coco_mask.decode(found[row]).astype(np.bool_)
            (pair,) = score_pairs(0, sample, _decoded(("thing", guess)))
            assert pair.iou == pytest.approx(expected[row, column], abs=1e-12)
            compared += 1
    assert compared >= 100


def _replayed_masks(shared_data, num_images):
    """(truth, predictions) of some pictures, as COCO RLE."""
    from pycocotools import mask as coco_mask

    folder = shared_data / "replay_coco"
    annotations = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / "instances_val2014_fakesegm100_results.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in annotations["images"]}
    for image_id in sorted({result["image_id"] for result in results})[:num_images]:
        truth = [
            coco_mask.merge(coco_mask.frPyObjects(annotation["segmentation"], *sizes[image_id]))
            for annotation in annotations["annotations"]
            if annotation["image_id"] == image_id and not annotation["iscrowd"]
        ]
        yield truth, [r["segmentation"] for r in results if r["image_id"] == image_id]


def _prediction(**fields):
    values = {"num_tokens": 10, "num_passes": 10, "seconds": 0.5, **fields}
    return Prediction(id="s", prompt="dog", labels=("dog",), text="", **values)


def test_answers_are_broken_down_by_status_problem_and_tag():
    repaired = _decoded(
        status="repaired",
        problems=(Problem(code="short-row", message=""), Problem(code="short-row", message="")),
    )
    invalid = _decoded(status="invalid", problems=(Problem(code="empty", message=""),))
    sample = _sample([("dog", _mask(0, 0, 4, 4))], tags=("unseen-pair",))
    plain = _sample()
    rows = [
        answer_row(0, sample, _prediction(), repaired),
        answer_row(1, plain, _prediction(num_tokens=30), invalid),
        answer_row(2, plain, _prediction(num_tokens=None), _decoded()),
    ]
    pairs = [*score_pairs(0, sample, repaired), *score_pairs(1, plain, invalid)]
    answers = describe_answers(rows, pairs, resamples=10, seed=0)
    assert {key: answers[key] for key in ("num_answers", "ok", "repaired", "invalid")} == {
        "num_answers": 3,
        "ok": 1,
        "repaired": 1,
        "invalid": 1,
    }
    assert answers["problems"] == {
        "short-row": {"answers": 1, "occurrences": 2},
        "empty": {"answers": 1, "occurrences": 1},
    }
    assert answers["tokens"] == {"mean": 20.0, "p95": 29.0}
    assert answers["seconds"] == {"mean": 0.5}
    assert answers["tags"]["unseen-pair"]["num_samples"] == 1
    assert answers["tags"]["unseen-pair"]["mean_iou"]["value"] == 0.0
    assert answers["tags"]["unseen-pair"]["n_acc"]["value"] is None


def test_region_that_an_open_prompt_did_not_ask_for_is_counted():
    sample = _sample([("sky", _mask(0, 0, 9, 20))], labels=())
    decoded = _decoded(("sky", _mask(0, 0, 9, 20)), ("sea", _mask(9, 0, 20, 20)))
    assert answer_row(0, sample, _prediction(), decoded).unasked_labels == 1
