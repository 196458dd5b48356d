"""Scenes through reading, blending and writing, with a stand-in model that costs nothing.

Pixel rate over that of reading and writing the same windows with plain rasterio, and peak memory.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from t4spp.cli.options import print_json
from t4spp.cli.progress import progress_bar
from t4spp.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The scene and its windows."""
    parser.add_argument(
        "--size", default="20000x20000", metavar="HxW", help="of the scene; default 20000x20000"
    )
    parser.add_argument(
        "--window", type=int, default=256, metavar="PIXELS", help="side of a window; default 256"
    )
    parser.add_argument(
        "--stride",
        type=int,
        metavar="PIXELS",
        help="from one window to the next; default three quarters of the window",
    )
    parser.add_argument(
        "--compress",
        default="deflate",
        choices=("deflate", "lzw", "none"),
        help="of the generated scene; default deflate",
    )
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="for what is written; default a temporary one"
    )


def run(args: argparse.Namespace) -> int:
    """Generate, measure and print."""
    from rasterio.errors import NotGeoreferencedWarning

    from t4spp.geo.scene_bench import bench_scene

    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)  # of masks on plain pixels
    size = _size(args.size)
    window = args.window
    stride = round(window * 0.75) if args.stride is None else args.stride
    if window < 64 or not 48 <= stride <= window:
        raise ConfigError(
            f"--window {window}, --stride {stride}: expected a window of at least 64 pixels and a "
            "stride from 48 to the window"
        )
    if args.folder is not None and not args.folder.is_dir():
        raise ConfigError(f"--folder {args.folder} is no folder")
    with tempfile.TemporaryDirectory(prefix="t4spp-bench-", dir=args.folder) as name:
        found = bench_scene(Path(name), size, window, stride, compress=args.compress, progress=_bar)
    peak = None if found.peak_rss_mb is None else round(found.peak_rss_mb, 1)
    if args.json:
        print_json(
            {
                "pixel_rate_ratio": round(found.ratio, 4),
                "peak_rss_mb": peak,
                "scene": list(found.scene),
                "windows": found.num_windows,
                "window": window,
                "stride": stride,
                "compress": args.compress,
                "objects": found.num_objects,
                "seconds": round(found.seconds, 3),
                "yardstick_seconds": round(found.yardstick_seconds, 3),
                "stage_seconds": {k: round(v, 3) for k, v in found.stage_seconds.items()},
            }
        )
        return 0
    pixels = found.scene[0] * found.scene[1] / 1e6
    print(f"scene {found.scene[0]} x {found.scene[1]}, {found.num_windows} windows of {window}")
    print(f"plain rasterio: {pixels / found.yardstick_seconds:.1f} million pixels a second")
    stages = ", ".join(f"{name} {value:.1f} s" for name, value in found.stage_seconds.items())
    print(f"t4spp: {pixels / found.seconds:.1f} million pixels a second ({stages})")
    print(f"ratio {found.ratio:.2f}, {found.num_objects} objects, peak memory {peak} MB")
    return 0


def _bar(total: int, title: str) -> AbstractContextManager[Callable[[int], object]]:
    return progress_bar(total, title)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not height.isdecimal() or not width.isdecimal() or min(int(height), int(width)) < 256:
        raise ConfigError(f"--size {text}: expected HEIGHTxWIDTH, both at least 256")
    return int(height), int(width)
