"""Miniature datasets in the layouts of the referring datasets, drawn by the tests themselves."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (10, 12)
"""(H, W) of the pictures."""

COCO_PICTURES = "images/mscoco/images/train2014"


def square(x: float, y: float, side: float) -> list[float]:
    """A polygon of COCO's kind."""
    return [x, y, x + side, y, x + side, y + side, x, y + side]


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_picture(path: Path, size: tuple[int, int] = SIZE, value: int = 7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)
    return path


def coco_name(image_id: int) -> str:
    return f"COCO_train2014_{image_id:012d}.jpg"


def ref(
    ref_id: int, image_id: int, ann_id: Any, split: str, *sents: str, raws: Sequence[str] = ()
) -> dict[str, Any]:
    """A record as ``refs(unc).p`` has it; sentence ids are 10 ref_id, 10 ref_id + 1, ..."""
    return {
        "ref_id": ref_id,
        "ann_id": ann_id,
        "image_id": image_id,
        "category_id": 1,
        "split": split,
        "file_name": f"{coco_name(image_id)[:-4]}_{ref_id}.jpg",
        "sent_ids": [10 * ref_id + number for number in range(len(sents))],
        "sentences": [
            {
                "sent_id": 10 * ref_id + number,
                "sent": sent,
                "raw": raws[number] if raws else sent.title(),
                "tokens": sent.split(),
            }
            for number, sent in enumerate(sents)
        ],
    }


ANNOTATIONS = {
    1: {"segmentation": [square(2, 2, 4)]},
    # Two squares of 4 x 4 that share 2 x 4 pixels, as one annotation's polygons may.
    2: {"segmentation": [square(1, 1, 4), square(3, 1, 4)]},
    3: {"segmentation": []},
    4: {"segmentation": [square(6, 5, 3)]},
    # A crowd region is one run-length code: 120 pixels, by columns; rows 0 to 3 of column 0.
    5: {"segmentation": {"size": list(SIZE), "counts": [0, 4, 116]}, "iscrowd": 1},
}
IMAGE_OF = {1: 1, 2: 1, 3: 2, 4: 2, 5: 2}


def write_instances(path: Path, names: dict[int, str] | None = None) -> Path:
    """``instances.json`` of pictures 1, 2 and 3 with the annotations above."""
    names = names or {number: coco_name(number) for number in (1, 2, 3)}
    return write_json(
        path,
        {
            "images": [
                {"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]}
                for number, name in names.items()
            ],
            "annotations": [
                {"id": number, "image_id": IMAGE_OF[number], "category_id": 1, "iscrowd": 0, **more}
                for number, more in ANNOTATIONS.items()
            ],
            "categories": [{"id": 1, "name": "dog", "supercategory": "animal"}],
        },
    )


UNC_REFS = [
    ref(1, 1, 1, "train", "dog", "The dog, left"),
    ref(2, 1, 2, "val", "Big dog, RIGHT ", "two  squares"),
    ref(3, 2, 4, "testA", "man"),
    ref(4, 2, 4, "testB", "cup", "small cup", "a|b *c"),
]


def write_refer(
    root: Path,
    dataset: str = "refcoco",
    refs: Sequence[dict[str, Any]] = UNC_REFS,
    split_by: str = "unc",
    protocol: int = 0,
    pictures: str | None = COCO_PICTURES,
) -> Path:
    """``dataset/refs(...).p``, ``dataset/instances.json`` and the pictures; returns ``root``."""
    folder = root / dataset
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"refs({split_by}).p").write_bytes(pickle.dumps(list(refs), protocol=protocol))
    write_instances(folder / "instances.json")
    if pictures is not None:
        for number in (1, 2, 3):
            write_picture(root / pictures / coco_name(number), value=number)
    return root
