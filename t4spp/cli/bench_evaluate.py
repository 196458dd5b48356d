"""Answers on disk through decoding, scoring and intervals: masks a second, and peak memory.

Dataset and answers are generated. The yardstick, in the same run, only decodes and counts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from t4spp.cli.options import catalogue_of, parse_component, print_json
from t4spp.cli.progress import progress_bar
from t4spp.errors import ConfigError

RECIPE = "coco-instances"
"""Reads what is generated."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The answers, and who scores them."""
    parser.add_argument(
        "--num", type=int, default=50000, metavar="N", help="answers, a mask each; default 50000"
    )
    parser.add_argument(
        "--size", default="480x640", metavar="HxW", help="of the pictures; default 480x640"
    )
    parser.add_argument(
        "--scheme",
        default="next-brick",
        metavar="NAME[:KEY=VALUE,...]",
        help="of the answers; default next-brick",
    )
    parser.add_argument(
        "--protocol", action="append", metavar="NAME", help="native (default); may be repeated"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="evaluation.workers; default as there"
    )
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="for what is written; default a temporary one"
    )


def run(args: argparse.Namespace) -> int:
    """Generate, measure and print."""
    from t4spp.evaluation.evaluate_bench import bench_evaluate
    from t4spp.evaluation.protocols.catalogue import check_protocols

    size = _size(args.size)
    if args.num < 1:
        raise ConfigError(f"--num {args.num}: expected 1 or more")
    if args.workers is not None and args.workers < 0:
        raise ConfigError(f"--workers {args.workers}: expected 0 or more")
    if args.folder is not None and not args.folder.is_dir():
        raise ConfigError(f"--folder {args.folder} is no folder")
    protocols = check_protocols(args.protocol or ["native"])
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with tempfile.TemporaryDirectory(prefix="t4spp-bench-", dir=args.folder) as name:
        found = bench_evaluate(
            Path(name),
            num=args.num,
            size=size,
            scheme=parse_component(args.scheme, "--scheme"),
            recipe=RECIPE,
            catalogue=catalogue_of(args),
            workers=args.workers,
            protocols=protocols,
            progress=_bar,
        )
    megabytes = {
        "begin_rss_mb": found.begin_rss_mb,
        "tenth_rss_mb": found.tenth_rss_mb,
        "end_rss_mb": found.end_rss_mb,
        "peak_rss_mb": found.peak_rss_mb,
        "worker_peak_rss_mb": found.worker_peak_rss_mb,
    }
    told = {key: None if value is None else round(value, 1) for key, value in megabytes.items()}
    if args.json:
        print_json(
            {
                "masks_per_second": round(found.rate, 1),
                "ratio": round(found.ratio, 3),
                "yardstick_masks_per_second": round(found.yardstick_rate, 1),
                **told,
                "num": found.num_predictions,
                "size": list(found.size),
                "scheme": args.scheme,
                "protocols": list(protocols),
                "workers": found.workers,
                "seconds": round(found.seconds, 3),
                "loop_seconds": round(found.loop_seconds, 3),
                "open_seconds": round(found.open_seconds, 3),
                "mean_iou": round(found.mean_iou, 6),
                "load_average": None if load is None else round(load, 2),
            }
        )
        return 0
    print(
        f"{found.num_predictions} answers of {args.scheme}, {size[0]} x {size[1]}, "
        f"{', '.join(protocols)}; mean IoU {found.mean_iou:.3f}"
    )
    print(f"decoding and counting alone: {found.yardstick_rate:.0f} masks a second, one process")
    print(
        f"t4spp: {found.rate:.0f} masks a second ({found.loop_seconds:.1f} s scoring, "
        f"{found.seconds - found.loop_seconds:.1f} s intervals and files; the annotation file "
        f"took {found.open_seconds:.1f} s before)"
    )
    print(
        f"ratio {found.ratio:.2f}; resident MB: {told['begin_rss_mb']} before, "
        f"{told['tenth_rss_mb']} after a tenth, {told['end_rss_mb']} after all, peak "
        f"{told['peak_rss_mb']}, largest worker {told['worker_peak_rss_mb']}"
    )
    return 0


def _bar(total: int, title: str) -> AbstractContextManager[Callable[[int], object]]:
    return progress_bar(total, title)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not height.isdecimal() or not width.isdecimal() or min(int(height), int(width)) < 16:
        raise ConfigError(f"--size {text}: expected HEIGHTxWIDTH, both at least 16")
    return int(height), int(width)
