"""``t4spp data stats``: what a split is like, and what its answers cost in tokens."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from t4spp.cli.options import print_json, print_table, schemes_of
from t4spp.cli.progress import with_progress
from t4spp.errors import ConfigError
from t4spp.plugins import Catalogue

if TYPE_CHECKING:
    from t4spp.components import Recipe
    from t4spp.types import Sample


def stats(args: argparse.Namespace, catalogue: Catalogue, recipe: Recipe) -> int:
    """Measure, write the page, print."""
    if args.output is not None and args.output.suffix.lower() != ".html":
        raise ConfigError(f"data stats: -o FILE.html is expected, not {args.output}")
    from t4spp.cli.ceiling import token_counter
    from t4spp.data.conversations import ConversationBuilder
    from t4spp.data.statistics import TokenCost, measure

    split, samples = split_of(args, recipe)
    costs = []
    for text, described in zip(args.scheme, schemes_of(args), strict=True):
        scheme = catalogue.build("scheme", described.name, described.params, "--scheme")
        costs.append(
            TokenCost(
                name=text,
                builder=ConversationBuilder(scheme, args.templates, args.seed),
                count=token_counter(scheme, args.tokenizer, catalogue),
            )
        )
    if len({cost.name for cost in costs}) != len(costs):
        raise ConfigError("data stats: a --scheme is named twice")
    read = (samples[index] for index in range(len(samples)))
    found = measure(with_progress(read, len(samples), f"read {split}"), costs)
    told = found.to_json()
    tokenizer = str(args.tokenizer or catalogue.default("backbone").name)
    counters = dict(recipe.counters())
    if args.output is not None:
        from t4spp.report.data_page import write_data_page

        notes = [" ".join(args.param)] if args.param else []
        if counters:
            listed = ", ".join(f"{key} {value}" for key, value in counters.items())
            notes.append(f"counted: {listed}")
        title = f"{args.recipe}, {split}"
        if args.limit is not None:
            title += f": the first {len(samples)} samples"
        write_data_page(
            found,
            args.output,
            title=title,
            notes=notes,
            tokenizer=f"the tokenizer of {tokenizer}",
        )
    if args.json:
        print_json(
            {
                "recipe": args.recipe,
                "split": split,
                **told,
                "tokenizer": tokenizer if costs else None,
                "counters": counters,
                "output": None if args.output is None else str(args.output),
            }
        )
        return 0
    _print(told)
    if args.output is not None:
        print(f"\npage: {args.output}")
    return 0


def split_of(args: argparse.Namespace, recipe: Recipe) -> tuple[str, Sequence[Sample]]:
    """The split of ``--split``, or the first one, and its first ``--limit`` samples.

    Raises:
        ConfigError: the limit is not positive, or the split has no samples.
    """
    from t4spp.data.head import head

    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit {args.limit}: expected at least 1")
    split = args.split or recipe.splits[0]
    samples = head(recipe.samples(split), args.limit)
    if not len(samples):
        raise ConfigError(
            f"data {args.action}: the split {split!r} of {args.recipe} has no samples; splits: "
            f"{', '.join(recipe.splits)}"
        )
    return split, samples


def _print(told: dict[str, Any]) -> None:
    print(
        f"{told['num_samples']} samples on {told['num_images']} pictures, {told['num_targets']} "
        f"targets of {told['num_labels']} labels, {told['without_target']} samples without a target"
    )
    kinds = ", ".join(f"{kind} {number}" for kind, number in told["kinds"].items())
    print(f"kinds: {kinds}")
    sizes = ", ".join(
        f"{size} {number}" for size, number in list(told["picture_sizes"].items())[:5]
    )
    print(f"picture sizes: {sizes}")
    print("object sizes: " + ", ".join(f"{k} {n}" for k, n in told["object_sizes"].items()))
    labels = ", ".join(f"{label} {number}" for label, number in list(told["labels"].items())[:10])
    print(f"labels: {labels}")
    rows = [
        _row(name, told[key])
        for name, key in (
            ("targets a sample", "targets_a_sample"),
            ("pixels of a target", "target_pixels"),
            ("share of the picture", "target_share"),
            ("words of a prompt", "prompt_words"),
        )
        if told[key] is not None
    ]
    for name, own in told["schemes"].items():
        if own["answer_tokens"] is not None:
            rows.append(_row(f"answer tokens, {name}", own["answer_tokens"]))
    print_table(["", "least", "5 %", "median", "mean", "95 %", "most"], rows)
    for name, own in told["schemes"].items():
        for reason, number in own["refused_because"].items():
            print(f"{name} cannot write {number} samples: {reason}")


def _row(name: str, values: dict[str, float]) -> list[str]:
    return [name, *(f"{values[key]:.4g}" for key in ("min", "p5", "median", "mean", "p95", "max"))]
