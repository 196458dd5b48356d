"""Building schemes by name, and the laws that every scheme obeys, for tests of plugins too.

``hypothesis``, ``tokenizers`` and ``llguidance`` are imported inside the checks that need them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from t4spp.schemes.base import Scheme
from t4spp.testing.canvases import Canvas
from t4spp.testing.grammar import GrammarWalker, build_tokenizer, check_grammar, check_tokenizer
from t4spp.testing.laws import (
    assert_same_regions,
    assert_sound,
    check_damage_stays_in_its_row,
    check_decoding_never_raises,
    check_fingerprint,
    check_labels,
    check_round_trip,
    mutate,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "Canvas",
    "GrammarWalker",
    "assert_same_regions",
    "assert_sound",
    "build_scheme",
    "build_tokenizer",
    "check_damage_stays_in_its_row",
    "check_decoding_never_raises",
    "check_fingerprint",
    "check_grammar",
    "check_labels",
    "check_round_trip",
    "check_scheme",
    "check_tokenizer",
    "mutate",
]


def build_scheme(name: str, **params: Any) -> Scheme:
    """Build a scheme by its name.

    Args:
        name: what a config would name it: ``next-brick``, or a plugin's scheme.
        **params: its parameters, for example ``grid=24``.

    Raises:
        PluginError: no plugin offers that name.
        ConfigError: a parameter is unknown or wrong.
    """
    from t4spp.plugins import load_catalogue

    scheme = load_catalogue().build("scheme", name, params)
    assert isinstance(scheme, Scheme), f"{name} built {type(scheme).__name__}, not a Scheme"
    return scheme


def check_scheme(
    scheme: Scheme,
    *,
    max_examples: int = 100,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> None:
    """Hold a scheme to every law of :class:`t4spp.schemes.base.Scheme`.

    Args:
        scheme: any scheme, a plugin's too. Where it has ``row_mark`` (what separates or opens
            its rows) and ``shape`` (rows and columns of its grid), damage must stay in its row.
        max_examples: how many cases each law is tried on.
        tokenizer: has learnt ``scheme.special_tokens``; None makes a small one.

    Raises:
        AssertionError: a law does not hold; hypothesis shows the smallest case that it found.
    """
    tokenizer = tokenizer or build_tokenizer(scheme.special_tokens)
    check_round_trip(scheme, max_examples=max_examples)
    check_decoding_never_raises(scheme, max_examples=max_examples)
    check_labels(scheme, max_examples=max_examples)
    check_damage_stays_in_its_row(scheme, max_examples=max_examples)
    check_tokenizer(scheme, tokenizer, max_examples=max_examples)
    check_grammar(scheme, tokenizer, max_examples=max_examples)
    check_fingerprint(scheme)
