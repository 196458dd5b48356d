from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image as PilImage

from t4spp.decoding.prediction import Prediction
from t4spp.report.gallery import (
    choose_groups,
    data_uri,
    overlay_of,
    picture_iou,
    sample_scores,
    scored_regions,
    shrink,
    shrink_mask,
)
from t4spp.report.runs import ScoreRow
from t4spp.types import Decoded, Region, Sample, Target


def row(
    key: str, iou: float, *, status: str = "ok", target: bool = True, image_id: str = ""
) -> ScoreRow:
    return ScoreRow(id=key, label="x", iou=iou, status=status, has_target=target, image_id=image_id)


def prediction(key: str) -> Prediction:
    return Prediction(
        id=key, prompt="x", labels=("x",), text="", num_tokens=1, num_passes=1, seconds=0.0
    )


def test_regions_without_a_scored_pixel_of_an_asked_label_do_not_count() -> None:
    """As ``n_acc`` has it: such an answer says that nothing is there."""
    ignore = np.zeros((8, 8), dtype=np.bool_)
    ignore[:, :4] = True
    sample = Sample(id="s", size=(8, 8), prompt="dog", labels=("dog",), targets=(), ignore=ignore)
    nothing = np.zeros((8, 8), dtype=np.bool_)
    seen = ~ignore

    def labels_of(*regions: Region) -> list[str]:
        decoded = Decoded(regions=regions, status="ok")
        return [label for label, _ in scored_regions(sample, decoded)]

    hidden = [Region(label="dog", mask=nothing), Region(label="dog", mask=ignore)]
    others = [Region(label="cat", mask=seen), Region(label="others", mask=seen)]
    assert labels_of(*hidden, *others) == []
    assert labels_of(*hidden, *others, Region(label="dog", mask=seen)) == ["dog"]


def test_best_median_and_worst_are_ranked_by_iou_and_no_sample_appears_twice() -> None:
    rows = [row(str(number), number / 10) for number in range(11)]
    groups = {group.title: group.ids for group in choose_groups(rows, (), 2)}
    assert groups == {"Best": ("10", "9"), "Median": ("5", "6"), "Worst": ("0", "1")}


def test_a_group_shows_distinct_pictures_while_there_are_any() -> None:
    rows = [row(str(number), 1 - number / 10, image_id=str(number // 4)) for number in range(10)]
    groups = {group.title: group.ids for group in choose_groups(rows, (), 3)}
    assert groups["Best"] == ("0", "4", "8")
    alone = [row(str(number), 1 - number / 10, image_id="one") for number in range(10)]
    groups = {group.title: group.ids for group in choose_groups(alone, (), 3)}
    assert groups["Best"] == ("0", "1", "2")


def test_no_target_prompts_and_faulty_answers_have_groups_of_their_own() -> None:
    rows = [row(str(number), 0.5) for number in range(10)]
    rows += [row("silent", 1.0, target=False), row("invented", 0.0, target=False)]
    rows += [row("broken", 0.4, status="invalid"), row("mended", 0.45, status="repaired")]
    groups = {group.title: group.ids for group in choose_groups(rows, (), 2)}
    assert groups["No target"] == ("invented", "silent")
    shown = [key for ids in groups.values() for key in ids]
    assert {"broken", "mended"} <= set(shown)
    assert len(shown) == len(set(shown))


def test_a_sample_scores_the_mean_of_its_labels_with_a_target() -> None:
    rows = [row("a", 0.2), row("a", 0.6), row("a", 1.0, target=False)]
    assert sample_scores(rows) == {"a": pytest.approx(0.4)}


def test_unscored_answers_are_shown_in_their_order() -> None:
    (group,) = choose_groups((), [prediction(key) for key in "cab"], 1)
    assert (group.title, group.ids) == ("First answers", ("c", "a", "b"))


def test_nothing_to_show_gives_no_group() -> None:
    assert choose_groups((), (), 4) == []


@pytest.mark.parametrize("size", [(7, 1000), (333, 50), (40, 40), (1, 1)])
def test_shrunk_mask_has_the_pictures_size_and_keeps_one_pixel(size: tuple[int, int]) -> None:
    small = shrink(np.zeros((*size, 3), np.uint8)).shape[:2]
    mask = np.zeros(size, dtype=np.bool_)
    mask[size[0] // 2, size[1] // 3] = True
    shrunk = shrink_mask(mask, (small[0], small[1]))
    assert shrunk.shape == small
    assert shrunk.any()


def test_small_pictures_are_enlarged_by_whole_factors() -> None:
    assert shrink(np.zeros((128, 100, 3), np.uint8)).shape == (256, 200, 3)


def test_picture_becomes_a_readable_data_uri() -> None:
    head, content = data_uri(np.full((6, 4, 3), 70, np.uint8)).split(",")
    assert head == "data:image/jpeg;base64"
    with PilImage.open(io.BytesIO(base64.b64decode(content))) as picture:
        assert picture.size == (4, 6)


def test_noise_becomes_a_data_uri() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    _, content = data_uri(noise).split(",")
    with PilImage.open(io.BytesIO(base64.b64decode(content))) as picture:
        assert np.asarray(picture).shape == (512, 512, 3)


def make_sample(ignore: np.ndarray | None = None) -> Sample:
    mask = np.zeros((4, 4), dtype=np.bool_)
    mask[:2] = True
    return Sample(
        id="a",
        size=(4, 4),
        prompt="dog",
        labels=("dog",),
        targets=(Target(label="dog", mask=mask),),
        load_image=lambda: np.zeros((4, 4, 3), np.uint8),
        ignore=ignore,
    )


def answer(*rows: int) -> Decoded:
    mask = np.zeros((4, 4), dtype=np.bool_)
    mask[list(rows)] = True
    others = Region(label="others", mask=~mask)
    return Decoded(regions=(Region(label="dog", mask=mask), others), status="ok")


def test_pictured_iou_leaves_ignored_pixels_out() -> None:
    ignore = np.zeros((4, 4), dtype=np.bool_)
    ignore[3] = True
    assert picture_iou(make_sample(), answer(0, 3)) == pytest.approx(1 / 3)
    assert picture_iou(make_sample(ignore), answer(0, 3)) == pytest.approx(1 / 2)


def test_overlay_of_a_sample_leaves_background_out() -> None:
    overlay = overlay_of(make_sample(), answer(1))
    assert [label for label, _ in overlay.truth] == ["dog"]
    assert [label for label, _ in overlay.prediction] == ["dog"]
    assert overlay.caption == "dog (ok)"
