"""Remote-sensing datasets known by name: miniatures of their layouts, and real pictures."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from t4spp.cli import main
from t4spp.errors import ConfigError, RecipeError
from t4spp.plugins import Catalogue, load_catalogue
from t4spp.types import FURTHER_PHRASE, UNKNOWN_TRUTH
from t4spp_recipes.natural.semantic.published import published_list

DATASETS = "t4spp_recipes.remote_sensing.datasets"
RECIPES = ("loveda", "isaid", "rrsis-d", "refsegrs", "risbench", "earthreason")


@pytest.fixture(scope="module")
def geo_catalogue() -> Catalogue:
    return load_catalogue(only=["recipes-remote-sensing"])


@pytest.fixture
def make(geo_catalogue: Catalogue, tmp_path: Path):
    def build(name: str, **params: Any) -> Any:
        return geo_catalogue.build("recipe", name, {"root": str(tmp_path), **params})

    return build


def save(path: Path, array: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)
    return path


def picture(path: Path, size: tuple[int, int] = (2, 3), grey: int = 99) -> Path:
    return save(path, np.full((*size, 3), grey))


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def pixels(sample: Any) -> list[tuple[str, list[tuple[int, int]]]]:
    """(label, pixels as (row, column)) of each target."""
    return [
        (target.label, [(int(y), int(x)) for y, x in np.argwhere(target.mask)])
        for target in sample.targets
    ]


# LoveDA


@pytest.fixture
def loveda(tmp_path: Path) -> Path:
    for split, domain, number in (
        ("Train", "Rural", 0),
        ("Train", "Urban", 1366),
        ("Val", "Rural", 2522),
    ):
        folder = tmp_path / split / domain
        save(folder / "masks_png" / f"{number}.png", [[0, 1, 2], [2, 7, 1]])
        picture(folder / "images_png" / f"{number}.png")
    picture(tmp_path / "Test" / "Urban" / "images_png" / "5167.png")
    return tmp_path


def test_loveda_unites_its_domains_and_does_not_score_no_data(make, loveda):
    recipe = make("loveda", prompts="segment-all")
    assert recipe.splits == ("train", "val", "test")
    assert [sample.id for sample in recipe.samples("train")] == ["1366", "0"]
    sample = recipe.samples("val")[0]
    assert sample.labels == (
        "background",
        "building",
        "road",
        "water",
        "barren",
        "forest",
        "agricultural",
    )
    assert pixels(sample) == [
        ("background", [(0, 1), (1, 2)]),
        ("building", [(0, 2), (1, 0)]),
        ("agricultural", [(1, 1)]),
    ]
    assert sample.ignore.tolist() == [[True, False, False], [False, False, False]]


def test_loveda_can_leave_background_to_what_nobody_asks_for(make, loveda):
    recipe = make("loveda", background="others")
    assert [sample.prompt for sample in recipe.samples("val")] == ["building", "agricultural"]
    assert "background" not in recipe.classes
    assert recipe.samples("val")[0].ignore.sum() == 1


def test_loveda_has_one_domain_on_request(make, loveda):
    recipe = make("loveda", scene="urban", prompts="segment-all")
    assert recipe.splits == ("train", "test")
    assert [sample.id for sample in recipe.samples("train")] == ["1366"]
    told = recipe.verify()
    assert any("'train' has 1 pictures, the published dataset has 1156 pictures" in t for t in told)
    assert any("'val' is not there, the published dataset has 677 pictures" in t for t in told)


def test_lovedas_test_pictures_have_no_known_truth(make, loveda):
    sample = make("loveda").samples("test")[0]
    assert (sample.id, sample.targets, sample.tags) == ("5167", (), (UNKNOWN_TRUTH,))
    assert sample.ignore.all() and sample.image.shape == (2, 3, 3)


def test_loveda_reads_what_mmsegmentation_converts_it_to(make, tmp_path):
    save(tmp_path / "loveDA" / "ann_dir" / "val" / "2522.png", [[0, 3]])
    picture(tmp_path / "loveDA" / "img_dir" / "val" / "2522.png", (1, 2))
    samples = make("loveda").samples("val")
    assert [(s.id, s.ignore.tolist()) for s in samples] == [("2522-road", [[True, False]])]


def test_real_loveda_pictures_load(make, shared_data):
    root = shared_data / "rs_loveda_isprs" / "pseudo_loveda_dataset"
    recipe = make("loveda", root=str(root), prompts="segment-all", counts=False)
    assert recipe.verify() == []
    found = {
        sample.id: [target.label for target in sample.targets] for sample in recipe.samples("all")
    }
    assert found == {
        "0": ["background", "building", "road", "water", "agricultural"],
        "1": ["background", "building", "road", "water", "forest", "agricultural"],
        "2": ["background", "water", "forest", "agricultural"],
    }


# iSAID

PALETTE = published_list(DATASETS, "isaid")["palette"]
SHIP, PLANE = 1, 14


def isaid_files(
    folder: Path, stem: str, classes: Sequence[Sequence[int]], ids: Sequence[Sequence[int]]
) -> None:
    """A picture with its two masks; class 99 is painted in a colour that is no class's."""
    colours = np.array([[PALETTE[n] if n < 99 else (9, 9, 9) for n in row] for row in classes])
    save(folder / f"{stem}_instance_color_RGB.png", colours)
    save(
        folder / f"{stem}_instance_id_RGB.png", np.array([[(n, 0, 7) for n in row] for row in ids])
    )
    picture(folder / f"{stem}.png", colours.shape[:2])


