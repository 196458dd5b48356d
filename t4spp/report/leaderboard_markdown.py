"""A leaderboard as Markdown: the tables of its page, for docs and READMEs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from t4spp.report.leaderboard_pairs import PairCell, pair_matrices
from t4spp.report.leaderboard_rows import (
    COST_HEADINGS,
    bin_tables,
    cost_rows,
    ordering_rows,
    ordering_sentence,
    standing_rows,
)
from t4spp.report.leaderboard_words import (
    Json,
    amount_of,
    change_sentence,
    findings,
    metric_name,
    title_of,
)


def leaderboard_markdown(result: Json) -> str:
    """The findings and tables of ``leaderboard.json``; markup in names is escaped."""
    states = [cell["status"] for cell in result["cells"]]
    parts = [
        f"# {escaped(result['name'])}",
        escaped(
            f"{metric_name(result)} on {result['split']} ({result.get('num_samples')} prompts, "
            f"protocol {result['protocol']}), means over seeds "
            f"{', '.join(str(seed) for seed in result['seeds'])} with 95 % intervals over pictures "
            f"and seeds. {states.count('done')} of {len(states)} runs are done, "
            f"{states.count('failed')} failed."
        ),
    ]
    for found in findings(result):
        lead = f"{found.leader} {found.score}. " if found.leader else ""
        text = f"{found.title} ({found.amount}): {lead}{' '.join(found.sentences)}"
        parts.append(escaped(text))
    if change := change_sentence(result):
        parts.append(escaped(change))
    parts += [f"- {escaped(note)}" for note in result.get("notes", ())]
    parts += ["## Standings", _standings(result), "## Costs", _costs(result)]
    for matrix in pair_matrices(result):
        head = ["row minus column", *matrix.schemes]
        rows = [
            [name, *(_difference(cell) for cell in row)]
            for name, row in zip(matrix.schemes, matrix.cells, strict=True)
        ]
        note = f"Bold: zero lies outside the 95 % interval. {matrix.sentence}"
        parts += [f"## Pairs: {escaped(matrix.title)}", escaped(note), table(head, rows)]
    if orderings := ordering_rows(result):
        head = ["ordering", "source", "budget", "what", "difference", "interval", "verdict"]
        rows = [
            [
                row.title,
                row.source or "–",
                row.budget,
                f"{row.what}{f' ({row.where})' if row.where else ''}",
                row.difference,
                row.interval or "–",
                row.verdict,
            ]
            for row in orderings
        ]
        parts += ["## Orderings", ordering_sentence(result), table(head, rows)]
    for one in bin_tables(result):
        head = ["scheme", *(f"{name} ({count})" if count else name for name, count in one.bins)]
        rows = [
            [scheme, *(_with_interval(value, interval) for value, interval, _ in cells)]
            for scheme, cells in one.rows
        ]
        parts += [f"## By {escaped(one.title)}: {escaped(one.budget)}", table(head, rows)]
    return "\n\n".join(parts) + "\n"


def _standings(result: Json) -> str:
    head = ["scheme"]
    for budget in result["budgets"].values():
        head += ["rank", f"{title_of(budget)} ({amount_of(budget)})"]
    rows = []
    for row in standing_rows(result):
        line = [row.scheme]
        for place in row.places:
            moved = f" ({place.change})" if place.change not in ("", "same") else ""
            seeds = f", {place.seeds}" if place.seeds else ""
            line += [f"{place.rank}{moved}", _with_interval(place.score, place.interval) + seeds]
        rows.append(line)
    return table(head, rows)


def _costs(result: Json) -> str:
    titles = [title_of(budget) for budget in result["budgets"].values()]
    rows = [
        [row.scheme, title, *costs]
        for row in cost_rows(result)
        for title, costs in zip(titles, row.costs, strict=True)
    ]
    return table(["scheme", "budget", *COST_HEADINGS], rows)


def _difference(cell: PairCell) -> str:
    return f"**{cell.text}**" if cell.kind in ("above", "below") else cell.text


def _with_interval(value: str, interval: str) -> str:
    return f"{value} ({interval})" if interval else value


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are escaped; ``**bold**`` around a number stays."""
    lines = [f"| {' | '.join(map(escaped, head))} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(map(escaped, row))} |" for row in rows]
    return "\n".join(lines)


def escaped(text: object) -> str:
    """Text that is one line, and neither markup nor the end of a table's cell."""
    joined = " ".join(str(text).split())
    for found, written in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "\\`")):
        joined = joined.replace(found, written)
    return joined
