"""An answer that is planned and drafted is the one that is written token by token."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t4spp.data.conversations import wrap
from t4spp.decoding.constraint import Constraint
from t4spp.decoding.drafting import LookupDrafter, PieceTokenizer, SchemeDrafter
from t4spp.decoding.planning import Row
from t4spp.schemes.base import Scheme
from t4spp.testing import build_scheme, build_tokenizer
from t4spp.types import Target

SCHEMES = (
    "image-full",
    "image-irle",
    "image-rrle",
    "semantic-brick",
    "next-brick",
    "span-brick",
    "box-outline",
    "polygon",
    "vq-mask",
)
LABELS = ("dog", "cat on the left")


class Setting:
    """A scheme with its tokenizer and constraint, and a made-up model."""

    def __init__(self, name: str, num_ends: int = 1) -> None:
        params: dict[str, Any] = {"max_regions": 2} if name.endswith("brick") else {}
        params |= {"vq-mask": {"num_codes": 4}, "polygon": {}}.get(name, {"grid": 4})
        self.scheme: Scheme = build_scheme(name, **params)
        self.tokenizer = build_tokenizer(self.scheme.special_tokens)
        self.ends = [self.tokenizer.eos_token_id]
        if num_ends == 2:
            self.tokenizer.add_tokens(["<|stop|>"], special_tokens=True)
            self.ends.append(self.tokenizer.convert_tokens_to_ids("<|stop|>"))
        self.constraint = Constraint.of(self.tokenizer, self.ends)
        self.pieces = PieceTokenizer(self.tokenizer)
        mask = np.zeros((12, 12), dtype=bool)
        mask[3:9, 2:7] = True
        text = wrap("Here it is.", self.scheme.encode([Target(label="dog", mask=mask)], (12, 12)))
        self.truth = self.ids(text)

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    def matcher(self, labels: tuple[str, ...] | None = LABELS) -> Any:
        return self.constraint.matcher(self.scheme, labels)

    def drafter(self, kind: str, seed: int = 0) -> Any:
        if kind == "none":
            return None
        if kind == "lookup":
            return LookupDrafter(self.truth[:20])
        if kind == "scheme":
            return SchemeDrafter(self.pieces, self.scheme, LABELS, end_id=self.ends[0])
        return Noise(seed, len(self.tokenizer), self.truth)

    def scores(self, seed: int, faith: float) -> Callable[[Sequence[int]], Any]:
        """Scores of all tokens behind some: random, but often the true answer's next wins."""

        def score(written: Sequence[int]) -> Any:
            source = np.random.default_rng([seed, *written])
            found = source.random(len(self.tokenizer))
            if len(written) < len(self.truth) and source.random() < faith:
                found[self.truth[len(written)]] = 2.0
            if source.random() < 0.1:
                found[self.ends[-1]] = 3.0
            return found

        return score


class Noise:
    """Drafts that are nonsense, or the truth, or both."""

    def __init__(self, seed: int, vocabulary: int, truth: Sequence[int]) -> None:
        self.source = random.Random(seed)
        self.vocabulary = vocabulary
        self.truth = truth

    def draft(self, written: Sequence[int], limit: int) -> list[int]:
        right = list(self.truth[len(written) : len(written) + self.source.randrange(9)])
        wrong = [self.source.randrange(self.vocabulary) for _ in range(self.source.randrange(4))]
        return (right + wrong)[:limit]


@cache
def setting(name: str, num_ends: int = 1) -> Setting:
    return Setting(name, num_ends)


def bits(mask: Any, width: int) -> Any:
    return np.unpackbits(mask.view(np.uint8), bitorder="little")[:width].astype(bool)


def one_by_one(made: Setting, score: Any, most: int = 400) -> list[int]:
    """Greedy decoding under the grammar's masks, a token at a time."""
    matcher = made.matcher()
    written: list[int] = []
    while len(written) < most:
        packed = np.frombuffer(matcher.compute_bitmask(), dtype=np.int32)
        allowed = bits(packed, len(made.tokenizer))
        token = int(np.where(allowed, score(written), -1).argmax())
        written.append(token)
        if token in made.ends:
            break
        assert matcher.consume_token(token)
    return written