@pytest.fixture
def isaid(tmp_path: Path) -> Path:
    for split, stem in (("train", "P0000"), ("val", "P0003")):
        isaid_files(
            tmp_path / split / "images",
            stem,
            [[0, SHIP, SHIP, PLANE], [SHIP, 0, 99, PLANE]],
            [[0, 1, 1, 2], [3, 0, 0, 2]],
        )
    picture(tmp_path / "test" / "images" / "P0006.png")
    return tmp_path


def test_isaid_reads_classes_by_their_colours(make, isaid):
    recipe = make("isaid", window=None, prompts="segment-all")
    assert recipe.splits == ("train", "val", "test")
    sample = recipe.samples("val")[0]
    assert (sample.id, sample.size, len(sample.labels)) == ("P0003", (2, 4), 15)
    assert pixels(sample) == [
        ("ship", [(0, 1), (0, 2), (1, 0)]),
        ("plane", [(0, 3), (1, 3)]),
    ]


def test_isaid_does_not_score_a_colour_that_is_no_class_and_counts_its_pixels(make, isaid):
    recipe = make("isaid", window=None, prompts="segment-all")
    assert np.argwhere(recipe.samples("val")[0].ignore).tolist() == [[1, 2]]
    assert recipe.counters() == {"pixels_of_unknown_colour": 1}
    published = make("isaid", window=None, prompts="segment-all", compat="mmseg")
    assert published.samples("val")[0].ignore is None
    assert published.counters() == {}


def test_isaid_parts_a_class_into_instances(make, isaid):
    samples = make("isaid", window=None, targets="instances").samples("val")
    assert [sample.id for sample in samples] == ["P0003-ship", "P0003-plane"]
    assert pixels(samples[0]) == [("ship", [(0, 1), (0, 2)]), ("ship", [(1, 0)])]
    assert pixels(pickle.loads(pickle.dumps(samples))[1]) == [("plane", [(0, 3), (1, 3)])]


def test_isaid_without_masks_of_instances_names_the_missing_one(make, isaid):
    (isaid / "val" / "images" / "P0003_instance_id_RGB.png").unlink()
    recipe = make("isaid", window=None, targets="instances", counts=False)
    told = recipe.verify()
    assert len(told) == 1 and "no P0003_instance_id_RGB.png" in told[0]
    with pytest.raises(RecipeError, match=r"no P0003_instance_id_RGB\.png"):
        _ = recipe.samples("val")[0]


def test_isaid_finds_masks_in_the_folders_of_the_download(make, tmp_path):
    """Pictures and masks come in archives of their own, which unpack to images/images."""
    isaid_files(tmp_path / "val" / "loose", "P0003", [[SHIP]], [[1]])
    for name, folder in (
        ("P0003", "images/images"),
        ("P0003_instance_color_RGB", "Semantic_masks/images/images"),
        ("P0003_instance_id_RGB", "Instance_masks/images/images"),
    ):
        target = tmp_path / "val" / folder / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "val" / "loose" / f"{name}.png").rename(target)
    samples = make("isaid", window=None, targets="instances").samples("val")
    assert [pixels(sample) for sample in samples] == [[("ship", [(0, 0)])]]
    assert samples[0].image.shape == (1, 1, 3)


