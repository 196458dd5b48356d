"""The fast engine writes what the model's own ``generate`` writes, in fewer passes."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from support_backbone import TinyParams, TinyText

from t4spp.data.conversation import Conversation
from t4spp.decoding.answers import Growing
from t4spp.decoding.asking import Asked, EngineBatch
from t4spp.decoding.bounds import TokenBounds
from t4spp.decoding.choosing import Chooser, admitted, drawn
from t4spp.decoding.engine import constrained_engine, engine_of, plain_engine
from t4spp.decoding.pace import Pace
from t4spp.decoding.planning import Row
from t4spp.decoding.settings import GenerationSettings
from t4spp.decoding.sharing import Shared, verdict
from t4spp.decoding.speculative import fast_engine
from t4spp.errors import BackboneError
from t4spp.schemes.base import Scheme
from t4spp.schemes.labels import copied_labels
from t4spp.testing import build_scheme

SCHEMES = (
    "image-full",
    "image-irle",
    "image-rrle",
    "semantic-brick",
    "next-brick",
    "span-brick",
    "box-outline",
)
LABELS: tuple[tuple[str, ...] | None, ...] = (("dog",), ("start", "cat left", "é*[x]"), ("no",))


def scheme_of(name: str, grid: int = 2) -> Scheme:
    params = {"max_regions": 2} if name in ("semantic-brick", "next-brick") else {}
    return build_scheme(name, grid=grid, max_label_chars=9, **params)


def backbone_of(scheme: Scheme, seed: int = 0) -> TinyText:
    """Random weights in float64, with columns of the logits that stand for no token."""
    backbone = TinyText(TinyParams(seed=seed))
    backbone.load(scheme.special_tokens)
    backbone.model.resize_token_embeddings(len(backbone.tokenizer) + 5, mean_resizing=False)
    backbone.model.double()
    return backbone


def batch_of(
    backbone: TinyText, scheme: Scheme, labels: Any = LABELS, bound: int | None = None, **more: Any
) -> EngineBatch:
    """Prompts of unequal lengths."""
    bounds = TokenBounds(backbone.tokenizer, scheme, bytewise=True)
    picture = torch.zeros(8, 8, 3, dtype=torch.uint8).numpy()
    return EngineBatch(
        conversations=[
            Conversation(
                id=str(place),
                question=f"Segment {'|'.join(asked or ('all',))}." + " Please!" * place,
                answer=None,
                size=(8, 8),
                load_image=lambda: picture,
            )
            for place, asked in enumerate(labels)
        ],
        labels=list(labels),
        max_new_tokens=bound or max(map(bounds.of, labels)),
        **more,
    )


def fast(backbone: Any, batch: EngineBatch, scheme: Scheme, **options: Any) -> list[Any]:
    settings = GenerationSettings(**{"constrained": True, "engine": "fast", **options})
    return list(fast_engine(backbone, batch, scheme, settings))


def slow(backbone: Any, batch: EngineBatch, scheme: Scheme, **options: Any) -> list[Any]:
    return list(constrained_engine(backbone, batch, scheme, GenerationSettings(**options)))


def said(answers: list[Any]) -> list[tuple[str, int, str]]:
    return [(answer.text, answer.num_tokens, answer.problem) for answer in answers]


@pytest.mark.parametrize("name", SCHEMES)
def test_answers_are_those_of_generate_in_fewer_passes(name: str) -> None:
    scheme = scheme_of(name)
    for seed in (0, 1):
        backbone = backbone_of(scheme, seed)
        for labels in (LABELS, LABELS[1:2]):
            batch = batch_of(backbone, scheme, labels)
            expected = slow(backbone, batch, scheme)
            found = fast(backbone, batch, scheme)
            assert said(found) == said(expected)
            assert [answer.engine for answer in found] == ["fast"] * len(labels)
            assert all(answer.num_passes < answer.num_tokens for answer in found)
            assert all(0 <= a.num_accepted <= a.num_drafted for a in found)


@pytest.mark.parametrize("drafts", [0, 1, 40])
def test_what_is_drafted_changes_no_answer(drafts: int) -> None:
    scheme = scheme_of("image-rrle", grid=4)
    backbone = backbone_of(scheme)
    batch = batch_of(backbone, scheme)
    found = fast(backbone, batch, scheme, drafts=drafts)
    assert said(found) == said(fast(backbone, batch, scheme))
    assert (sum(answer.num_drafted for answer in found) > 0) == (drafts > 0)


def test_a_static_cache_holds_the_same_answers() -> None:
    scheme = scheme_of("image-rrle", grid=4)
    backbone = backbone_of(scheme)
    batch = batch_of(backbone, scheme)
    found = fast(backbone, batch, scheme, cache="static")
    assert said(found) == said(slow(backbone, batch, scheme))
    assert [answer.engine for answer in found] == ["fast"] * 3


def test_without_a_grammar_the_plain_answers_come_out() -> None:
    scheme = scheme_of("next-brick")
    backbone = backbone_of(scheme)
    batch = batch_of(backbone, scheme, bound=40)
    expected = plain_engine(backbone, batch, scheme, GenerationSettings())
    assert said(fast(backbone, batch, scheme, constrained=False)) == said(list(expected))


@pytest.mark.parametrize("name", SCHEMES)
def test_drawn_answers_are_sound_and_do_not_depend_on_drafts(name: str) -> None:
    scheme = scheme_of(name)
    backbone = backbone_of(scheme)
    batch = batch_of(backbone, scheme, seed=3)
    answers = [
        fast(backbone, batch, scheme, temperature=1.0, drafts=drafts) for drafts in (0, 3, None)
    ]
    assert said(answers[0]) == said(answers[1]) == said(answers[2])
    for answer, labels in zip(answers[0], LABELS, strict=True):
        assert scheme.decode(answer.text, (20, 30), labels).status == "ok", answer.text
    other = fast(backbone, batch_of(backbone, scheme, seed=4), scheme, temperature=1.0)
    assert said(other) != said(answers[0])


class Guess:
    """Drafts one token for ever."""

    def __init__(self, token: int) -> None:
        self.token = token

    def draft(self, written: Any, limit: int) -> list[int]:
        return [self.token] * limit


@pytest.mark.parametrize("guess", [None, 0, 3])
def test_tokens_are_drawn_by_their_probability_whatever_is_drafted(guess: int | None) -> None:
    """Chi-square of pairs of tokens over a vocabulary of four, 9 degrees of freedom."""
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    logits = shares.log()
    counts = torch.zeros(4, 4, dtype=torch.float64)
    number = 4000
    chooser = Chooser(temperature=1.0, seed=5, num_rows=number, max_new_tokens=2)
    for draw in range(number):
        row = Row(None, None if guess is None else Guess(guess), end_ids=[9])
        while len(row.written) < 2:
            plan = row.plan(2, longest=1 - len(row.written))
            before = len(row.written)
            row.accept(
                [chooser.choose(logits, draw, before + k) for k in range(len(plan.tokens) + 1)]
            )
        counts[row.written[0], row.written[1]] += 1
    expected = number * shares[:, None] * shares[None]
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 37.7  # 15 degrees of freedom, p = 0.001


def test_what_the_grammar_refuses_is_drawn_again_among_the_rest() -> None:
    """A draw over the whole vocabulary, and one among what is admitted where it is refused."""
    shares = torch.tensor([0.4, 0.3, 0.2, 0.1])
    mask = torch.tensor([0b1010], dtype=torch.int32)
    assert admitted(shares.log(), mask).isfinite().tolist() == [False, True, False, True]
    chooser = Chooser(temperature=1.0, seed=1, num_rows=4000, max_new_tokens=1)
    counts = [0] * 4
    for row in range(4000):
        token = chooser.choose(shares.log(), row, 0)
        if token not in (1, 3):
            token = chooser.choose(admitted(shares.log(), mask), row, 0, again=True)
        counts[token] += 1
    assert counts[0] == counts[2] == 0
    assert abs(counts[1] / 4000 - 0.75) < 0.03


def test_a_chance_falls_on_admitted_tokens_only() -> None:
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf])
    assert [drawn(logits, chance) for chance in (0.0, 0.499, 0.5, 0.999999)] == [1, 1, 3, 3]


def test_a_budget_that_ends_first_closes_the_descriptor() -> None:
    scheme = scheme_of("image-rrle", grid=4)
    backbone = backbone_of(scheme)
    whole = slow(backbone, batch_of(backbone, scheme), scheme)
    bound = min(answer.num_tokens for answer in whole) - 10
    batch = batch_of(backbone, scheme, bound=bound)
    found = fast(backbone, batch, scheme)
    assert said(found) == said(slow(backbone, batch, scheme))
    for cut, complete in zip(found, whole, strict=True):
        assert (cut.num_tokens, cut.problem) == (bound, "budget-ended")
        assert cut.text.endswith("</seg>")
        assert complete.text.startswith(cut.text.removesuffix("</seg>"))
        assert scheme.decode(cut.text, (8, 8), None).status == "repaired"


def test_a_watcher_sees_every_answer_grow_to_its_end() -> None:
    scheme = scheme_of("image-rrle", grid=4)
    backbone = backbone_of(scheme)
    seen: list[Growing] = []
    batch = batch_of(backbone, scheme, watch=seen.append)
    answers = fast(backbone, batch, scheme)
    for place, (answer, labels) in enumerate(zip(answers, LABELS, strict=True)):
        mine = [growing for growing in seen if growing.id == str(place)]
        texts = [growing.text for growing in mine]
        assert all(b.startswith(a) for a, b in pairwise(texts))
        assert (texts[-1], mine[-1].num_passes) == (answer.text, answer.num_passes)
        assert [growing.ended for growing in mine] == [False] * (len(mine) - 1) + [True]
        assert mine[-1].decode(scheme, (8, 8), labels).status == "ok"
        known = [len(g.decode(scheme, (8, 8), labels).problems) for g in mine]
        assert known[-1] == 0 < max(known)


def test_generate_is_watched_too() -> None:
    scheme = scheme_of("next-brick")
    backbone = backbone_of(scheme)
    seen: list[Growing] = []
    (answer,) = slow(backbone, batch_of(backbone, scheme, LABELS[:1], watch=seen.append), scheme)
    assert [growing.num_tokens for growing in seen] == list(range(1, answer.num_tokens + 1))
    assert (seen[-1].text, seen[-1].ended) == (answer.text, True)


def test_a_model_that_cannot_be_driven_is_left_to_generate_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scheme = scheme_of("next-brick")
    backbone = backbone_of(scheme)
    backbone.model.config._attn_implementation = "flex_attention"
    batch = batch_of(backbone, scheme)
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
        from transformers import LlamaForCausalLM

        own = LlamaForCausalLM.forward

        def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
            self.config._attn_implementation = "sdpa"
            try:
                return own(self, *args, **kwargs)
            finally:
                self.config._attn_implementation = "flex_attention"

        patch.setattr(LlamaForCausalLM, "forward", forward)
        found = fast(backbone, batch, scheme)
        assert said(found) == said(slow(backbone, batch, scheme))
    assert [answer.engine for answer in found] == ["generate"] * 3
    assert "its attention (flex_attention) takes no mask of our own" in caplog.text


def test_a_model_that_reads_positions_its_own_way_is_found_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It adds up what it has seen: passes that are taken back leave a trace in it."""
    scheme = scheme_of("next-brick")
    backbone = backbone_of(scheme)
    own = backbone.model.forward
    total = 0

    def forward(
        input_ids: Any = None, attention_mask: Any = None, position_ids: Any = None, **kwargs: Any
    ) -> Any:
        nonlocal total
        kwargs |= {"attention_mask": attention_mask, "position_ids": position_ids}
        if input_ids.shape[1] > 20:
            total = 0
        total += int(input_ids.shape[1])
        found = own(input_ids=input_ids, **kwargs)
        found.logits = found.logits + torch.arange(found.logits.shape[-1]) % (total + 2) / 50
        return found

    backbone.model.forward = forward
    with caplog.at_level(logging.WARNING):
        found = fast(backbone, batch_of(backbone, scheme), scheme)
    assert [answer.engine for answer in found] == ["generate"] * 3
    assert "do not give what its generate gives" in caplog.text


