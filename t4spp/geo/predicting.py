"""A scene of any size through anything that answers windows: read ahead, ask, stitch.

Memory holds two chunks of windows and what the stitcher holds; nothing grows with the scene's
height. No model is known here: ``t4spp.scene_prediction`` brings one, ``t4spp bench scene`` a
stand-in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from t4spp.errors import GeoError
from t4spp.geo.pictures import SceneReader
from t4spp.geo.scenes import check_unchanged
from t4spp.geo.stitching import Stitcher
from t4spp.geo.windows import Window, WindowGrid
from t4spp.types import BoolMask, Image, Region

MAX_ROWS_BYTES = 8 * 2**30
"""What the rows under work may take; beyond it smaller windows are asked for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowPicture:
    """One window that was read.

    Attributes:
        number: of the window in its grid.
        window: where it lies.
        image: uint8[h, w, 3].
        valid: bool[h, w], where the scene has data.
    """

    number: int
    window: Window
    image: Image
    valid: BoolMask


Answer = Callable[[Sequence[WindowPicture]], Sequence[Sequence[Region]]]
"""Given windows with data, the regions of each, of all phrases; in order."""
Watch = Callable[[WindowPicture], object]
"""Told of every window that was read, with or without data."""
Progress = Callable[[int], object]
"""Told how many windows have just been done."""


def check_rows(grid: WindowGrid, num_phrases: int) -> None:
    """Refuse windows so tall, in a scene so wide, that the rows under work would not fit.

    Raises:
        GeoError: they need more than ``MAX_ROWS_BYTES``.
    """
    height, width = grid.scene.size
    rows = min(2 * grid.box_size[0], height)
    needed = rows * width * (4 * num_phrases + 16)
    if needed > MAX_ROWS_BYTES:
        raise GeoError(
            f"{grid.scene.path}: windows of {grid.box_size[0]} rows across {width} columns for "
            f"{num_phrases} phrases need {needed / 2**30:.1f} GB of memory at a time, the limit is "
            f"{MAX_ROWS_BYTES / 2**30:.0f} GB. Choose smaller windows, or fewer phrases at once."
        )


def stitch_scene(
    reader: SceneReader,
    grid: WindowGrid,
    answer: Answer,
    stitcher: Stitcher,
    *,
    chunk: int = 8,
    watch: Watch | None = None,
    progress: Progress | None = None,
) -> Counter[str]:
    """Answer every window of a scene and stitch the answers; the stitcher's sink gets the rest.

    Windows that show no data are not asked. The next chunk is read while one is answered.

    Args:
        reader: of the scene.
        grid: its windows.
        answer: asked with up to ``chunk`` windows at a time, always the same ones.
        stitcher: made for the scene's size.
        chunk: windows that are read and answered together.
        watch: told of every window, before it is answered.
        progress: told about windows that are done.

    Returns:
        ``windows``, ``windows_padded``, ``windows_without_data``.

    Raises:
        GeoError: the scene cannot be read, has changed since, or holds no data at all.
    """
    counters = Counter({"windows": len(grid), "windows_padded": grid.num_padded})
    for pictures in read_chunks(reader, grid, chunk):
        for picture in pictures:
            if watch is not None:
                watch(picture)
        shown = [picture for picture in pictures if picture.valid.any()]
        answers = dict(zip((p.number for p in shown), answer(shown), strict=True)) if shown else {}
        counters["windows_without_data"] += len(pictures) - len(shown)
        for picture in pictures:
            stitcher.add(picture.window, answers.get(picture.number, ()), picture.valid)
        if progress is not None:
            progress(len(pictures))
    if counters["windows_without_data"] == len(grid):
        raise GeoError(
            f"{reader.scene.path} holds no data: every pixel is no-data, transparent or not a "
            "number. Check its no-data value and its alpha band (gdalinfo -stats)."
        )
    stitcher.finish()
    check_unchanged(reader.scene)
    return +counters


def read_chunks(reader: SceneReader, grid: WindowGrid, chunk: int) -> Iterator[list[WindowPicture]]:
    """The windows of a grid in order, ``chunk`` at a time, the next one read ahead in a thread."""
    starts = range(0, len(grid), chunk)
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")
    try:
        coming: Future[list[WindowPicture]] | None = None
        for start in starts:
            ready = coming or pool.submit(_read, reader, grid, start, chunk)
            pictures = ready.result()
            after = start + chunk
            coming = pool.submit(_read, reader, grid, after, chunk) if after < len(grid) else None
            yield pictures
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        reader.close()


def _read(reader: SceneReader, grid: WindowGrid, start: int, chunk: int) -> list[WindowPicture]:
    pictures = []
    for number in range(start, min(start + chunk, len(grid))):
        window = grid[number]
        image, valid = reader.read(window.box, window.out_size)
        pictures.append(WindowPicture(number=number, window=window, image=image, valid=valid))
    return pictures