def test_isaid_is_cut_into_windows_that_are_padded_beyond_the_picture(make, tmp_path):
    classes = np.zeros((20, 40), int)
    classes[19, 39] = SHIP
    isaid_files(tmp_path / "val" / "images", "P0003", classes, classes)
    recipe = make("isaid", window=32, overlap=16, prompts="segment-all")
    samples = recipe.samples("val")
    assert [sample.id for sample in samples] == ["P0003_0_32_0_32", "P0003_0_32_8_40"]
    assert [sample.size for sample in samples] == [(32, 32), (32, 32)]
    assert pixels(samples[1]) == [("ship", [(19, 31)])]
    assert samples[1].ignore[20:].all() and not samples[1].ignore[:20].any()
    assert samples[1].image[:20].max() == 99 and samples[1].image[20:].max() == 0
    assert [s.id for s in make("isaid", window=32, overlap=16).samples("val")] == [
        "P0003_0_32_8_40-ship"
    ]


def test_isaids_published_preparations_cut_differently(make, tmp_path):
    """mmsegmentation keeps the last rows only, where a picture is exactly as wide as a window."""
    classes = np.zeros((20, 32), int)
    isaid_files(tmp_path / "val" / "images", "P0003", classes, classes)
    isaid_files(tmp_path / "val" / "images", "P1527", classes, classes)

    def windows(**params: Any) -> list[tuple[str, tuple[int, int]]]:
        params = {"window": 32, "overlap": 16, "prompts": "segment-all", **params}
        samples = make("isaid", **params).samples("val")
        return [(sample.id, sample.size) for sample in samples]

    assert windows() == [("P0003_0_32_0_32", (32, 32)), ("P1527_0_32_0_32", (32, 32))]
    assert windows(compat="mmseg") == [("P0003_8_20_0_32", (12, 32)), ("P1527_8_20_0_32", (12, 32))]
    assert windows(compat="devkit") == [("P0003_0_20_0_32", (20, 32))]


def test_isaids_background_is_a_class_on_request(make, isaid):
    recipe = make("isaid", window=None, background="class")
    assert (recipe.classes[0], len(recipe.classes)) == ("background", 16)
    assert pixels(recipe.samples("val")[0]) == [("background", [(0, 0), (1, 1)])]


def test_isaid_counts_the_windows_that_mmsegmentation_publishes(make, isaid):
    told = make("isaid").verify()
    assert any("'train' has 1 windows, the published dataset has 33978 windows" in t for t in told)
    assert any("'val' has 1 pictures, the published dataset has 458 pictures" in t for t in told)
    assert any("'test' has 1 pictures, the published dataset has 937 pictures" in t for t in told)
    assert not any("windows" in message for message in make("isaid", window=64, overlap=0).verify())


def test_isaid_refuses_windows_that_do_not_advance(make, isaid):
    with pytest.raises(ConfigError, match="overlap: must be below window, 32"):
        make("isaid", window=32, overlap=32)


# RRSIS-D


def rle(mask: Any) -> dict[str, Any]:
    code = coco_mask.encode(np.asfortranarray(np.asarray(mask, np.uint8)))
    return {"size": code["size"], "counts": code["counts"].decode("ascii")}


def ref(number: int, image: int, annotation: int, split: str, *sentences: str) -> dict[str, Any]:
    return {
        "ref_id": number,
        "ann_id": annotation,
        "image_id": image,
        "category_id": 1,
        "split": split,
        "file_name": f"{image:05d}.jpg",
        "sent_ids": [number * 10 + k for k in range(len(sentences))],
        "sentences": [
            {
                "sent_id": number * 10 + k,
                "raw": sentence,
                "sent": sentence.lower(),
                "tokens": sentence.split(),
            }
            for k, sentence in enumerate(sentences)
        ],
    }


