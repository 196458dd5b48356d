"""Building schemes by name, and the laws that every scheme obeys, for tests of plugins too.

``hypothesis``, ``tokenizers`` and ``llguidance`` are imported inside the checks that need them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from t4spp.errors import SchemeError, T4sppError
from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN, Scheme
from t4spp.types import BACKGROUND, BoolMask, Decoded, Region, Target

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy
    from transformers import PreTrainedTokenizerBase

REFUSED_LABELS = ("", BACKGROUND, " dog", "dog ", "a\nb", "a|b", "a *b", f"a{SEG_CLOSE}")
"""Labels that every scheme refuses for a target."""
PROMPT = ("dog", "cat on the left", "no", "é*[x]")
"""Labels of the grammars that are checked."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Canvas:
    """One drawn case: what ``encode`` and ``quantize`` take."""

    size: tuple[int, int]
    targets: tuple[Target, ...]
    ignore: BoolMask | None = None


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


def build_tokenizer(special_tokens: Sequence[str]) -> PreTrainedTokenizerBase:
    """A small byte-level tokenizer that has learnt ``special_tokens``; made, not downloaded."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|end|>"],
        show_progress=False,
    )
    inner.train_from_iterator(["dog *3| others *16\n on12 off4 cat on the left"] * 4, trainer)
    make: Any = PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerBase = make(tokenizer_object=inner, eos_token="<|end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": list(special_tokens)})
    return tokenizer


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


def labels_strategy(scheme: Scheme) -> SearchStrategy[str]:
    """Labels that a target may bear."""
    from hypothesis import strategies as st

    from t4spp.schemes.labels import label_fault

    longest = int(getattr(scheme.params, "max_label_chars", 128))
    free = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=min(longest, 12))
    legal = free.filter(
        lambda label: (
            label != BACKGROUND and label_fault(label, scheme.special_tokens, longest) is None
        )
    )
    common = [label for label in (*PROMPT, "the dog on the left") if len(label) <= longest]
    return st.sampled_from(common) | legal if common else legal


def canvas_strategy(scheme: Scheme, max_side: int = 40) -> SearchStrategy[Canvas]:
    """Pictures with no to five targets: full, one pixel, holed, many parts, overlapping, noise."""
    from hypothesis import strategies as st

    labels = labels_strategy(scheme)

    @st.composite
    def canvases(draw: DrawFn) -> Canvas:
        size = (draw(st.integers(1, max_side)), draw(st.integers(1, max_side)))
        source = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        kinds = st.sampled_from(["full", "pixel", "box", "holed", "parts", "noise", "empty"])
        targets = tuple(
            Target(label=label, mask=draw_mask(kind, size, source))
            for label, kind in draw(st.lists(st.tuples(labels, kinds), max_size=5))
        )
        ignore = draw(st.none() | st.sampled_from(["box", "noise", "full", "pixel"]))
        return Canvas(
            size=size,
            targets=targets,
            ignore=None if ignore is None else draw_mask(ignore, size, source),
        )

    return canvases()


def draw_mask(kind: str, size: tuple[int, int], source: np.random.Generator) -> BoolMask:
    """A mask bool[H, W] of a kind: full, pixel, box, holed, parts, noise or empty."""
    height, width = size
    mask = np.zeros(size, dtype=np.bool_)
    if kind == "full":
        mask[:] = True
    elif kind == "noise":
        mask[:] = source.random(size) < source.random()
    elif kind == "parts":
        for _ in range(6):
            mask |= draw_mask("box", size, source) & draw_mask("box", size, source)
    elif kind in ("pixel", "box", "holed"):
        y0, x0 = int(source.integers(height)), int(source.integers(width))
        y1 = y0 + 1 if kind == "pixel" else int(source.integers(y0, height)) + 1
        x1 = x0 + 1 if kind == "pixel" else int(source.integers(x0, width)) + 1
        mask[y0:y1, x0:x1] = True
        if kind == "holed":
            mask[y0 + (y1 - y0) // 3 : y1 - (y1 - y0) // 3, (x0 + x1) // 2] = False
    return mask


def assert_same_regions(found: Sequence[Region], wanted: Sequence[Region]) -> None:
    """Same labels, masks, occupancies, boxes and order."""
    assert [region.label for region in found] == [region.label for region in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.mask.dtype == np.bool_ and one.mask.shape == other.mask.shape
        assert np.array_equal(one.mask, other.mask), f"the masks of {one.label!r} differ"
        assert one.box == other.box
        assert (one.soft is None) == (other.soft is None)
        if one.soft is not None and other.soft is not None:
            assert one.soft.dtype == np.float32
            assert np.allclose(one.soft, other.soft, rtol=0, atol=1e-6)


def assert_sound(decoded: Decoded, size: tuple[int, int]) -> None:
    """What holds of every decoded answer, whatever was in it."""
    assert decoded.status in ("ok", "repaired", "invalid")
    assert (decoded.status == "ok") == (not decoded.problems), decoded.problems
    assert decoded.status != "invalid" or not decoded.regions
    for region in decoded.regions:
        assert region.mask.shape == size and region.mask.dtype == np.bool_
        assert region.label and region.label != BACKGROUND


def written(scheme: Scheme, canvas: Canvas) -> str | None:
    """The descriptor; None where the scheme refuses, which ``quantize`` must do as well."""
    try:
        return scheme.encode(canvas.targets, canvas.size, canvas.ignore)
    except SchemeError:
        try:
            scheme.quantize(canvas.targets, canvas.size, canvas.ignore)
        except SchemeError:
            return None
        raise AssertionError("encode refuses what quantize takes") from None


def _for_all(strategy: SearchStrategy[Any], max_examples: int) -> Callable[..., None]:
    """Run a check on drawn cases."""
    from hypothesis import HealthCheck, given, settings

    def run(check: Callable[[Any], None]) -> None:
        given(strategy)(
            settings(
                max_examples=max_examples,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )(check)
        )()

    return run


def check_round_trip(scheme: Scheme, *, max_examples: int = 100) -> None:
    """``decode(encode(t))`` equals ``quantize(t)``, bare and in an answer, with status ok."""

    def check(canvas: Canvas) -> None:
        text = written(scheme, canvas)
        if text is None:
            return
        wanted = scheme.quantize(canvas.targets, canvas.size, canvas.ignore)
        answer = f"Here it is.\n{SEG_OPEN}{text}{SEG_CLOSE}"
        asked = [target.label for target in canvas.targets]
        for given_text in (text, answer):
            for labels in (None, asked):
                decoded = scheme.decode(given_text, canvas.size, labels)
                assert_sound(decoded, canvas.size)
                assert decoded.status == "ok", (text, decoded.problems)
                assert_same_regions(decoded.regions, wanted)

    _for_all(canvas_strategy(scheme), max_examples)(check)


def check_decoding_never_raises(scheme: Scheme, *, max_examples: int = 100) -> None:
    """``decode`` takes any string: random text, and descriptors with pieces cut, put in, moved."""
    from hypothesis import strategies as st

    def check(case: tuple[Canvas, str, int]) -> None:
        canvas, noise, seed = case
        assert_sound(scheme.decode(noise, canvas.size), canvas.size)
        text = written(scheme, canvas)
        if text is None:
            return
        mutated = mutate(text, noise, random.Random(seed))
        assert_sound(scheme.decode(mutated, canvas.size), canvas.size)
        assert_sound(scheme.decode(mutated, canvas.size, ["dog"]), canvas.size)

    pieces = ["<seg>", "</seg>", "|", "| ", " *", "*3", "\n", "others", "dog", "99999999999", "²"]
    pieces += [*scheme.special_tokens[:2], *scheme.special_tokens[-2:]]
    noise = st.text() | st.lists(st.sampled_from(pieces), max_size=20).map("".join)
    cases = st.tuples(canvas_strategy(scheme, 12), noise, st.integers(0, 2**32 - 1))
    _for_all(cases, max_examples)(check)


def mutate(text: str, noise: str, source: random.Random) -> str:
    """A descriptor with one to four pieces removed, doubled, moved, or replaced by ``noise``."""
    for _ in range(source.randint(1, 4)):
        first = source.randint(0, len(text))
        last = min(len(text), first + source.choice((0, 1, 2, 5, 20)))
        kind = source.randrange(4)
        piece = text[first:last]
        if kind == 0:
            text = text[:first] + text[last:]
        elif kind == 1:
            text = text[:first] + piece + piece + text[last:]
        elif kind == 2:
            text = text[last:] + text[:last]
        else:
            text = text[:first] + noise[: source.randint(0, 12)] + text[last:]
    return text


def check_labels(scheme: Scheme, *, max_examples: int = 100) -> None:
    """Labels are matched by name; unasked ones are background; unwritable ones are refused."""
    size = (8, 8)
    full = np.ones(size, dtype=np.bool_)
    tokens = scheme.special_tokens
    for label in (*REFUSED_LABELS, *(f"a {token}" for token in (*tokens[:1], *tokens[-1:]))):
        for write in (scheme.encode, scheme.quantize):
            try:
                write([Target(label=label, mask=full)], size)
            except SchemeError:
                continue
            raise AssertionError(f"{write.__name__} took the label {label!r}")

    def check(canvas: Canvas) -> None:
        text = written(scheme, canvas)
        if text is None:
            return
        wanted = scheme.quantize(canvas.targets, canvas.size, canvas.ignore)
        kept = wanted[0].label if wanted else "dog"
        decoded = scheme.decode(text, canvas.size, [kept, "never written"])
        assert_same_regions(decoded.regions, [r for r in wanted if r.label == kept])
        strangers = any(region.label != kept for region in wanted)
        codes = {problem.code for problem in decoded.problems}
        assert codes == ({"unknown-label"} if strangers else set())
        assert decoded.status == ("repaired" if strangers else "ok")

    _for_all(canvas_strategy(scheme), max_examples)(check)


def check_damage_stays_in_its_row(scheme: Scheme, *, max_examples: int = 100) -> None:
    """Where rows are marked, whatever happens between two marks leaves the other rows alone."""
    from hypothesis import strategies as st

    mark: str | None = getattr(scheme, "row_mark", None)
    shape: tuple[int, int] | None = getattr(scheme, "shape", None)
    if mark is None or shape is None:
        return
    rows, columns = shape
    size = (rows * 4, columns * 4)
    letters = st.text(st.sampled_from("dogx *0123456789"), max_size=6)

    def check(case: tuple[int, int, str]) -> None:
        seed, row, noise = case
        source = np.random.default_rng(seed)
        cells = source.random(shape) < 0.5
        cells[0, 0] = cells[-1, -1] = True
        mask = np.repeat(np.repeat(cells, 4, axis=0), 4, axis=1)
        text = scheme.encode([Target(label="dog", mask=mask)], size)
        whole = scheme.decode(text, size).union("dog", size)
        opened = text.endswith(mark)
        pieces = (text[: -len(mark)] if opened else text).split(mark)
        at = len(pieces) - rows + row
        pieces[at] = mutate(pieces[at], noise, random.Random(seed)).replace(mark, "")
        damaged = mark.join(pieces) + (mark if opened else "")
        decoded = scheme.decode(damaged, size)
        assert_sound(decoded, size)
        differs = np.flatnonzero((decoded.union("dog", size) != whole).any(axis=1))
        # bilinear upsampling reaches half a cell into the rows above and below
        assert all(4 * row - 2 <= y < 4 * row + 6 for y in differs), (text, damaged, differs)

    cases = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, rows - 1), letters)
    _for_all(cases, max_examples)(check)


def check_tokenizer(
    scheme: Scheme, tokenizer: PreTrainedTokenizerBase, *, max_examples: int = 100
) -> None:
    """The tokenizer gives descriptors back unchanged, each added token is one id, bounds hold."""
    for added in (*scheme.special_tokens[:3], *scheme.special_tokens[-3:]):
        assert len(_ids(tokenizer, added)) == 1, f"{added} is not one token"
    free_bound = scheme.max_tokens(tokenizer)

    def check(canvas: Canvas) -> None:
        text = written(scheme, canvas)
        if text is None or not _knows_labels(tokenizer, canvas):
            return
        ids = _ids(tokenizer, text)
        assert _text(tokenizer, ids) == text
        asked = [target.label for target in canvas.targets]
        assert len(ids) <= scheme.max_tokens(tokenizer, asked), "longer than max_tokens(labels)"
        assert len(ids) <= free_bound, "longer than max_tokens()"

    _for_all(canvas_strategy(scheme), max_examples)(check)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of ids, nothing left out and nothing tidied."""
    return str(
        tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )


