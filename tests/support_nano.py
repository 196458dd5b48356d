"""What the tests of nano share: conversations, loaded backbones, pretraining's batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from t4spp.data.conversation import Conversation
from t4spp.schemes.next_brick import NextBrick
from t4spp.testing import build_scheme
from t4spp_plugins.backbones.nano.backbone import NanoBackbone
from t4spp_plugins.backbones.nano.batches import SceneBatches, TextPlan
from t4spp_plugins.backbones.nano.config import NanoConfig
from t4spp_plugins.backbones.nano.slips import Slips
from t4spp_recipes.synthetic.params import COLOURS, SHAPE_NAMES, RefShapesParams
from t4spp_recipes.synthetic.refshapes import RefShapes

PAD, IMAGE, USER, ASSISTANT, END = range(5)
NUM_IMAGE = 256
ANSWER = "Here it is.\n<seg>the dog<|loc1|><|loc22|><|loc333|><|loc999|><|bg4|><|fg12|></seg>"
COLOUR_NAMES = tuple(COLOURS)


def talk(
    question: str = "Segment the dog.",
    answer: str | None = ANSWER,
    size: tuple[int, int] = (128, 128),
    seed: int = 0,
    name: str = "a",
) -> Conversation:
    picture = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Conversation(
        id=name, question=question, answer=answer, size=size, load_image=lambda: picture
    )


def loaded(folder: Path, tokens: Sequence[str] = (), **params: Any) -> NanoBackbone:
    backbone = NanoBackbone(NanoConfig(weights=folder, **params))
    backbone.load(tokens)
    return backbone


def batches_of(
    *,
    first: int,
    num_batches: int,
    scenes: int,
    more_scenes: int = 0,
    plan: TextPlan | None = None,
) -> SceneBatches:
    recipe = RefShapes(RefShapesParams(prompts_per_scene=4))
    return SceneBatches(
        lambda: recipe.samples("train"),
        first=first,
        num_batches=num_batches,
        scenes=scenes,
        more_scenes=more_scenes,
        colours=COLOUR_NAMES,
        shapes=SHAPE_NAMES,
        plan=plan,
    )


def batch_of(
    nano: NanoBackbone, *, box_share: float = 0.0, more_scenes: int = 0, slips: bool = False
) -> dict[str, Tensor]:
    scheme = build_scheme("next-brick")
    assert isinstance(scheme, NextBrick)
    plan = TextPlan(
        tokenizer=nano.tokenizer,
        scheme=scheme,
        prompts=4,
        fixed=0.5,
        box_share=box_share,
        seed=0,
        slips=Slips(scheme, nano.tokenizer, edges=0.5, bricks=0.2) if slips else None,
    )
    batches = batches_of(first=14, num_batches=1, scenes=2, more_scenes=more_scenes, plan=plan)
    (batch,) = batches
    return batch