@pytest.fixture
def rrsis_d(tmp_path: Path) -> Path:
    """Two pictures. The mask of annotation 1 is two codes that overlap in one pixel."""
    folder = tmp_path / "rrsisd"
    folder.mkdir()
    instances = {
        "images": [{"id": number, "file_name": f"{number:05d}.jpg"} for number in (1, 2)],
        "categories": [{"id": 1, "name": "ship"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "categories_id": 1,
                "bbox": [0, 0, 3, 1],
                "segmentation": [rle([[1, 1, 0], [0, 0, 0]]), rle([[0, 1, 1], [0, 0, 0]])],
            },
            {
                "id": 2,
                "image_id": 2,
                "categories_id": 1,
                "bbox": [2, 1, 1, 1],
                "segmentation": [rle([[0, 0, 0], [0, 0, 1]])],
            },
        ],
    }
    (folder / "instances.json").write_text(json.dumps(instances), encoding="utf-8")
    refs = [
        ref(2, 1, 1, "val", "The Ship on the left", "a ship"),
        ref(1, 2, 2, "test", "The small ship"),
    ]
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    for number in (1, 2):
        picture(
            tmp_path / "images" / "rrsisd" / "JPEGImages" / f"{number:05d}.jpg", grey=100 * number
        )
    return tmp_path


def test_rrsis_d_reads_refs_and_codes(make, rrsis_d):
    recipe = make("rrsis-d")
    assert recipe.splits == ("val", "test")
    first, second = recipe.samples("val")
    assert (first.id, first.prompt, first.image_id) == ("2-20", "The Ship on the left", "00001")
    assert pixels(first) == [("The Ship on the left", [(0, 0), (0, 1), (0, 2)])]
    assert (first.tags, second.tags) == ((), (FURTHER_PHRASE,))
    assert first.image.mean() == pytest.approx(100, abs=2)
    assert [s.prompt for s in make("rrsis-d", text="sent").samples("test")] == ["the small ship"]


@pytest.mark.parametrize("compat", ["rmsin", "segearth"])
def test_published_loaders_of_rrsis_d_lose_pixels_that_two_codes_cover(make, rrsis_d, compat):
    assert pixels(make("rrsis-d", compat=compat, label="ship").samples("val")[0]) == [
        ("ship", [(0, 0), (0, 2)])
    ]


def test_segearths_loader_takes_the_picture_whose_id_is_the_refs(make, rrsis_d):
    """Ref 2 is about picture 1, ref 1 about picture 2."""
    native, published = make("rrsis-d"), make("rrsis-d", compat="segearth")
    assert [s.image_id for s in native.samples("val")] == ["00001", "00001"]
    assert [s.image_id for s in published.samples("val")] == ["00002", "00002"]
    assert published.samples("val")[0].image.mean() == pytest.approx(200, abs=2)


class _Hostile:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("hostile-pickle-ran"),))


