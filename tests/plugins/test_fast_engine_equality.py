"""Every backbone through the fast engine: token for token what its own ``generate`` writes.

In float64, under the same grammar; the quick part asks few prompts, the slow part over 300.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import support_hf_vlm
import support_nano
import torch

from t4spp.decoding.asking import EngineBatch, picture_tokens
from t4spp.decoding.bounds import TokenBounds
from t4spp.decoding.engine import constrained_engine, plain_engine
from t4spp.decoding.settings import GenerationSettings
from t4spp.decoding.sharing import verdict
from t4spp.decoding.speculative import fast_engine
from t4spp.evaluation.decode_bench import lookup_engine
from t4spp.schemes.base import Scheme
from t4spp.testing import build_scheme

SCHEMES = ("image-full", "image-irle", "image-rrle", "semantic-brick", "next-brick")
NEEDS = {"smolvlm": "num2words"}
THREE = ("llava-1.5", "qwen2-vl", "gemma3")
"""Families with absolute positions, with three-dimensional ones, and with sliding windows."""
LABELS = (("dog",), ("the cat", "dog"), ("a b", "no", "\u00e9*[x]"), ("sky",))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scheme_of(name: str, grid: int = 3) -> Scheme:
    params = {"max_regions": 2} if name in ("semantic-brick", "next-brick") else {}
    return build_scheme(name, grid=grid, max_label_chars=9, **params)


def in_double(backbone: Any) -> Any:
    """The same backbone in float64, pictures included."""
    backbone.model.double()
    own = backbone.collate

    def collate(*args: Any, **kwargs: Any) -> Any:
        inputs = own(*args, **kwargs)
        inputs.tensors = {
            name: tensor.double() if tensor.is_floating_point() else tensor
            for name, tensor in inputs.tensors.items()
        }
        return inputs

    backbone.collate = collate
    return backbone


def batches(
    backbone: Any, scheme: Scheme, talk: Callable[..., Any], number: int, size: int
) -> Iterator[EngineBatch]:
    """``number`` prompts of unequal lengths, ``size`` together; every two have one picture."""
    bounds = TokenBounds(backbone.tokenizer, scheme, bytewise=True)
    for first in range(0, number, size):
        places = range(first, min(number, first + size))
        yield EngineBatch(
            conversations=[
                replace(
                    talk(
                        "Segment the dog." + " Please." * (place % 5),
                        answer=None,
                        size=support_hf_vlm.SIZES[place // 2 % 2],
                        seed=place // 2,
                        name=str(place),
                    ),
                    image_id=f"picture {place // 2}",
                )
                for place in places
            ],
            labels=[LABELS[place % len(LABELS)] for place in places],
            max_new_tokens=max(map(bounds.of, LABELS)),
        )


def check(
    backbone: Any, scheme: Scheme, talk: Callable[..., Any], number: int, sizes: Sequence[int]
) -> None:
    passes = tokens = 0
    for size in sizes:
        for batch in batches(backbone, scheme, talk, number, size):
            expected = constrained_engine(backbone, batch, scheme, GenerationSettings())
            settings = GenerationSettings(constrained=True, engine="fast")
            found = fast_engine(backbone, batch, scheme, settings)
            for ours, theirs, labels in zip(found, expected, batch.labels, strict=True):
                assert ours is not None and theirs is not None
                assert (ours.text, ours.num_tokens) == (theirs.text, theirs.num_tokens)
                assert (ours.engine, ours.problem) == ("fast", "")
                assert scheme.decode(ours.text, (20, 30), labels).status == "ok", ours.text
                passes += ours.num_passes
                tokens += ours.num_tokens or 0
    assert passes < 0.8 * tokens


def nano_of(scheme: Scheme, folder: Path, seed: int = 0) -> Any:
    return in_double(support_nano.loaded(folder, scheme.special_tokens, seed=seed))


def test_nano_writes_what_its_generate_writes(nano_weights: Path) -> None:
    scheme = scheme_of("next-brick", grid=2)
    check(nano_of(scheme, nano_weights), scheme, support_nano.talk, 3, (3,))


@pytest.mark.parametrize("family", sorted(support_hf_vlm.FAMILIES))
def test_a_family_writes_what_its_generate_writes(
    family: str, tiny_vlm: Callable[[str], Path]
) -> None:
    needed = NEEDS.get(family)
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{family} needs {needed}")
    scheme = scheme_of("image-rrle")
    backbone = in_double(support_hf_vlm.loaded(tiny_vlm(family), scheme.special_tokens))
    check(backbone, scheme, support_hf_vlm.talk, 3, (3,))
    # A PaliGemma reads its prompt in both directions, so that no beginning stands alone.
    assert verdict(backbone.model) is (family != "paligemma2")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("family", ["llava-1.5", "paligemma2"])
def test_rounding_does_not_hide_a_prompt_that_is_read_both_ways(
    family: str, dtype: torch.dtype, tiny_vlm: Callable[[str], Path]
) -> None:
    """In 16 bits logits differ by more for rounding than for what the prompt's end changes."""
    scheme = scheme_of("image-rrle")
    backbone = support_hf_vlm.loaded(tiny_vlm(family), scheme.special_tokens)
    backbone.model.to(dtype)
    (batch,) = batches(backbone, scheme, support_hf_vlm.talk, 2, 2)
    fast_engine(backbone, replace(batch, max_new_tokens=4), scheme, GenerationSettings())
    assert verdict(backbone.model) is (family != "paligemma2")


