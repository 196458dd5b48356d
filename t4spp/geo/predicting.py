"""A scene of any size through anything that answers windows: read ahead, ask, stitch.

Memory holds two chunks of windows and what the stitcher holds; nothing grows with the scene's
height. No model is known here: ``t4spp.scene_prediction`` brings one, ``t4spp bench scene`` a
stand-in.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

from t4spp.errors import GeoError
from t4spp.geo.pictures import SceneReader
from t4spp.geo.scenes import check_unchanged
from t4spp.geo.stitching import Stitcher
from t4spp.geo.windows import Window, WindowGrid
from t4spp.types import BoolMask, Box, Image, Region

MAX_ROWS_BYTES = 8 * 2**30
"""What the rows under work may take; beyond it smaller windows are asked for."""
CHUNKS_AHEAD = 2
"""Chunks of windows that are read before they are asked for, at most."""


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
Watch = Callable[[Box, Image, BoolMask], object]
"""Told of all that is read, with or without data: a box of the scene, its uint8[h, w, 3], and
bool[h, w], where there are data."""
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

    Windows that show no data are not asked. The next chunks are read while one is answered.

    Args:
        reader: of the scene.
        grid: its windows.
        answer: asked with up to ``chunk`` windows at a time, always the same ones.
        stitcher: made for the scene's size.
        chunk: windows that are read and answered together.
        watch: told of all that is read, in order, before it is answered; in the thread that reads
            ahead.
        progress: told about windows that are done.

    Returns:
        ``windows``, ``windows_padded``, ``windows_without_data``.

    Raises:
        GeoError: the scene cannot be read, has changed since, or holds no data at all.
    """
    counters = Counter({"windows": len(grid), "windows_padded": grid.num_padded})
    for pictures in read_chunks(reader, grid, chunk, watch):
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


def read_chunks(
    reader: SceneReader, grid: WindowGrid, chunk: int, watch: Watch | None = None
) -> Iterator[list[WindowPicture]]:
    """The windows of a grid in order, ``chunk`` at a time, the next few read ahead in a thread.

    ``watch`` is told there of what is read.
    """
    starts = iter(range(0, len(grid), chunk))
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")

    def ahead(count: int) -> Iterator[Future[list[WindowPicture]]]:
        for start in islice(starts, count):
            yield pool.submit(_read, reader, grid, start, chunk, watch)

    try:
        coming = deque(ahead(CHUNKS_AHEAD))
        while coming:
            pictures = coming.popleft().result()
            coming.extend(ahead(1))
            yield pictures
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        reader.close()


def _read(
    reader: SceneReader, grid: WindowGrid, start: int, chunk: int, watch: Watch | None
) -> list[WindowPicture]:
    pictures: list[WindowPicture] = []
    numbers = range(start, min(start + chunk, len(grid)))
    for windows in _stretches([(number, grid[number]) for number in numbers]):
        (_, first), (_, last) = windows[0], windows[-1]
        box = replace(first.box, x1=last.box.x1)
        size = first.out_size if len(windows) == 1 else (box.height, box.width)
        image, valid = reader.read(box, size)
        if watch is not None:
            watch(box, image, valid)
        for number, window in windows:
            part = image, valid
            if len(windows) > 1:
                columns = slice(window.box.x0 - box.x0, window.box.x1 - box.x0)
                part = image[:, columns].copy(), valid[:, columns].copy()
            pictures.append(
                WindowPicture(number=number, window=window, image=part[0], valid=part[1])
            )
    return pictures


def _stretches(windows: Sequence[tuple[int, Window]]) -> Iterator[list[tuple[int, Window]]]:
    """Neighbours of one row that can be cut out of one picture, because none is resampled."""
    found: list[tuple[int, Window]] = []
    for number, window in windows:
        if found and not (
            _is_as_stored(window)
            and _is_as_stored(found[-1][1])
            and window.box.y0 == found[-1][1].box.y0
            and window.box.x0 <= found[-1][1].box.x1
        ):
            yield found
            found = []
        found.append((number, window))
    if found:
        yield found


def _is_as_stored(window: Window) -> bool:
    return window.out_size == (window.box.height, window.box.width)