def test_a_hostile_pickle_is_refused_and_runs_nothing(make, rrsis_d, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (rrsis_d / "rrsisd" / "refs(unc).p").write_bytes(pickle.dumps([_Hostile()]))
    with pytest.raises(RecipeError, match=r"refs\(unc\)\.p"):
        make("rrsis-d")
    assert not (tmp_path / "hostile-pickle-ran").exists()


def test_rrsis_d_finds_pictures_beside_or_below_the_refs(make, rrsis_d):
    (rrsis_d / "images").rename(rrsis_d / "rrsisd" / "images")
    assert make("rrsis-d").samples("test")[0].image.shape == (2, 3, 3)
    assert make("rrsis-d", root=str(rrsis_d / "rrsisd")).splits == ("val", "test")


def test_rrsis_d_leaves_out_and_counts_phrases_without_a_code(make, rrsis_d):
    path = rrsis_d / "rrsisd" / "instances.json"
    content = json.loads(path.read_text())
    content["annotations"][1]["segmentation"] = []
    text(path, json.dumps(content))
    recipe = make("rrsis-d")
    assert len(recipe.samples("test")) == 0
    assert recipe.counters() == {"annotations_without_code": 1, "phrases_without_annotation": 1}


def test_a_damaged_code_is_told_and_stops_nothing_else(make, rrsis_d):
    path = rrsis_d / "rrsisd" / "instances.json"
    content = json.loads(path.read_text())
    content["annotations"][1]["segmentation"][0]["counts"] = "zzzz"
    text(path, json.dumps(content))
    told = make("rrsis-d", counts=False).verify()
    assert len(told) == 1 and "annotation 2" in told[0]


def test_rrsis_d_leaves_out_empty_phrases_and_tells_equal_ids_apart(make, rrsis_d):
    refs = [ref(2, 1, 1, "val", " ", "The ship", "a ship"), ref(2, 2, 2, "val", "", "a boat")]
    (rrsis_d / "rrsisd" / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    recipe = make("rrsis-d")
    assert [(s.id, s.prompt, s.tags) for s in recipe.samples("val")] == [
        ("2-21", "The ship", ()),
        ("2-22", "a ship", (FURTHER_PHRASE,)),
        ("2-21-2", "a boat", ()),
    ]
    assert recipe.counters() == {"phrases_empty": 2, "ids_repeated": 1}
    assert len(make("rrsis-d", compat="rmsin").samples("val")) == 5


def test_rrsis_d_without_its_pictures_says_so_once_and_where_to_get_them(make, rrsis_d):
    shutil.rmtree(rrsis_d / "images")
    recipe = make("rrsis-d", counts=False)
    assert recipe.samples("val")[0].targets[0].mask.any()
    told = recipe.verify()
    assert len(told) == 1
    assert "JPEGImages is not there.\n  get " in told[0] and "Lsan2401/RMSIN" in told[0]


def test_rrsis_d_says_which_of_its_parts_is_missing(make, rrsis_d):
    (rrsis_d / "rrsisd" / "instances.json").unlink()
    with pytest.raises(RecipeError, match=r"lacks rrsisd/instances\.json\.\n"):
        make("rrsis-d")


# RefSegRS and RISBench


@pytest.fixture
def refsegrs(tmp_path: Path) -> Path:
    text(tmp_path / "output_phrase_train.txt", "3 road along the buildings\n4 \n\n3 road\n")
    text(tmp_path / "output_phrase_test.txt", "12 light-duty vehicle | in the parking area\n")
    for number in (3, 12):
        save(tmp_path / "masks" / f"{number}.tif", [[0, 40, 60], [127, 128, 255]])
        picture(tmp_path / "images" / f"{number}.tif")
    return tmp_path


def test_refsegrs_reads_a_phrase_a_line(make, refsegrs):
    recipe = make("refsegrs")
    assert recipe.splits == ("train", "test")
    assert [(s.id, s.prompt, s.image_id) for s in recipe.samples("train")] == [
        ("3-0", "road along the buildings", "3"),
        ("3-3", "road", "3"),
    ]
    sample = recipe.samples("test")[0]
    assert sample.labels == ("light-duty vehicle / in the parking area",)
    assert (sample.kind, sample.tags, sample.image.shape) == ("partial", (), (2, 3, 3))
    assert recipe.counters() == {"phrases_empty": 1, "labels_sanitised": 1}


@pytest.mark.parametrize(
    ("compat", "inside"),
    [
        (None, [(1, 1), (1, 2)]),
        ("lavt", [(0, 2), (1, 0), (1, 1), (1, 2)]),
        ("segearth", [(1, 2)]),
    ],
)
def test_refsegrs_masks_are_cut_at_the_published_thresholds_under_compat(
    make, refsegrs, compat, inside
):
    sample = make("refsegrs", compat=compat, label="it").samples("train")[0]
    assert pixels(sample) == [("it", inside)]


def test_a_phrase_list_ends_lines_at_line_feeds_only(make, refsegrs):
    # As Windows writes it, with a mark of its byte order, and a separator within a phrase.
    path = refsegrs / "output_phrase_test.txt"
    path.write_bytes("\ufeff12 a road\u2028by the river\r\n12 caf\u00e9\r\n".encode())
    samples = make("refsegrs").samples("test")
    assert [(sample.id, sample.prompt) for sample in samples] == [
        ("12-0", "a road by the river"),
        ("12-1", "café"),
    ]


@pytest.fixture
def risbench(tmp_path: Path) -> Path:
    base = tmp_path / "RISBench_dataset"
    for split, name in (("train", "00001.png"), ("val", "00002.png"), ("test", "00003.png")):
        text(base / f"output_phrase_{split}.txt", f"{name} the ship in the middle\n")
        save(base / "mask" / name, [[0, 1, 255], [0, 0, 0]])
        picture(base / "img_rgb" / name)
    return tmp_path


def test_risbench_reads_lists_of_file_names_and_phrases(make, risbench):
    recipe = make("risbench")
    assert recipe.splits == ("train", "val", "test")
    sample = recipe.samples("val")[0]
    assert (sample.id, sample.prompt) == ("00002-0", "the ship in the middle")
    assert pixels(sample) == [("the ship in the middle", [(0, 1), (0, 2)])]


@pytest.mark.parametrize("folder", ["img_rgb", "mask"])
def test_a_folder_that_is_not_there_is_told_once_with_where_to_get_it(make, risbench, folder):
    shutil.rmtree(risbench / "RISBench_dataset" / folder)
    told = make("risbench", counts=False).verify()
    assert len(told) == 1
    assert f"{folder} is not there.\n  get " in told[0] and "HIT-SIRS/CroBIM" in told[0]


def test_a_missing_mask_is_told_by_name_not_dropped(make, risbench):
    (risbench / "RISBench_dataset" / "mask" / "00003.png").unlink()
    recipe = make("risbench", counts=False)
    assert len(recipe.samples("test")) == 1
    told = recipe.verify()
    assert len(told) == 1 and "00003.png" in told[0]


def test_a_mask_without_any_pixel_is_a_phrase_without_target(make, risbench):
    save(risbench / "RISBench_dataset" / "mask" / "00002.png", [[0, 0, 0], [0, 0, 0]])
    assert make("risbench").samples("val")[0].targets == ()


def test_a_coloured_mask_is_refused(make, risbench):
    save(risbench / "RISBench_dataset" / "mask" / "00002.png", [[(9, 0, 0)] * 3] * 2)
    with pytest.raises(RecipeError, match=r"00002\.png has colours"):
        _ = make("risbench").samples("val")[0]


def test_a_long_phrase_stays_whole_in_the_prompt_and_is_cut_in_the_label(make, risbench):
    phrase = "the ship " * 40
    text(risbench / "RISBench_dataset" / "output_phrase_val.txt", f"00002.png {phrase}\n")
    recipe = make("risbench")
    sample = recipe.samples("val")[0]
    assert sample.prompt == phrase.strip()
    assert len(sample.labels[0]) <= 128 and sample.prompt.startswith(sample.labels[0])
    assert recipe.counters() == {"labels_sanitised": 1}


# EarthReason


@pytest.fixture
def earthreason(tmp_path: Path) -> Path:
    for stem, questions, answers, mask in (
        (
            "a",
            ["Where do ships load?", "Which place serves trade?"],
            ["The harbour."],
            [[0, 1, 255]],
        ),
        ("b", ["Where do planes land?"], [], [[0, 0, 0]]),
        ("c", ["Where is water kept?"], ["The dam."], [[1, 0, 0]]),
    ):
        base = tmp_path / "val"
        text(base / "QAs" / f"{stem}.json", json.dumps({"questions": questions, "answer": answers}))
        save(base / "labels" / f"{stem}.png", mask)
        picture(base / "images" / f"{stem}.jpg", (1, 3))
    return tmp_path


def test_earthreason_tags_further_questions(make, earthreason):
    samples = make("earthreason").samples("val")
    assert [(s.id, s.prompt, s.tags) for s in samples] == [
        ("a-0", "Where do ships load?", ()),
        ("a-1", "Which place serves trade?", (FURTHER_PHRASE,)),
        ("b-0", "Where do planes land?", ()),
        ("c-0", "Where is water kept?", ()),
    ]
    assert pixels(samples[1]) == [("target", [(0, 1), (0, 2)])]
    assert samples[2].targets == () and samples[2].labels == ("target",)
    named = make("earthreason", label=None).samples("val")[0]
    assert named.labels == ("Where do ships load?",)


def test_an_empty_question_is_left_out_and_the_next_is_the_first(make, earthreason):
    text(earthreason / "val" / "QAs" / "a.json", '{"questions": [" ", "Where?"], "answer": ["x"]}')
    recipe = make("earthreason")
    assert [(s.id, s.tags) for s in recipe.samples("val")][:1] == [("a-1", ())]
    assert recipe.counters() == {"phrases_empty": 1}


def test_earthreason_is_found_one_folder_deeper(make, earthreason):
    for name in ("images", "labels", "QAs"):
        (earthreason / "val" / "val").mkdir(exist_ok=True)
        (earthreason / "val" / name).rename(earthreason / "val" / "val" / name)
    recipe = make("earthreason", counts=False)
    assert len(recipe.samples("val")) == 4 and recipe.verify() == []


def test_earthreason_asks_the_first_question_only_on_request(make, earthreason):
    recipe = make("earthreason", questions="first")
    assert [sample.id for sample in recipe.samples("val")] == ["a-0", "b-0", "c-0"]
    assert recipe.counters() == {"further_questions_left_out": 1}


def test_segearths_loader_pairs_by_position_and_mispairs_behind_a_stray_label(make, earthreason):
    save(earthreason / "val" / "labels" / "aa.png", [[0, 0, 1]])
    native = make("earthreason").samples("val")
    published = make("earthreason", compat="segearth").samples("val")
    assert pixels(native[2]) == []
    assert pixels(published[2]) == [("target", [(0, 2)])]
    assert pixels(native[3]) == [("target", [(0, 0)])]
    assert pixels(published[3]) == []


def test_earthreason_tells_answers_that_contradict_the_mask(make, earthreason):
    save(earthreason / "val" / "labels" / "b.png", [[0, 9, 0]])
    told = make("earthreason", counts=False).verify()
    assert len(told) == 1
    assert "b.png: the mask shows a target, but the questions have no answer" in told[0]


def test_earthreason_refuses_a_file_of_questions_of_another_kind(make, earthreason):
    text(earthreason / "val" / "QAs" / "b.json", '{"questions": "one", "answer": []}')
    with pytest.raises(RecipeError, match=r"b\.json: 'questions' must be a list of texts"):
        make("earthreason")


# data check


@pytest.mark.parametrize("name", RECIPES)
def test_check_of_an_empty_folder_says_what_is_missing_and_where_to_get_it(tmp_path, capsys, name):
    assert main(["data", "check", "--recipe", name, "--param", f"root={tmp_path}"]) == 2
    told = capsys.readouterr().err
    assert f"{name}: {tmp_path} " in told
    assert "http" in told and "licence: " in told


@pytest.mark.parametrize(
    ("name", "fixture", "split", "told"),
    [
        ("loveda", "loveda", "train", "has 2 pictures, the published dataset has 2522 pictures"),
        ("loveda", "loveda", "val", "has 1 pictures, the published dataset has 1669 pictures"),
        ("loveda", "loveda", "test", "has 1 pictures, the published dataset has 1796 pictures"),
        ("isaid", "isaid", "train", "has 1 pictures, the published dataset has 1411 pictures"),
        ("rrsis-d", "rrsis_d", "train", "is not there, the published dataset has 12181 phrases"),
        ("rrsis-d", "rrsis_d", "val", "has 2 phrases, the published dataset has 1740 phrases"),
        ("rrsis-d", "rrsis_d", "test", "has 1 phrases, the published dataset has 3481 phrases"),
        ("refsegrs", "refsegrs", "train", "has 2 samples, the published dataset has 2172 samples"),
        ("refsegrs", "refsegrs", "val", "is not there, the published dataset has 431 samples"),
        ("refsegrs", "refsegrs", "test", "has 1 samples, the published dataset has 1817 samples"),
        ("risbench", "risbench", "train", "has 1 samples, the published dataset has 26300 samples"),
        ("risbench", "risbench", "val", "has 1 samples, the published dataset has 10013 samples"),
        ("risbench", "risbench", "test", "has 1 samples, the published dataset has 16159 or 16158"),
        ("earthreason", "earthreason", "val", "has 3 pictures, the published dataset has 1135"),
        ("earthreason", "earthreason", "train", "is not there, the published dataset has 2371"),
        ("earthreason", "earthreason", "test", "is not there, the published dataset has 1928"),
    ],
)
def test_check_compares_numbers_with_the_published_ones(make, request, name, fixture, split, told):
    request.getfixturevalue(fixture)
    assert any(f"{name}: the split {split!r} {told}" in message for message in make(name).verify())
    assert make(name, counts=False).verify() == []


def test_check_passes_where_the_numbers_are_the_published_ones(
    tmp_path, loveda, capsys, monkeypatch
):
    published = {
        "urban": {"train": 1, "val": 0, "test": 1},
        "rural": {"train": 1, "val": 1, "test": 0},
    }
    monkeypatch.setattr(f"{DATASETS}.loveda.PUBLISHED", published)
    assert main(["data", "check", "--recipe", "loveda", "--param", f"root={tmp_path}"]) == 0
    assert "ok: every file could be read" in capsys.readouterr().out


def test_samples_pickle_for_workers(make, rrsis_d):
    samples = make("rrsis-d").samples("val")
    assert pixels(pickle.loads(pickle.dumps(samples))[0]) == pixels(samples[0])
