"""Train every scheme of a config from the same start, under equal budgets, and rank them.

Each cell (a scheme, a budget, a seed) is a run of its own in the folder's cells/. A cell that fails
costs itself only; the same command again goes on with what is missing, and tries failed cells once
more. Several leaderboards may work on one folder: each cell is taken by one of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t4spp.cli.options import add_set_argument, catalogue_of, print_json, print_table
from t4spp.errors import ConfigError

if TYPE_CHECKING:
    from t4spp.leaderboard.cells import CellState
    from t4spp.leaderboard.config import Cell, LeaderboardConfig
    from t4spp.leaderboard.truths import Truths
    from t4spp.plugins import Catalogue

FAILED = 1
"""Exit code where a cell failed; the page is written all the same."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the folder, how many cells at a time, and what not to do."""
    parser.add_argument("config", metavar="CONFIG", help="a leaderboard's config, YAML")
    add_set_argument(parser)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="its folder; default runs/NAME"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="cells at a time; default one a GPU, or one. On a CPU they share the cores",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="SCHEME",
        help="run the cells of this scheme, by its title; may be repeated",
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--list", action="store_true", help="say how far each cell is; run nothing")
    choice.add_argument(
        "--report-only", action="store_true", help="write the page of what is there; run nothing"
    )


def run(args: argparse.Namespace) -> int:
    """Run what is missing, write the page, print the standings."""
    from t4spp.leaderboard.cells import read_cell
    from t4spp.leaderboard.config import load_leaderboard

    if args.jobs is not None and args.jobs < 1:
        raise ConfigError(f"--jobs {args.jobs}: expected 1 or more")
    catalogue = catalogue_of(args)
    config, cells = load_leaderboard(args.config, args.set, catalogue)
    folder = args.output or Path("runs") / config.name
    chosen = _chosen(cells, args.only, config)
    states = [read_cell(cell, folder) for cell in cells]
    if args.list:
        return _list(states, as_json=args.json)
    truths = _truths(config, cells[0], catalogue)
    if not args.report_only:
        _run_missing(args, config, chosen, states, folder, truths)
    states = [read_cell(cell, folder) for cell in cells]
    result = _write(config, args, states, folder, truths)
    page = folder / "leaderboard.html"
    from t4spp.report.leaderboard_page import write_leaderboard_page

    write_leaderboard_page(result, folder, catalogue, page)
    if args.json:
        print_json(result)
    else:
        _print(result)
        print(f"{folder}: leaderboard.json, leaderboard.md\npage: {page}")
    return FAILED if any(state.status == "failed" for state in states) else 0


def _chosen(
    cells: Sequence[Cell], only: Sequence[str], config: LeaderboardConfig
) -> tuple[Cell, ...]:
    from t4spp.errors import nearest

    for title in only:
        if title not in config.schemes:
            raise ConfigError(
                f"--only {title}: the schemes are {', '.join(config.schemes)}."
                f"{nearest(title, config.schemes)}"
            )
    return tuple(cell for cell in cells if not only or cell.scheme in only)


def _truths(config: LeaderboardConfig, cell: Cell, catalogue: Catalogue) -> Truths:
    """What the scored samples are like; also whether they are to be had, before anything runs."""
    from t4spp.evaluation.experiment import Experiment
    from t4spp.leaderboard.truths import read_truths

    samples = Experiment(config=cell.config, catalogue=catalogue).samples(
        cell.config.data.eval_split
    )
    asked = [one.where.by for one in config.orderings.values() if one.where is not None]
    return read_truths(samples, [*config.breakdowns, *asked])