@pytest.mark.parametrize("kinds", [("sliding", "full"), ("sliding", "sliding")], ids="-".join)
def test_windows_shorter_than_the_answer_slide_with_each_row(
    kinds: tuple[str, str], tiny_vlm: Callable[[str], Path], tmp_path: Path
) -> None:
    """Gemma 3 with a window of 24 tokens, less than its prompts have."""
    folder = shutil.copytree(tiny_vlm("gemma3"), tmp_path / "gemma3")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["sliding_window"] = 24
    config["text_config"]["layer_types"] = [f"{kind}_attention" for kind in kinds]
    (folder / "config.json").write_text(json.dumps(config))
    scheme = scheme_of("image-rrle")
    backbone = in_double(support_hf_vlm.loaded(folder, scheme.special_tokens))
    (batch,) = batches(backbone, scheme, support_hf_vlm.talk, 1, 1)
    wide = in_double(support_hf_vlm.loaded(tiny_vlm("gemma3"), scheme.special_tokens))
    settings = GenerationSettings()
    texts = [constrained_engine(b, batch, scheme, settings)[0].text for b in (backbone, wide)]
    assert texts[0] != texts[1]  # the window matters
    check(backbone, scheme, support_hf_vlm.talk, 3, (1, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("who", ["nano", *THREE])
def test_over_300_prompts_are_answered_alike(
    who: str, name: str, nano_weights: Path, tiny_vlm: Callable[[str], Path]
) -> None:
    """16 prompts by 5 schemes by 4 backbones, alone and in batches of 8."""
    scheme = scheme_of(name)
    if who == "nano":
        check(nano_of(scheme, nano_weights), scheme, support_nano.talk, 16, (1, 8))
    else:
        loaded = support_hf_vlm.loaded(tiny_vlm(who), scheme.special_tokens)
        check(in_double(loaded), scheme, support_hf_vlm.talk, 16, (1, 8))


@pytest.mark.slow
def test_compiled_passes_over_a_static_cache_give_the_same_answers(nano_weights: Path) -> None:
    scheme = scheme_of("image-rrle")
    backbone = nano_of(scheme, nano_weights)
    (batch,) = batches(backbone, scheme, support_nano.talk, 2, 2)
    expected = constrained_engine(backbone, batch, scheme, GenerationSettings())
    settings = GenerationSettings(constrained=True, cache="static", compiled=True, drafts=3)
    found = fast_engine(backbone, batch, scheme, settings)
    assert [a.text for a in found if a] == [a.text for a in expected if a]
    assert [a.engine for a in found if a] == ["fast", "fast"]


@pytest.mark.parametrize("family", ["llava-1.5", "internvl3", "gemma3"])
def test_guesses_from_the_prompt_hold_no_part_of_its_picture(
    family: str, tiny_vlm: Callable[[str], Path]
) -> None:
    """The prompt ends as the text before its picture does, so that a lookup lands there."""
    scheme = scheme_of("image-rrle")
    backbone = in_double(support_hf_vlm.loaded(tiny_vlm(family), scheme.special_tokens))
    (batch,) = batches(backbone, scheme, support_hf_vlm.talk, 1, 1)
    batch = replace(batch, max_new_tokens=24)
    inputs = backbone.collate(batch.conversations, training=False, max_length=None)
    (ids,) = inputs.tensors["input_ids"].tolist()
    pictured = picture_tokens(backbone)
    place = next(place for place, token in enumerate(ids) if token in pictured)
    inputs.tensors["input_ids"][0, -2:] = torch.tensor(ids[place - 2 : place])
    backbone.collate = lambda *args, **kwargs: inputs
    (plain,) = plain_engine(backbone, batch, scheme, GenerationSettings())
    (looked,) = lookup_engine(backbone, batch, scheme, GenerationSettings())
    (fast,) = fast_engine(backbone, batch, scheme, GenerationSettings(engine="fast", drafts=8))
    assert plain is not None and looked is not None and fast is not None
    assert looked.text == fast.text == plain.text
