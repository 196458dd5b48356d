"""Compare two runs sample by sample: differences, intervals, a paired test, and what changed most.

Both must have answered the same split of the same recipe. Differences are the second run's scores
minus the first's. No model is needed; the dataset only for the page's pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from t4spp.cli.options import catalogue_of, print_json, print_table
from t4spp.errors import ConfigError

if TYPE_CHECKING:
    from t4spp.report.paired_runs import Change, Comparison

PAGE_NAME = "compare.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs, the page, and how the draws are made."""
    parser.add_argument("first", metavar="RUN", help="a run's folder")
    parser.add_argument("second", metavar="RUN", help="another one's")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path(PAGE_NAME),
        metavar="FILE",
        help=f"the page with pictures; default {PAGE_NAME} here",
    )
    parser.add_argument("--no-page", action="store_true", help="print the comparison only")
    parser.add_argument("--split", help="whose answers; default the first run's data.eval_split")
    parser.add_argument(
        "-n",
        "--num",
        type=int,
        default=6,
        metavar="N",
        help="samples that changed most to show, in each direction; default 6",
    )
    parser.add_argument(
        "--resamples", type=int, default=1000, metavar="N", help="of the bootstrap; default 1000"
    )
    parser.add_argument(
        "--shuffles", type=int, default=10_000, metavar="N", help="of the test; default 10000"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of both; default 0")


def run(args: argparse.Namespace) -> int:
    """Compare, write the page, print."""
    from t4spp.report.paired import write_paired_page
    from t4spp.report.paired_runs import compare_runs

    for name, least in (("num", 0), ("resamples", 0), ("shuffles", 0), ("seed", 0)):
        if getattr(args, name) < least:
            raise ConfigError(f"--{name} {getattr(args, name)}: expected {least} or more")
    catalogue = catalogue_of(args)
    comparison = compare_runs(
        (Path(args.first), Path(args.second)),
        catalogue,
        split=args.split,
        resamples=args.resamples,
        shuffles=args.shuffles,
        seed=args.seed,
    )
    if not args.no_page:
        write_paired_page(comparison, catalogue, args.output, most=args.num)
    page = None if args.no_page else str(args.output)
    if args.json:
        print_json(comparison.to_json(args.num, page))
        return 0
    _print(comparison, args.num)
    if page is not None:
        print(f"\npage: {page}")
    return 0


def _print(comparison: Comparison, most: int) -> None:
    from t4spp.report.paired import p_text
    from t4spp.report.tables import METRIC_NAMES, number, signed

    first, second = comparison.views
    left_out = {
        f"only in {first.label}": comparison.only_first,
        f"only in {second.label}": comparison.only_second,
        "asked in other words": comparison.other_prompt,
        "with another truth": comparison.other_truth,
    }
    told = "".join(f", {count} {what}" for what, count in left_out.items() if count)
    print(f"{comparison.matched} samples of {first.split} compared{told}")
    for note in comparison.notes:
        print(note)
    rows = [
        [
            one.protocol,
            METRIC_NAMES.get(each.metric, each.metric),
            number(each.first),
            number(each.second),
            signed(each.difference),
            f"{signed(each.interval.low)} to {signed(each.interval.high)}",
            p_text(each.p_value),
        ]
        for one in comparison.protocols
        for each in one.differences
    ]
    rows += [
        [
            one.protocol,
            METRIC_NAMES.get(one.metric, one.metric),
            number(one.first),
            number(one.second),
            signed(one.second - one.first),
            "–",
            "–",
        ]
        for one in comparison.untested
    ]
    header = ["protocol", "metric", first.label, second.label, "difference", "95 % interval", "p"]
    print_table(header, rows)
    changes = comparison.to_json(0, None)["changes"]
    print(
        f"\n{changes['better']} samples score higher in {second.label}, {changes['worse']} lower, "
        f"{changes['equal']} alike"
    )
    _print_changes(f"{second.label} gains most", comparison.gained(most))
    _print_changes(f"{second.label} loses most", comparison.lost(most))


def _print_changes(title: str, changes: list[Change]) -> None:
    if not changes:
        return
    print(f"{title}:")
    for change in changes:
        print(f"  {change.id}  {change.first:.3f} -> {change.second:.3f}  {change.prompt}")