def _run_missing(
    args: argparse.Namespace,
    config: LeaderboardConfig,
    chosen: Sequence[Cell],
    states: Sequence[CellState],
    folder: Path,
    truths: Truths,
) -> None:
    """Run the chosen cells that are not done, with a bar; the tables follow each of them."""
    from tqdm import tqdm

    from t4spp.leaderboard.cells import read_cell
    from t4spp.leaderboard.config import dump_leaderboard
    from t4spp.leaderboard.running import make_slots, run_cells
    from t4spp.training.atomic import discard, write_text
    from t4spp.training.checkpoints import CHECKPOINTS

    done = {state.cell.place for state in states if state.status == "done"}
    missing = [cell for cell in chosen if cell.place not in done]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "leaderboard.yaml", dump_leaderboard(config))
    arguments = [part for file in args.plugin_file for part in ("--plugin-file", str(file))]
    with tqdm(
        total=len(chosen),
        initial=len(chosen) - len(missing),
        desc=config.name,
        unit="cell",
        file=sys.stderr,
    ) as bar:

        def finished(cell: Cell, good: bool) -> None:
            if good and not config.keep_weights:
                discard(folder / cell.place / CHECKPOINTS)
            bar.update()
            bar.write(f"{cell.name}: {'done' if good else 'failed'}", file=sys.stderr)
            after = [read_cell(state.cell, folder) for state in states]
            _write(config, args, after, folder, truths)

        every = 1.0 if sys.stderr.isatty() else 60.0
        said = ("", time.monotonic())

        def told(text: str) -> None:
            """What runs, as often as it can be read."""
            nonlocal said
            if text != said[0] and time.monotonic() - said[1] > every:
                bar.set_postfix_str(text)
                said = (text, time.monotonic())

        try:
            run_cells(
                missing,
                folder,
                make_slots(args.jobs),
                arguments=arguments,
                finished=finished,
                told=told,
            )
        except KeyboardInterrupt:
            bar.write(
                f"{bar.n} of {bar.total} cells have run; the same command goes on from there",
                file=sys.stderr,
            )
            raise


def _write(
    config: LeaderboardConfig,
    args: argparse.Namespace,
    states: Sequence[CellState],
    folder: Path,
    truths: Truths,
) -> dict[str, Any]:
    """``leaderboard.json`` and ``leaderboard.md``."""
    from t4spp.leaderboard.result import build_result
    from t4spp.report.leaderboard_page import leaderboard_markdown
    from t4spp.training.atomic import write_text

    result = build_result(config, args.config, args.set, states, folder, truths)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, ensure_ascii=False, indent=1, allow_nan=False)
    write_text(folder / "leaderboard.json", text + "\n")
    write_text(folder / "leaderboard.md", leaderboard_markdown(result))
    return result


def _list(states: Sequence[CellState], *, as_json: bool) -> int:
    rows = [
        (state.cell.scheme, state.cell.budget, str(state.cell.seed), state.status, state.cell.place)
        for state in states
    ]
    names = ("scheme", "budget", "seed", "status", "folder")
    if as_json:
        print_json([dict(zip(names, row, strict=True)) for row in rows])
        return 0
    print_table(names, rows)
    counts = Counter(state.status for state in states)
    print(", ".join(f"{counts[name]} {name}" for name in ("done", "failed", "waiting")))
    return 0


def _print(result: dict[str, Any]) -> None:
    for budget, rows in result["standings"].items():
        told = result["budgets"][budget]
        print(f"{told['title']} ({told['amount']:,} {told['unit']}): {result['metric']}")
        print_table(
            ["", "scheme", "score", "95 %", "seeds", "tokens", "seconds", "well-formed"],
            [
                [
                    "-" if row["rank"] is None else str(row["rank"]),
                    row["scheme"],
                    _number(row["score"]["value"], ".3f"),
                    f"{_number(row['score']['low'], '.3f')} to "
                    f"{_number(row['score']['high'], '.3f')}",
                    str(row["num_seeds"]),
                    _number(row["tokens"], ".1f"),
                    _number(row["seconds"], ".3f"),
                    _number(row["well_formed"], ".1%"),
                ]
                for row in rows
            ],
        )
        print()
    for one in result["orderings"]:
        print(f"{one['title']} ({one['budget']}): {one['verdict']}")
    for cell in result["cells"]:
        if cell["status"] == "failed":
            last = (cell["error"] or "").strip().splitlines()
            print(
                f"failed: {cell['scheme']}, {cell['budget']}, seed {cell['seed']}: "
                f"{last[-2] if len(last) > 1 else ''} (log: {cell['log']})",
                file=sys.stderr,
            )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
