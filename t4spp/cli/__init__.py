"""The command line: finds the command, runs it, and turns errors into messages and exit codes.

Only the chosen command's module is imported, so that ``--help`` and ``plugins`` load no torch.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import t4spp
from t4spp.errors import T4sppError, is_disk_full, nearest

COMMANDS: dict[str, str] = {
    "plugins": "list what the installed plugins offer",
    "config": "check or show a run's config",
    "doctor": "versions, devices and plugins, for bug reports",
    "data": "list, check, preview and write datasets",
    "ceiling": "the best score and the cost of schemes on a dataset, without a model",
    "train": "train as a config says",
    "evaluate": "score a run, or its predictions again",
    "compare": "test two runs against each other, sample by sample",
    "baselines": "score answers without a model beside a run",
    "run": "train, predict, score and report as a config says",
    "leaderboard": "train every scheme from one start under equal budgets, and rank them",
    "predict": "segment pictures with a finished run",
    "report": "write a run's report again",
    "export": "write a trained run as a checkpoint for transformers",
    "grammar": "print the grammar of answers, for inference servers",
    "bench": "measure speeds, memory, passes of decoding and what refiners gain",
    "tokenizer": "train a mask tokenizer, the learned code of vq-mask",
    "weights": "list, get and find pretrained weights",
}
"""Every command, a module of this package each, in the order of the help."""

EXIT_FAULT = 1
"""A fault of t4spp."""
EXIT_USER = 2
"""The user's mistake, told in one message."""
EXIT_INTERRUPTED = 130
"""Ctrl-C, as shells have it."""
EXIT_PIPE = 141
"""Whoever read standard output went away, as shells have it."""

_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""What the machine refuses, which only its user can change."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments after the program's name; None takes the process's own.

    Returns:
        0 done, 2 the user's mistake, 1 a fault of ours, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug = "--debug" in options
    try:
        args = _parse(arguments)
        _prepare_process(args.verbose)
        code = importlib.import_module(f"t4spp.cli.{args.command}").run(args)
        sys.stdout.flush()
        return int(code or 0)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_USER
    except KeyboardInterrupt:
        _say("interrupted", debug)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return EXIT_PIPE
    except T4sppError as error:
        _say(f"error: {error}", debug)
        return EXIT_USER
    except Exception as error:  # noqa: BLE001 - the last place that can turn it into a message
        if is_disk_full(error):
            _forget_output()
            _say(f"error: the disk is full: {error}. Free some space and try again.", debug)
            return EXIT_USER
        if isinstance(error, OSError) and error.errno in _REFUSED:
            _say(f"error: {error}", debug)
            return EXIT_USER
        _say(
            f"internal error: {type(error).__name__}: {error}\n"
            "This is a fault of t4spp. --debug shows where; please report it with the output of "
            "`t4spp doctor`.",
            debug,
        )
        return EXIT_FAULT


_KEY_OPTION = re.compile(r"--([A-Za-z_]\w*(?:\.\w+)+)=", re.ASCII)
"""``--key.key=VALUE``, as sweeps write a config's values; short for ``--set key.key=VALUE``."""


class _Parser(argparse.ArgumentParser):
    """Takes ``--key.key=VALUE``, and names a misspelt option before it misses another one."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, after a look at the options' names."""
        options = set(self._option_string_actions)
        if "--set" in options and args is not None:
            args = list(_with_set(args))
        for argument in [] if self._subparsers else (args or ()):
            if argument == "--":
                break
            name = argument.partition("=")[0]
            if name.startswith("--") and " " not in name and name not in options:
                self.error(f"unrecognized arguments: {name}.{nearest(name, options)}")
        return super().parse_known_args(args, namespace)


def _with_set(arguments: Sequence[str]) -> Iterator[str]:
    """``--key.key=VALUE`` as ``--set key.key=VALUE``; what follows ``--`` stays."""
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            yield argument
            yield from rest
        elif _KEY_OPTION.match(argument):
            yield from ("--set", argument[2:])
        else:
            yield argument


class _Kinds(argparse._SubParsersAction):  # type: ignore[type-arg]
    """Sub-commands whose options add to those before them, as ``-v`` and ``--plugin-file`` do."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Parse what follows the sub-command's name into the same namespace."""
        name, *rest = values
        setattr(namespace, self.dest, name)
        self._name_parser_map[name].parse_args(rest, namespace)


def add_kinds(parser: argparse.ArgumentParser) -> argparse._SubParsersAction[Any]:
    """Sub-commands of a command; the chosen one's name is ``args.kind``."""
    return parser.add_subparsers(dest="kind", required=True, metavar="KIND", action=_Kinds)


def build_parser(command: str) -> argparse.ArgumentParser:
    """The parser of one command; imports its module."""
    module = importlib.import_module(f"t4spp.cli.{command}")
    parser = _Parser(
        prog=f"t4spp {command}",
        description=_sentence(module.__doc__ or COMMANDS[command]),
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    for kind in _kinds_of(parser):
        _add_common(kind.add_argument_group("common options"))
    _add_common(parser.add_argument_group("common options"))
    return parser


def _kinds_of(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    actions = [action for action in parser._actions if isinstance(action, _Kinds)]
    return [kind for action in actions for kind in action._name_parser_map.values()]


def _parse(arguments: list[str]) -> argparse.Namespace:
    top = _top_parser()
    namespace = top.parse_args(arguments)
    if namespace.command is None:
        top.print_help()
        raise SystemExit(EXIT_USER)
    if namespace.command not in COMMANDS:
        top.error(
            f"unknown command {namespace.command!r}; valid: {', '.join(COMMANDS)}."
            f"{nearest(namespace.command, COMMANDS)}"
        )
    rest = namespace.rest
    del namespace.rest
    return build_parser(namespace.command).parse_args(rest, namespace)


def _top_parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="t4spp",
        usage="t4spp [options] COMMAND ...",
        description="Segmentation written as text.",
        epilog=f"commands:\n{listed}\n\n`t4spp COMMAND --help` tells about one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.add_argument("--version", action="version", version=f"t4spp {t4spp.__version__}")
    _add_common(parser)
    parser.set_defaults(json=False, debug=False, verbose=0, plugin_file=[])
    return parser


def _add_common(parser: argparse._ActionsContainer) -> None:
    """Options that stand before or after the command; defaults are the top parser's."""
    unset = argparse.SUPPRESS
    parser.add_argument(
        "--json", action="store_true", default=unset, help="print one JSON object and nothing else"
    )
    parser.add_argument(
        "--debug", action="store_true", default=unset, help="show the traceback of an error"
    )
    parser.add_argument(
        "--plugin-file",
        action="append",
        metavar="FILE.py",
        default=unset,
        help="load one Python file as a plugin; may be repeated",
    )
    parser.add_argument(
        "-v", "--verbose", action="count", default=unset, help="log more; twice: for debugging"
    )


def _prepare_process(verbosity: int) -> None:
    """Environment and logging. Only here, never at import."""
    # The tokenizers' own threads deadlock when data workers fork; batches are tokenised whole.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    if os.environ.get("RANK", "0") != "0":
        level = logging.ERROR
    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    for name in ("t4spp", "t4spp_plugins", "t4spp_recipes"):
        logging.getLogger(name).setLevel(level)


def _forget_output() -> None:
    """Standard output cannot be written: keep the interpreter from trying again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(f"t4spp: {message}", file=sys.stderr)


def _sentence(text: str) -> str:
    return text.strip().split("\n\n", maxsplit=1)[0]
