"""Polygons that people drew give the masks that the dataset's PNGs hold, instance by instance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from t4spp.plugins import Catalogue

IGNORED = "__ignore__"


def _painted(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Instance numbers as labelme paints them: in the file's order, outlines included.

    Shapes of one label and group are one instance; ignored ones have a number and are 0 in the end.
    """
    numbers = np.zeros(size, dtype=np.int64)
    instances: list[tuple[str, object]] = []
    ignored: list[int] = []
    for index, shape in enumerate(json.loads(path.read_text(encoding="utf-8"))["shapes"]):
        group = shape["group_id"]
        instance = (shape["label"], ("alone", index) if group is None else group)
        if instance not in instances:
            instances.append(instance)
        number = instances.index(instance) + 1
        canvas = Image.new("L", size[::-1])
        points = [tuple(point) for point in shape["points"]]
        ImageDraw.Draw(canvas).polygon(points, outline=1, fill=1)
        numbers[np.asarray(canvas) == 1] = number
        if shape["label"] == IGNORED:
            ignored.append(number)
    numbers[np.isin(numbers, ignored)] = 0
    return numbers


@pytest.mark.parametrize("stem", ["2011_000003", "2011_000006", "2011_000025"])
def test_instance_masks_match_labelmes_polygons(
    catalogue: Catalogue, shared_data: Path, stem: str
) -> None:
    base = shared_data / "voc_labelme" / "instance_segmentation"
    voc = base / "data_dataset_voc"
    params = {
        "images": str(voc / "JPEGImages"),
        "masks": str(voc / "SegmentationObject"),
        "void": [255],
    }
    recipe = catalogue.build("recipe", "instance-folder", params)
    samples = [sample for sample in recipe.samples("all") if sample.image_id == stem]
    painted = _painted(base / "data_annotated" / f"{stem}.json", samples[0].size)
    numbers = [int(number) for number in np.unique(painted) if number]
    assert len(samples) == len(numbers) >= 3
    for sample in samples:
        mask = sample.targets[0].mask
        differing = min(int((mask != (painted == number)).sum()) for number in numbers)
        # One outline pixel of 2011_000006 is rounded otherwise by today's PIL.
        assert differing <= (stem == "2011_000006"), sample.id
