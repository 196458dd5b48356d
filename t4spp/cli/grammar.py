"""Print the grammar of a run's answers, for servers that constrain generation by one.

It is llguidance's Lark, as the run's own decoding uses it, under a line that tells servers so;
docs/decoding.md shows some.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from t4spp.cli.options import add_config_arguments, catalogue_of, parse_value, print_json
from t4spp.config import load_config
from t4spp.errors import ConfigError

if TYPE_CHECKING:
    from t4spp.components import Backbone
    from t4spp.schemes.base import Scheme

HEADER = "%llguidance {}\n"
"""By which servers that take several kinds of grammars know this one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the labels, how much of the answer."""
    add_config_arguments(parser)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument(
        "--labels",
        action="append",
        metavar="A,B,...",
        help="labels that an answer may bear, or a YAML list of them; may be repeated",
    )
    asked.add_argument(
        "--free-labels", action="store_true", help="answers may bear any label that can be written"
    )
    parser.add_argument(
        "--descriptor",
        action="store_true",
        help="the bare descriptor, without an answer's opening and tags",
    )
    parser.add_argument(
        "--load",
        action="store_true",
        help="load the backbone: the grammar is checked against its tokenizer, and begins as its "
        "answers do; without it, only a tokenizer that is there without weights is looked at",
    )


def run(args: argparse.Namespace) -> int:
    """Print."""
    if args.descriptor and args.load:
        raise ConfigError(
            "--descriptor --load: a bare descriptor is held against no tokenizer. Leave one of "
            "them out."
        )
    labels = None if args.free_labels else labels_of(args.labels)
    catalogue = catalogue_of(args)
    config = load_config(args.config, args.set, catalogue)
    scheme = catalogue.build("scheme", config.scheme.name, config.scheme.params, "scheme.params")
    if args.descriptor:
        grammar = scheme.grammar(labels)
    else:
        backbone = catalogue.build(
            "backbone", config.backbone.name, config.backbone.params, "backbone.params"
        )
        talks = config.generation.talks
        grammar = answers_of(scheme, backbone, labels, load=args.load, talks=talks)
    grammar = HEADER + grammar
    if args.json:
        print_json(
            {
                "scheme": scheme.fingerprint(),
                "labels": None if labels is None else list(labels),
                "grammar": grammar,
            }
        )
    else:
        sys.stdout.write(grammar)
    return 0


def labels_of(texts: list[str]) -> tuple[str, ...]:
    """The labels that ``--labels`` names, in their order, each once.

    Raises:
        ConfigError: there are none, or a YAML list holds something else than texts.
    """
    labels: list[Any] = []
    for text in texts:
        if text.lstrip().startswith("["):
            labels += parse_value(text, "--labels")
        else:
            labels += [label.strip() for label in text.split(",") if label.strip()]
    wrong = next((label for label in labels if not isinstance(label, str)), None)
    if wrong is not None:
        raise ConfigError(f"--labels: {wrong!r} is no text; put it in quotes")
    unreadable = next((label for label in labels if not label.isprintable()), None)
    if unreadable is not None:
        raise ConfigError(
            f"--labels: {unreadable!r} holds what cannot be printed; write plain text"
        )
    if not labels:
        raise ConfigError(
            "--labels: the list is empty, so nothing could be answered. Name at least one label, "
            "or take --free-labels."
        )
    return tuple(dict.fromkeys(labels))


def answers_of(
    scheme: Scheme,
    backbone: Backbone,
    labels: tuple[str, ...] | None,
    *,
    load: bool,
    talks: bool = False,
) -> str:
    """The grammar of whole answers.

    Args:
        scheme: writes the descriptor.
        backbone: whose tokenizer says whether the tags are tokens or text.
        labels: the labels that the prompt admits; None leaves them free.
        load: whether to load it, weights and all.
        talks: whether answers may say anything before the descriptor.

    Raises:
        SchemeError: the scheme has no such grammar, it does not compile, or a label cannot be
            spelt.
        BackboneError: weights are missing, or the tokenizer is of a kind that llguidance does not
            read.
    """
    from t4spp.decoding.asking import end_ids
    from t4spp.decoding.constraint import Constraint, answer_grammar

    if load:
        backbone.load(scheme.special_tokens)
        tokenizer = backbone.tokenizer
        ends = None if backbone.model is None else end_ids(backbone)
    else:
        find = getattr(backbone, "load_tokenizer", None)
        tokenizer = None if find is None else find(scheme.special_tokens)
        ends = None
    if tokenizer is None:
        return answer_grammar(scheme, labels, backbone.answer_joint, talks=talks)
    constraint = Constraint.of(tokenizer, ends or [tokenizer.eos_token_id])
    constraint.matcher(scheme, labels, backbone.answer_joint, talks=talks)
    return constraint.lark(scheme, labels, backbone.answer_joint, talks=talks)