def _knows_labels(tokenizer: PreTrainedTokenizerBase, canvas: Canvas) -> bool:
    """Whether a tokenizer has all characters of the labels: some lack bytes of rare scripts."""
    return all(
        _text(tokenizer, _ids(tokenizer, target.label)) == target.label for target in canvas.targets
    )


def check_grammar(
    scheme: Scheme, tokenizer: PreTrainedTokenizerBase, *, max_examples: int = 100
) -> None:
    """The grammar admits every ``encode(t)``; what it admits decodes with status ok."""
    free = GrammarWalker(scheme.grammar(), tokenizer)

    def check(canvas: Canvas) -> None:
        text = written(scheme, canvas)
        if text is None or not _knows_labels(tokenizer, canvas):
            return
        assert free.admits(text), f"the free grammar refuses {text!r}"

    _for_all(canvas_strategy(scheme), max_examples)(check)

    def check_prompt(canvas: Canvas) -> None:
        text = written(scheme, canvas)
        if text is not None and _knows_labels(tokenizer, canvas):
            asked = list(dict.fromkeys(target.label for target in canvas.targets))
            walker = GrammarWalker(scheme.grammar(asked), tokenizer)
            assert walker.admits(text), f"the grammar of {asked} refuses {text!r}"

    _for_all(canvas_strategy(scheme), min(max_examples, 25))(check_prompt)
    longest = int(getattr(scheme.params, "max_label_chars", 128))
    asked = [label for label in PROMPT if len(label) <= longest]
    for labels in (None, asked, asked[:1], []):
        walker = GrammarWalker(scheme.grammar(labels), tokenizer) if labels is not None else free
        bound = scheme.max_tokens(tokenizer, labels)
        for seed in range(min(max_examples, 20)):
            text = walker.walk(random.Random(seed))
            if text is None:
                continue
            decoded = scheme.decode(text, (24, 24), labels)
            assert decoded.status == "ok", (labels, text, decoded.problems)
            assert len(_ids(tokenizer, text)) <= bound, (labels, text)