def in_passes(
    made: Setting, row: Row, score: Any, limits: Sequence[int], most: int = 400
) -> tuple[list[int], int]:
    """The same by plans; how many passes it took."""
    passes = 0
    width = len(made.tokenizer)
    while not row.ended and len(row.written) < most:
        plan = row.plan(limits[passes % len(limits)])
        prefixes = [[*row.written, *plan.tokens[:k]] for k in range(len(plan.tokens) + 1)]
        scored = [score(prefix) for prefix in prefixes]
        row.accept(
            [int(found.argmax()) for found in scored],
            lambda k, mask, s=scored: int(np.where(bits(mask, width), s[k], -1).argmax()),
        )
        passes += 1
    return row.written, passes


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    faith=st.sampled_from([0.0, 0.7, 0.97, 1.0]),
    drafts=st.sampled_from(["none", "lookup", "scheme", "noise"]),
    limits=st.lists(st.integers(0, 60), min_size=1, max_size=3),
    num_ends=st.integers(1, 2),
)
def test_answer_in_passes_is_the_one_written_token_by_token(
    name: str, seed: int, faith: float, drafts: str, limits: list[int], num_ends: int
) -> None:
    made = setting(name, num_ends)
    score = made.scores(seed, faith)
    row = Row(
        made.matcher(), made.drafter(drafts, seed), made.ends, vocabulary=made.constraint.vocabulary
    )
    written, passes = in_passes(made, row, score, limits)
    expected = one_by_one(made, score)
    length = min(len(written), len(expected))
    assert written[:length] == expected[:length]
    assert length >= min(400, len(expected))
    assert passes <= len(written)
    assert row.stuck == ""


@pytest.mark.parametrize("name", SCHEMES)
def test_a_certain_model_and_its_schemes_drafts_take_a_fraction_of_the_passes(name: str) -> None:
    made = setting(name)
    row = Row(
        made.matcher(), made.drafter("scheme"), made.ends, vocabulary=made.constraint.vocabulary
    )
    written, passes = in_passes(made, row, certain(made), [1000])
    assert written == [*made.truth, *made.ends]
    assert passes < len(written) / 2


def certain(made: Setting) -> Any:
    """Scores of a model that writes the true answer and ends."""

    def score(written: Sequence[int]) -> Any:
        found = np.zeros(len(made.tokenizer))
        found[made.truth[len(written)] if len(written) < len(made.truth) else made.ends[0]] = 1
        return found

    return score


def row_of(made: Setting, drafts: str = "none", text: str = "") -> Row:
    """A row that has written ``text``, a token a pass."""
    drafter = made.drafter(drafts)
    row = Row(made.matcher(), drafter, made.ends, vocabulary=made.constraint.vocabulary)
    for token in made.ids(text):
        assert row.accept([token]) == 1
    return row


def test_plan_holds_what_the_grammar_forces_without_any_drafter() -> None:
    made = setting("image-rrle")
    row = row_of(made, text="Here it")
    plan = row.plan(0)
    assert made.text(plan.tokens) == " is.\n<seg>"
    assert (plan.num_forced, plan.num_drafted) == (len(plan.tokens), 0)
    assert all(plan.forced)


def test_forced_tokens_need_no_agreement() -> None:
    made = setting("image-rrle")
    row = row_of(made, text="Here it")
    num_planned = len(row.plan(0).tokens)
    assert row.accept([made.ends[0]] * num_planned + made.ids("o")) == num_planned + 1
    assert made.text(row.written) == "Here it is.\n<seg>o"


def test_draft_is_kept_as_far_as_the_model_agrees_and_its_own_token_comes_on_top() -> None:
    made = setting("image-rrle")
    begun = "Here it is.\n<seg>others *4\n"
    row = row_of(made, "scheme", begun)
    plan = row.plan(8)
    drafted = made.text(plan.tokens)
    assert " others *4\n others *4\n others *4\n</seg>".startswith(drafted)
    one = made.ids("1")[0]
    place = plan.tokens.index(made.ids("4")[0])
    choices = [*plan.tokens[:place], one, *plan.tokens[place + 1 :], one]
    assert row.accept(choices) == place + 1
    assert made.text(row.written) == begun + " others *1"


