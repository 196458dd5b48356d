"""Write a run's page, or set several runs side by side; no model is needed.

One run: scores, answers, curves and a gallery, in report.html of its folder. Several runs: a page
with their scores and costs, the differences of their configs, and the same samples under each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from t4spp.cli.options import catalogue_of, print_json
from t4spp.errors import ConfigError

COMPARISON_NAME = "comparison.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs, the page, and what it shows."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help=f"the page; default RUN/report.html, for several runs {COMPARISON_NAME} here",
    )
    parser.add_argument("--split", help="whose answers to show; default data.eval_split")
    parser.add_argument(
        "--samples",
        type=int,
        default=4,
        metavar="N",
        help="samples in each group of the gallery; default 4",
    )


def run(args: argparse.Namespace) -> int:
    """Write the page and say where it lies."""
    from t4spp.report.compare import write_comparison
    from t4spp.report.html import report_on
    from t4spp.report.runs import open_run

    if args.samples < 1:
        raise ConfigError(f"--samples {args.samples}: expected 1 or more")
    folders = [Path(folder) for folder in args.runs]
    output = None if args.output is None else Path(args.output)
    catalogue = catalogue_of(args)
    if len(folders) == 1:
        view = open_run(folders[0], catalogue, args.split)
        report = report_on(view, catalogue, output=output, per_group=args.samples)
    else:
        report = write_comparison(
            folders,
            catalogue,
            output or Path(COMPARISON_NAME),
            split=args.split,
            per_group=args.samples,
        )
    if args.json:
        print_json(report.to_json())
    else:
        for view in report.runs:
            for note in view.missing:
                print(f"{view.label}: {note}")
        print(f"report: {report.path}")
    return 0
