"""What a vocabulary can spell: told before a model is asked to write it."""

from __future__ import annotations

import pytest

from t4spp.decoding.constraint import Constraint
from t4spp.decoding.spelling import Speller
from t4spp.errors import BackboneError, SchemeError
from t4spp.schemes.base import Scheme
from t4spp.testing import build_scheme


class Vocabulary:
    """As llguidance shows one."""

    def __init__(self, *pieces: bytes, special: tuple[int, ...] = ()) -> None:
        self.pieces = pieces
        self.special = special

    @property
    def vocab_size(self) -> int:
        return len(self.pieces)

    def is_special_token(self, token: int) -> bool:
        return token in self.special

    def decode_bytes(self, ids: list[int]) -> bytes:
        return b"".join(self.pieces[i] for i in ids)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("dog", None),
        ("dodo", None),
        ("gg", "g"),  # g only ends a token
        ("dogs", "s"),
        ("cat", None),  # inside " cat," alone
        ("ca", None),
        ("at", None),
        ("act", "act"),
        ("d\u00e9", "\u00e9"),
        ("", None),
    ],
)
def test_the_first_character_without_a_token_is_named(text: str, missing: str | None) -> None:
    speller = Speller(Vocabulary(b"do", b"og", b"d", b" cat,"))
    assert speller.missing(text) == missing


def test_a_special_token_spells_nothing() -> None:
    assert Speller(Vocabulary(b"dog", special=(0,))).missing("dog") == "dog"


def test_with_all_bytes_everything_is_spelt() -> None:
    speller = Speller(Vocabulary(*(bytes([value]) for value in range(256))))
    assert speller.has_bytes and speller.missing("\u72ac") is None


def words(*texts: str) -> Constraint:
    """Of a tokenizer that has tokens for the characters of these texts, and no others."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    cut = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    letters = sorted({c for piece, _ in cut.pre_tokenize_str("".join(texts)) for c in piece})
    vocabulary = {"<end>": 0, **{c: i for i, c in enumerate(letters, start=1)}}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = cut
    inner.decoder = decoders.ByteLevel()
    return Constraint(PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>"), [0])


@pytest.fixture(scope="module")
def scheme() -> Scheme:
    return build_scheme("image-rrle", grid=2)


def test_a_tokenizer_without_bytes_refuses_what_it_cannot_spell(scheme: Scheme) -> None:
    constraint = words("Here it is.", "<seg></seg>", "others dog *12|", "\n")
    assert constraint.matcher(scheme, ("dog",)).is_error() is False
    with pytest.raises(SchemeError, match=r"the label 'caf\u00e9'.* none for 'c' .*fall back"):
        constraint.matcher(scheme, ("dog", "caf\u00e9"))


@pytest.mark.parametrize("labels", [("dog",), None])
def test_what_stands_in_every_answer_must_be_spelt_whatever_the_labels(
    scheme: Scheme, labels: tuple[str, ...] | None
) -> None:
    every = ("Here it is.", "<seg></seg>", "others dog *12|", "\n")
    assert words(*every).matcher(scheme, labels).is_error() is False
    for lost, said in (
        (every[3], r"spells '\\n' of every answer"),
        (every[1], r"spells '</seg>' of every answer"),
        (every[0], r"spells 'Here it is.' of every answer"),
        (every[2], r"spells 'others' of every answer"),
    ):
        with pytest.raises(BackboneError, match=said):
            words(*(text for text in every if text != lost)).matcher(scheme, labels)
    for sign in "*2|":
        with pytest.raises(BackboneError, match=f"spells '[{sign}]', which 'image-rrle' writes"):
            words(*(text.replace(sign, "") for text in every)).matcher(scheme, labels)


def test_an_empty_list_of_labels_is_refused(scheme: Scheme) -> None:
    with pytest.raises(SchemeError, match="the list of labels is empty"):
        words("<seg></seg>", "others dog *12|", "\n").matcher(scheme, ())