class GrammarWalker:
    """Asks llguidance what a grammar admits."""

    def __init__(self, lark: str, tokenizer: PreTrainedTokenizerBase) -> None:
        """Compile a grammar of llguidance's Lark.

        Raises:
            AssertionError: the grammar does not compile.
        """
        import llguidance
        from llguidance.hf import from_tokenizer

        self._tokenizer = tokenizer
        learnt: Any = tokenizer
        self._inner = from_tokenizer(learnt)
        grammar = llguidance.LLMatcher.grammar_from_lark(lark)
        self._matcher = llguidance.LLMatcher(self._inner, grammar, log_level=0)
        error = self._matcher.get_error()
        assert not error, f"the grammar does not compile: {error}"

    def admits(self, text: str) -> bool:
        """Whether a whole text is in the language."""
        self._matcher.reset()
        ids = _ids(self._tokenizer, text)
        taken = self._matcher.try_consume_tokens(ids)
        return bool(taken == len(ids) and self._matcher.is_accepting())

    def walk(self, source: random.Random, max_steps: int = 2000) -> str | None:
        """A random text of the language; None when it is not at an end after ``max_steps``."""
        self._matcher.reset()
        ids: list[int] = []
        end = self._tokenizer.eos_token_id
        for _ in range(max_steps):
            if self._matcher.is_accepting() and source.random() < 0.5:
                break
            packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
            allowed = np.flatnonzero(np.unpackbits(packed, bitorder="little"))
            allowed = allowed[allowed != end]
            if not allowed.size:
                break
            ids.append(int(source.choice(allowed)))
            assert self._matcher.consume_token(ids[-1]), self._matcher.get_error()
        if not self._matcher.is_accepting():
            return None
        return _text(self._tokenizer, ids)


def check_fingerprint(scheme: Scheme) -> None:
    """The fingerprint is stable and tells every parameter's values apart."""
    assert type(scheme)(scheme.params).fingerprint() == scheme.fingerprint()
    assert scheme.fingerprint().startswith(f"{scheme.name}@{scheme.version}:")
    for name in type(scheme.params).model_fields:
        for value in _other_values(scheme, name):
            params = {**scheme.params.model_dump(), name: value}
            try:
                other = type(scheme)(type(scheme.params).model_validate(params))
            except (ValueError, T4sppError):
                continue
            if getattr(other.params, name) != getattr(scheme.params, name):
                assert other.fingerprint() != scheme.fingerprint(), (
                    f"{name}={value!r} does not change the fingerprint"
                )
                break
        else:
            raise AssertionError(f"no other valid value of {name!r} was found")


def _other_values(scheme: Scheme, name: str) -> list[Any]:
    """Guesses at valid values of a parameter that it does not have now."""
    value = getattr(scheme.params, name)
    annotation = type(scheme.params).model_fields[name].annotation
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value - 1, value * 2]
    return [choice for choice in get_args(annotation) if choice != value] + [
        f"{value}x",
        1,
        3,
        [2, 3],
    ]