def test_drafts_stay_under_the_limit_and_plans_under_the_longest() -> None:
    made = setting("image-rrle")
    row = row_of(made, "scheme", "Here it")
    plan = row.plan(3)
    assert plan.num_drafted == 3
    assert made.text(plan.tokens).startswith(" is.\n<seg>")
    assert len(row.plan(3, longest=5).tokens) == 5
    assert row.plan(0, longest=0).tokens == ()


def test_draft_that_leaves_the_grammar_is_cut_and_what_is_forced_there_follows() -> None:
    made = setting("image-rrle")
    row = row_of(made, text="Here")

    class Wrong:
        def draft(self, written: Sequence[int], limit: int) -> list[int]:
            ahead = made.ids(" it of")
            return ahead if len(written) == len(row.written) else []

    row._drafter = Wrong()  # type: ignore[assignment]
    plan = row.plan(50)
    assert made.text(plan.tokens) == " it is.\n<seg>"
    drafted = [t for t, forced in zip(plan.tokens, plan.forced, strict=True) if not forced]
    assert made.text(drafted) == " it"


def test_the_forced_rest_of_an_answer_takes_no_pass() -> None:
    made = setting("image-rrle")
    text = made.text(made.truth)
    last = text.rindex("*") + 1
    row = row_of(made, text=text[:last])
    row.accept(made.ids(text[last]))
    assert row.ended
    assert row.written == [*made.truth, *made.ends]
    assert row.plan(9).tokens == ()
    with pytest.raises(ValueError, match="has ended"):
        row.accept([0])


def test_which_of_two_end_tokens_is_left_to_the_model() -> None:
    made = setting("image-rrle", 2)
    row = row_of(made, text=made.text(made.truth))
    assert not row.ended
    assert row.plan(0).tokens == ()
    row.accept([made.ends[1]])
    assert (row.ended, row.written[-1]) == (True, made.ends[1])


def test_drafted_end_token_ends_the_answer() -> None:
    made = setting("semantic-brick")
    rows = "on4\n" * 4
    row = row_of(made, "scheme", f"Here it is.\n<seg>dog| 0 0 9 9\n{rows}")
    plan = row.plan(100)
    assert made.text(plan.tokens) == "</seg><|end|>"
    row.accept([*plan.tokens, 0])
    assert row.ended


def test_row_without_a_grammar_takes_whatever_the_model_says() -> None:
    made = setting("image-rrle")
    row = Row(None, made.drafter("lookup"), made.ends)
    assert not row.constrained
    row.accept([5])
    row.accept([5])
    plan = row.plan(4)
    assert plan.num_forced == 0
    assert row.accept([7] * (len(plan.tokens) + 1)) == 1
    assert row.written == [5, 5, 7]


def test_choice_that_is_not_admitted_is_refused_where_it_cannot_be_made_again() -> None:
    row = row_of(setting("image-rrle"))
    with pytest.raises(ValueError, match="does not admit the choice 3 "):
        row.accept([3])


def test_number_of_choices_must_be_that_of_the_pass() -> None:
    made = setting("image-rrle")
    row = row_of(made, "scheme", "Here it")
    planned = len(row.plan(5).tokens)
    with pytest.raises(ValueError, match=f"2 choices for a pass over {planned} tokens"):
        row.accept([1, 2])


def test_row_whose_grammar_is_stuck_admits_end_tokens_only() -> None:
    made = setting("image-rrle")
    row = row_of(made, "scheme", "Here it")
    assert not row._matcher_of().consume_token(made.ends[0])  # which no grammar forgives
    assert row.plan(5).tokens == ()
    assert row.stuck != ""
    admitted = []

    def again(place: int, mask: Any) -> int:
        admitted.append((place, np.flatnonzero(bits(mask, len(made.tokenizer))).tolist()))
        return made.ends[-1]

    assert row.accept([17], again) == 1
    assert admitted == ([(0, made.ends)] if len(made.ends) > 1 else [])
    assert row.written[-1:] == made.ends