def test_a_model_whose_weights_are_sharded_is_left_to_generate(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every process must make the same passes there, and answers of few passes differ in them."""
    scheme = scheme_of("next-brick")
    backbone = backbone_of(scheme)
    backbone.model._is_fsdp_managed_module = True  # as transformers marks what FSDP shards
    with caplog.at_level(logging.WARNING):
        found = fast(backbone, batch_of(backbone, scheme), scheme)
    assert [answer.engine for answer in found] == ["generate"] * 3
    assert "its weights are sharded" in caplog.text


def about(batch: EngineBatch, pictures: str) -> EngineBatch:
    """The same prompts, each about the picture of its letter; a blank is no picture's name."""
    talks = zip(batch.conversations, pictures, strict=True)
    named = [replace(talk, image_id=letter.strip()) for talk, letter in talks]
    return replace(batch, conversations=named)


def asked_of(backbone: TinyText, batch: EngineBatch) -> Asked:
    return Asked.of(backbone, batch, GenerationSettings())


MANY = (*LABELS, ("dog",), ("dog", "fog"), ("dog",))


@pytest.mark.parametrize("pictures", ["aaaaaa", "abcabc", "ab ba ", "aabbcc"])
def test_prompts_about_one_picture_share_their_beginning(pictures: str) -> None:
    scheme = scheme_of("next-brick")
    backbone = backbone_of(scheme)
    batch = about(batch_of(backbone, scheme, MANY), pictures)
    expected = said(slow(backbone, batch, scheme))
    assert said(fast(backbone, batch, scheme)) == expected
    assert verdict(backbone.model)
    own, read = backbone.model.forward, []

    def forward(
        input_ids: Any = None, attention_mask: Any = None, position_ids: Any = None, **kwargs: Any
    ) -> Any:
        read.append(tuple(input_ids.shape))
        kwargs |= {"attention_mask": attention_mask, "position_ids": position_ids}
        return own(input_ids=input_ids, **kwargs)

    backbone.model.forward = forward
    found = fast(backbone, batch, scheme)
    assert said(found) == expected
    apart = [letter for letter in pictures if letter.strip()]
    rows = len(set(apart)) + len(pictures) - len(apart)
    assert [shape[0] for shape in read[:2]] == [rows, len(pictures)]
    assert read[1][1] < read[0][1]  # the rest of each prompt


def test_the_same_prompt_twice_is_read_once() -> None:
    scheme = scheme_of("next-brick")
    backbone = backbone_of(scheme)
    batch = batch_of(backbone, scheme, (("dog",), ("dog",)))
    first, second = batch.conversations
    twice = [replace(first, image_id="a"), replace(second, image_id="a", question=first.question)]
    batch = replace(batch, conversations=twice)
    fast(backbone, batch, scheme)
    assert verdict(backbone.model) is None, "the same prompt twice proves nothing"
    fast(backbone, about(batch_of(backbone, scheme, MANY), "aaaaaa"), scheme)
    assert verdict(backbone.model)
    found = fast(backbone, batch, scheme)
    assert found[0].text == found[1].text
    assert said(found) == said(slow(backbone, batch, scheme))
    assert found[0].num_passes == found[1].num_passes


def test_pictures_that_bear_one_name_are_not_taken_for_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scheme = scheme_of("next-brick")
    backbone = backbone_of(scheme)
    batch = about(batch_of(backbone, scheme, MANY), "aaaaaa")
    fast(backbone, batch, scheme)
    assert verdict(backbone.model)
    sizes = [replace(talk, size=(8, 8 + place)) for place, talk in enumerate(batch.conversations)]
    assert (
        Shared.of(backbone, asked_of(backbone, replace(batch, conversations=sizes)), None) is None
    )
    asked = asked_of(backbone, batch)
    pixels = torch.zeros(len(MANY), 3, 4, 4)
    tensors = {**asked.inputs.tensors, "pixel_values": pixels}
    backbone.model.config.image_token_id = -1
    pictured = replace(asked, inputs=replace(asked.inputs, tensors=tensors))
    assert Shared.of(backbone, pictured, None) is not None
    pixels[2, 0, 0, 0] = 1
    assert Shared.of(backbone, pictured, None) is None
    assert "have different pictures, for example 'a'" in caplog.text


def test_a_picture_is_read_once_though_prompts_are_collated_again() -> None:
    scheme = scheme_of("next-brick")
    backbone = backbone_of(scheme)
    batch = about(batch_of(backbone, scheme, MANY), "aaaaaa")
    own, read = backbone.collate, []

    def load(place: int) -> Any:
        read.append(place)
        return torch.zeros(8, 8, 3, dtype=torch.uint8).numpy()

    def collate(conversations: Any, **options: Any) -> Any:
        for talk in conversations:
            talk.load_image()
        return own(conversations, **options)

    backbone.collate = collate  # type: ignore[method-assign]
    talks = [
        replace(talk, load_image=lambda place=place: load(place))
        for place, talk in enumerate(batch.conversations)
    ]
    fast(backbone, replace(batch, conversations=talks), scheme)
    assert sorted(read) == list(range(len(MANY)))


def test_sharing_can_be_left_out() -> None:
    scheme = scheme_of("next-brick")
    backbone = backbone_of(scheme)
    batch = about(batch_of(backbone, scheme, MANY), "aaaaaa")
    assert said(fast(backbone, batch, scheme, shared=False)) == said(fast(backbone, batch, scheme))


def test_a_static_cache_takes_drafts_of_any_length() -> None:
    scheme = build_scheme("image-full", grid=36, max_label_chars=9)
    backbone = backbone_of(scheme)
    batch = batch_of(backbone, scheme, (("dog",),), bound=2500)
    (found,) = fast(backbone, batch, scheme, cache="static", drafts=2000)
    assert found.engine == "fast" and found.num_tokens > 1024


def test_a_model_whose_prompts_have_no_beginning_of_their_own_is_found_out() -> None:
    """Each token depends on how many the pass reads, as where a prompt is read both ways."""
    scheme = scheme_of("next-brick")
    backbone = backbone_of(scheme)
    own = backbone.model.forward

    def forward(
        input_ids: Any = None, attention_mask: Any = None, position_ids: Any = None, **kwargs: Any
    ) -> Any:
        kwargs |= {"attention_mask": attention_mask, "position_ids": position_ids}
        found = own(input_ids=input_ids, **kwargs)
        if attention_mask is not None and attention_mask.ndim == 2 and input_ids.shape[1] > 1:
            total = attention_mask.sum(dim=-1)[:, None, None]
            found.logits = found.logits + torch.arange(found.logits.shape[-1]) * total % 7
        return found

    backbone.model.forward = forward
    batch = about(batch_of(backbone, scheme, MANY), "aaaaaa")
    expected = said(slow(backbone, batch, scheme))
    assert said(fast(backbone, batch, scheme)) == expected
    assert verdict(backbone.model) is False
    assert said(fast(backbone, batch, scheme)) == expected


def test_eager_attention_is_driven_too() -> None:
    scheme = scheme_of("next-brick")
    backbone = backbone_of(scheme)
    backbone.model.float().set_attn_implementation("eager")
    batch = batch_of(backbone, scheme)
    found = fast(backbone, batch, scheme)
    assert said(found) == said(slow(backbone, batch, scheme))
    assert found[0].engine == "fast"


@pytest.mark.parametrize("engine", [fast_engine, constrained_engine, plain_engine])
def test_a_prompt_that_fills_the_context_is_refused_before_the_first_pass(engine: Any) -> None:
    scheme = scheme_of("next-brick")
    backbone = backbone_of(scheme)
    backbone.model.config.max_position_embeddings = 20
    settings = GenerationSettings(constrained=engine is not plain_engine)
    with pytest.raises(BackboneError, match=r"the prompt of '1' takes 3\d tokens.*at most 20"):
        engine(backbone, batch_of(backbone, scheme), scheme, settings)


def test_answers_end_where_the_context_does() -> None:
    scheme = scheme_of("image-rrle", grid=4)
    backbone = backbone_of(scheme)
    backbone.model.config.max_position_embeddings = 60
    answers = fast(backbone, batch_of(backbone, scheme, LABELS[:1]), scheme)
    prompt = len(backbone.tokenizer("Segment dog.\n")["input_ids"])
    assert (answers[0].num_tokens, answers[0].problem) == (60 - prompt, "budget-ended")


def test_the_settings_choose_the_engine() -> None:
    chosen = {
        (kind, held): engine_of(GenerationSettings(engine=kind, constrained=held))  # type: ignore[arg-type]
        for kind in ("auto", "fast", "generate")
        for held in (True, False)
    }
    assert chosen == {
        ("auto", True): fast_engine,
        ("auto", False): plain_engine,
        ("fast", True): fast_engine,
        ("fast", False): fast_engine,
        ("generate", True): constrained_engine,
        ("generate", False): plain_engine,
    }


def test_all_prompts_too_long_are_answered_by_none() -> None:
    scheme = scheme_of("next-brick")
    backbone = backbone_of(scheme)
    assert fast(backbone, batch_of(backbone, scheme), scheme, max_length=3) == [None] * 3


def test_drafts_are_as_long_as_passes_are_cheap_and_guesses_good() -> None:
    def limit(each: float, held: float) -> int:
        pace = Pace()
        generator = torch.Generator().manual_seed(0)
        for number in range(200):
            width = 1 + number % 40
            pace.passed(width, 0.02 + each * width)
            chances = torch.rand(width, generator=generator)
            missed = (chances > held).nonzero()
            pace.drafted(width, int(missed[0]) if len(missed) else width)
        fixed, measured = pace.cost()
        assert fixed == pytest.approx(0.02, rel=0.3)
        assert measured == pytest.approx(each, rel=0.3)
        return pace.limit()

    assert limit(0.02, 0.5) <= 1
    assert 1 <= limit(0.002, 0.5) <= 6
    assert 10 <= limit(0.0005, 0.97) <= 80
    assert limit(0.00001, 0.999) > 200


@pytest.mark.parametrize("tagged", [False, True], ids=["text", "tokens"])
def test_an_answer_that_talks_says_something_before_its_descriptor(tagged: bool) -> None:
    scheme = scheme_of("next-brick")
    backbone = backbone_of(scheme)
    if tagged:
        backbone.tokenizer.add_tokens(["<seg>", "</seg>"], special_tokens=True)
        backbone.model.resize_token_embeddings(len(backbone.tokenizer), mean_resizing=False)
    batch = batch_of(backbone, scheme, bound=2000, seed=1)
    for temperature in (0.0, 1.0):
        answers = fast(backbone, batch, scheme, talks=True, temperature=temperature)
        for answer, labels in zip(answers, LABELS, strict=True):
            said_first = answer.text.split("<seg>")[0]
            assert 0 < len(said_first) <= 400
            assert scheme.decode(answer.text, (8, 8), labels).status == "ok", answer.text
    assert said(fast(backbone, batch, scheme, talks=True)) == said(
        slow(backbone, batch, scheme, talks=True)
    )


def test_labels_are_copied_from_a_prompt_that_names_none() -> None:
    assert copied_labels("the red dog, please!", max_words=2) == (
        "the",
        "the red",
        "red",
        "red dog",
        "dog",
        "dog please",
        "please",
    )
    assert copied_labels("others | <|loc1|> *2", ("<|loc1|>",)) == ("*2",)
