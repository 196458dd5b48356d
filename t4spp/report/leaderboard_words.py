"""What a leaderboard says in sentences, and how its values are written.

Every function takes the content of ``leaderboard.json`` (docs/leaderboard.md) or a part of it;
values that are None there (nothing finished, nothing measured) become dashes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from t4spp.report.tables import METRIC_NAMES, finite, number, signed

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Who leads under one budget, in words."""

    title: str
    amount: str
    leader: str
    score: str
    sentences: tuple[str, ...]


def whole(value: Any) -> str:
    """A count, or a mean of counts, without decimals: ``598,123``; a dash where there is none."""
    found = finite(value)
    return "–" if found is None else f"{found:,.0f}"


def clock(seconds: Any) -> str:
    """A long time for reading: ``42 s``, ``5.2 min``, ``1.3 h``; a dash where there is none."""
    found = finite(seconds)
    if found is None:
        return "–"
    if found < 59.5:
        return f"{found:.0f} s"
    return f"{found / 60:.1f} min" if found < 3570 else f"{found / 3600:.1f} h"


def metric_name(result: Json) -> str:
    """What a page calls the leaderboard's metric."""
    key = str(result["metric"])
    return METRIC_NAMES.get(key, key.replace("_", " "))


def amount_of(budget: Json) -> str:
    """``400 steps``."""
    return f"{whole(budget.get('amount'))} {budget.get('unit', '')}".strip()


def title_of(budget: Json) -> str:
    """``Equal steps``."""
    title = str(budget.get("title", ""))
    return title[:1].upper() + title[1:]


def standings_of(result: Json, budget: str) -> list[Json]:
    """One entry a scheme, best first; schemes that the file does not list stand last."""
    found = list(result.get("standings", {}).get(budget, ()))
    listed = {entry["scheme"] for entry in found}
    found += [{"scheme": title} for title in result["schemes"] if title not in listed]
    return found


def scheme_order(result: Json) -> list[str]:
    """The schemes' titles: best first under the first budget in which something finished."""
    for key in result["budgets"]:
        entries = standings_of(result, key)
        if any(entry.get("rank") is not None for entry in entries):
            return [str(entry["scheme"]) for entry in entries]
    return [str(title) for title in result["schemes"]]


def score_of(entry: Json) -> Json:
    """An entry's score with its interval; empty where there is none."""
    return entry.get("score") or {}


def interval_text(entry: Json, style: Any = number) -> str:
    """``0.680 to 0.740``; empty where an end is missing."""
    low, high = finite(entry.get("low")), finite(entry.get("high"))
    return "" if low is None or high is None else f"{style(low)} to {style(high)}"


def differences(result: Json, budget: str) -> dict[tuple[str, str], Json]:
    """Of every measured pair, in both directions: first minus second, with the interval."""
    found: dict[tuple[str, str], Json] = {}
    for pair in result.get("pairs", {}).get(budget, ()):
        if finite(pair.get("difference")) is None:
            continue
        low, high = finite(pair.get("low")), finite(pair.get("high"))
        found[pair["first"], pair["second"]] = pair
        found[pair["second"], pair["first"]] = {
            "difference": -pair["difference"],
            "low": None if high is None else -high,
            "high": None if low is None else -low,
            "outside": pair.get("outside"),
        }
    return found


def findings(result: Json) -> list[Finding]:
    """Who leads under each budget, and whether that is more than chance."""
    return [_finding(result, key, budget) for key, budget in result["budgets"].items()]


def _finding(result: Json, key: str, budget: Json) -> Finding:
    ranked = [e for e in standings_of(result, key) if finite(score_of(e).get("value")) is not None]
    if not ranked:
        return Finding(
            title=title_of(budget),
            amount=amount_of(budget),
            leader="",
            score="",
            sentences=("No run has finished yet.",),
        )
    first = ranked[0]
    name, score = str(first["scheme"]), score_of(first)
    interval = interval_text(score)
    own = f"{metric_name(result)} {number(score['value'])}{f' ({interval})' if interval else ''}"
    sentences = []
    if len(ranked) == 1:
        sentences.append("It is the only scheme with a finished run.")
    else:
        pairs = differences(result, key)
        second = str(ranked[1]["scheme"])
        sentences.append(_lead(second, pairs.get((name, second))))
        level = [
            e for e in ranked[1:] if pairs.get((name, e["scheme"]), {}).get("outside") is False
        ]
        rest = [str(entry["scheme"]) for entry in level if entry["scheme"] != second]
        if rest:
            sentences.append(f"Not told apart from it either: {', '.join(rest)}.")
        sentences += _cheapest([first, *level])
    return Finding(
        title=title_of(budget),
        amount=amount_of(budget),
        leader=name,
        score=own,
        sentences=tuple(sentences),
    )


def _lead(second: str, pair: Json | None) -> str:
    interval = interval_text(pair, signed) if pair else ""
    if pair is None or not interval:
        return f"It stands before {second}; no interval says how sure that is."
    lead = f"Its lead over {second} is {signed(pair['difference'])} ({interval})"
    if pair.get("outside"):
        return f"{lead}: zero lies outside the interval."
    return f"{lead}: zero lies inside the interval, so the two are not told apart."


def _cheapest(level: Sequence[Json]) -> list[str]:
    """Which of the schemes at the top writes least, where that is not the first."""
    told = [entry for entry in level if finite(entry.get("tokens")) is not None]
    if len(told) < 2 or finite(level[0].get("tokens")) is None:
        return []
    least = min(told, key=lambda entry: float(entry["tokens"]))
    if least is level[0]:
        return ["Of these, it also writes the fewest tokens."]
    return [
        f"Of these, {least['scheme']} writes least: {number(float(least['tokens']))} tokens an "
        f"answer against {number(float(level[0]['tokens']))}."
    ]


def change_sentence(result: Json) -> str:
    """How the order differs between two budgets; empty with one, or with nothing to compare."""
    keys = list(result["budgets"])
    if len(keys) < 2:
        return ""
    one, other = differences(result, keys[0]), differences(result, keys[1])
    common = [pair for pair in one if pair in other]
    if not common:
        return ""
    swapped = [p for p in common if one[p]["difference"] > 0 > other[p]["difference"]]
    clear = [p for p in swapped if one[p].get("outside") and other[p].get("outside")]
    if not swapped:
        return "All schemes that were measured under both budgets stand in the same order."
    told = f"Between the budgets {len(swapped)} of {len(common) // 2} pairs swap their order"
    if not clear:
        return f"{told}, none of them outside the intervals of both."
    names = "; ".join(f"{first} above {second}" for first, second in clear)
    return (
        f"{told}, {len(clear)} of them outside the intervals of both "
        f"({names} at {result['budgets'][keys[0]]['title']}, and the other way round at "
        f"{result['budgets'][keys[1]]['title']})."
    )
