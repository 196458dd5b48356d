"""Samples as a COCO file on disk, for tools and evaluations elsewhere."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from t4spp.components import Source
from t4spp.data.coco_json import CocoWriter
from t4spp.errors import RunError
from t4spp.training.atomic import write_text
from t4spp.types import Sample


def write_coco(
    samples: Iterable[Sample],
    path: Path,
    *,
    description: str,
    sources: Sequence[Source] = (),
    save_picture: Callable[[str, Sample], object] | None = None,
) -> Counter[str]:
    """Write samples as one COCO file, in one step.

    Args:
        samples: read one after another.
        path: the JSON file; replaced where it exists.
        description: of the file's ``info``.
        sources: their licences are told.
        save_picture: see :meth:`t4spp.data.coco_json.CocoWriter.add`.

    Returns:
        What was written and left out.

    Raises:
        RunError: the file cannot be written, or a picture has two sizes.
    """
    writer = CocoWriter()
    for sample in samples:
        writer.add(sample, save_picture)
    content = writer.content(description=description, sources=sources)
    try:
        write_text(path, json.dumps(content, ensure_ascii=False) + "\n")
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror or error}. Choose another place with -o."
        ) from error
    return +writer.counters
