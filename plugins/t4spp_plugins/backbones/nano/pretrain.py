"""Make nano's weights from generated scenes: ``python -m t4spp_plugins.backbones.nano.pretrain``.

Three stages, since localisation is what plateaus: the vision tower under dense supervision, then
the language model on answers cut after the box, then on whole descriptors. The picture's tokens
pass through the language model once and serve all prompts about it; the result is that of
separate conversations (a test holds it).

Shapes: S scenes, P prompts, N image tokens, T text tokens, D width, V vocabulary.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import DynamicCache, LlavaForConditionalGeneration

from t4spp.plugins import load_catalogue
from t4spp.schemes.base import Scheme
from t4spp_plugins.backbones.nano.batches import SceneBatches, SceneSplit, TextPlan
from t4spp_plugins.backbones.nano.dense import DenseHeads, dense_loss
from t4spp_plugins.backbones.nano.model import build_model, save_weights
from t4spp_plugins.backbones.nano.optimiser import PairedOptimiser
from t4spp_plugins.backbones.nano.vocabulary import build_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

NUM_STEPS = 1000
NUM_VAL_BATCHES = 4


class Stage(BaseModel):
    """One stage of pretraining."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["vision", "boxes", "masks"]
    steps: int = Field(ge=1)
    scenes: int = Field(16, ge=1)
    """Scenes a step."""
    prompts: int = Field(6, ge=1)
    """Conversations a scene."""
    learning_rate: float = Field(2e-3, gt=0)
    tower_rate: float = Field(1.0, ge=0, le=1)
    """Learning rate of the vision tower, as a share of the stage's."""
    dense_weight: float = Field(1.0, ge=0)
    """Weight of the dense loss beside the language loss."""
    sigma: float = Field(4.0, gt=0)
    """Standard deviation of smoothed coordinate targets, in steps of 0..999."""
    decay: float = Field(0.4, ge=0, le=1)
    """Share of the stage, at its end, in which the learning rate falls to zero."""


class PretrainConfig(BaseModel):
    """What made nano's weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    scheme: dict[str, Any] = {"name": "next-brick", "params": {}}
    recipe: dict[str, Any] = {"name": "refshapes", "params": {}}
    stages: tuple[Stage, ...]
    fixed: float = 0.7
    """Share of conversations with the first template."""
    prompt_blind: bool = False
    """Hide the prompt: the baseline of docs/log.md, never what ships."""
    num_threads: int = 2
    bfloat16: bool = True


class Learner(nn.Module):
    """nano and its throw-away dense heads."""

    def __init__(self, model: LlavaForConditionalGeneration, heads: DenseHeads) -> None:
        """Keep both."""
        super().__init__()
        self.model, self.heads = model, heads

    def tower(self, images: Tensor) -> Tensor:
        """uint8[S, 128, 128, 3] -> features float[S, N, C]."""
        pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
        features: Tensor = self.model.model.vision_tower(pixels).last_hidden_state
        return features

    def text_hidden(
        self, features_SNC: Tensor, ids_BT: Tensor, told_BT: Tensor, longest_short: int = 96
    ) -> Tensor:
        """Hidden states float[M, D] at the places ``told_BT`` of B = S * P conversations.

        The pictures pass once; rows of at most ``longest_short`` tokens and longer ones go
        through apart, so that a few long answers do not pad all others.
        """
        language = self.model.model.language_model
        image_SND = self.model.model.multi_modal_projector(features_SNC)
        scenes, tokens = image_SND.shape[:2]
        prefix = language(inputs_embeds=image_SND, use_cache=True, past_key_values=DynamicCache())
        lengths = (ids_BT != self.model.config.pad_token_id).sum(1)
        scene_of_row = torch.arange(len(ids_BT)) // (len(ids_BT) // scenes)
        hidden_BTD = image_SND.new_zeros((*ids_BT.shape, image_SND.shape[2]))
        for rows in (
            torch.nonzero(lengths <= longest_short).flatten(),
            torch.nonzero(lengths > longest_short).flatten(),
        ):
            if len(rows) == 0:
                continue
            length = int(lengths[rows].max())
            cache = DynamicCache()
            for layer, kept in enumerate(prefix.past_key_values.layers):
                whose = scene_of_row[rows]
                cache.update(kept.keys[whose], kept.values[whose], layer)
            ids = ids_BT[rows, :length]
            mask = torch.ones((len(rows), tokens + length), dtype=torch.int64)
            mask[:, tokens:] = ids != self.model.config.pad_token_id
            found: Tensor = language(
                inputs_embeds=self.model.get_input_embeddings()(ids),
                attention_mask=mask,
                position_ids=torch.arange(tokens, tokens + length).expand(len(rows), length),
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            padded = F.pad(found, (0, 0, 0, ids_BT.shape[1] - length)).to(hidden_BTD.dtype)
            hidden_BTD = hidden_BTD.index_copy(0, rows, padded)
        return hidden_BTD[told_BT]


def text_loss(
    logits_MV: Tensor, labels_M: Tensor, first_step: int, sigma: float
) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of answer tokens, coordinates against a Gaussian around the true step.

    Coordinates weigh 3, other scheme tokens 1, words 0.3.

    Returns:
        A scalar, and readings: share of coordinates within one pixel in 128 (8 steps), mean
        coordinate error in steps, accuracy of bricks and of words (all with the true tokens
        before them).
    """
    log_MV = logits_MV.float().log_softmax(-1)
    steps = labels_M - first_step
    located = (steps >= 0) & (steps < NUM_STEPS)
    brick = steps >= NUM_STEPS
    losses = F.nll_loss(log_MV, labels_M, reduction="none")
    log_steps = log_MV[located][:, first_step : first_step + NUM_STEPS]
    truth = steps[located]
    axis = torch.arange(NUM_STEPS)
    soft = torch.softmax(-((axis - truth[:, None]) ** 2) / (2 * sigma**2), dim=-1)
    losses = losses.index_put((located,), -(soft * log_steps).sum(-1))
    weight = torch.where(located, 3.0, torch.where(brick, 1.0, 0.3))
    with torch.no_grad():
        chosen = log_MV.argmax(-1)
        right = (chosen == labels_M).float()
        error = (log_steps.argmax(-1) - truth).abs().float()
        words = ~located & ~brick
        readings = {
            "within_pixel": (error <= 8).float().mean().item(),
            "loc_error": error.mean().item(),
            "bricks": right[brick].mean().item() if brick.any() else 0.0,
            "words": right[words].mean().item(),
        }
    return (losses * weight).sum() / weight.sum(), readings


class Pretraining:
    """The stages over one learner, with checkpoints between them."""

    def __init__(self, config: PretrainConfig, folder: Path) -> None:
        """Build the learner; ``folder`` receives logs, states and the weights."""
        self.config, self.folder = config, folder
        folder.mkdir(parents=True, exist_ok=True)
        catalogue = load_catalogue()
        self.scheme: Scheme = catalogue.build(
            "scheme", config.scheme["name"], config.scheme.get("params", {})
        )
        self.catalogue = catalogue
        tokenizer = build_tokenizer(self.scheme.special_tokens)
        self.tokenizer: PreTrainedTokenizerBase = tokenizer
        model = build_model(tokenizer, config.seed)
        split = self.split("train", 1)()
        difficulty = split.params.scene_difficulty  # type: ignore[attr-defined]
        self.colours, self.shapes = tuple(difficulty.colours), tuple(difficulty.shapes)
        torch.manual_seed(config.seed)
        width = model.config.vision_config.hidden_size
        self.learner = Learner(model, DenseHeads(width, len(self.colours), len(self.shapes)))
        self.first_step = int(tokenizer.convert_tokens_to_ids("<|loc0|>"))

    def split(self, name: str, prompts: int) -> Any:
        """A function that makes the split; workers call it themselves."""
        params = {
            **self.config.recipe.get("params", {}),
            "num_scenes": {"train": 10_000_000, "val": 100_000},
            "prompts_per_scene": prompts,
        }
        recipe = self.catalogue.build("recipe", self.config.recipe["name"], params)

        def make() -> SceneSplit:
            split: SceneSplit = recipe.samples(name)
            return split

        return make

    def batches(self, stage: Stage, name: str, first: int, number: int) -> SceneBatches:
        """Batches of a stage."""
        plan = None
        if stage.name != "vision":
            plan = TextPlan(
                tokenizer=self.tokenizer,
                scheme=self.scheme,
                prompts=stage.prompts,
                fixed=self.config.fixed,
                box_only=stage.name == "boxes",
                prompt_blind=self.config.prompt_blind,
                seed=self.config.seed,
            )
        return SceneBatches(
            self.split(name, stage.prompts),
            first=first,
            num_batches=number,
            scenes=stage.scenes,
            colours=self.colours,
            shapes=self.shapes,
            plan=plan,
        )

    def loss(self, stage: Stage, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The loss of one batch, and its readings."""
        enabled = self.config.bfloat16
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            features = self.learner.tower(batch["images"])
            outputs = self.learner.heads(features)
            dense, readings = dense_loss(outputs, batch)
            if stage.name == "vision":
                return dense, readings
            told = F.pad(batch["labels"][:, 1:], (0, 1), value=-100)
            hidden = self.learner.text_hidden(features, batch["ids"], told != -100)
            logits = self.learner.model.lm_head(hidden)
        labels = told[told != -100]
        language, more = text_loss(logits, labels, self.first_step, stage.sigma)
        keep = {name: readings[name] for name in ("shape", "edge_within_1")}
        return language + stage.dense_weight * dense, {**more, **keep, "text": language.item()}

    def run(self, stage: Stage, first_scene: int) -> None:
        """One stage, from scene number ``first_scene`` on."""
        model = self.learner.model
        rest = [model.model.language_model, model.model.multi_modal_projector, model.lm_head]
        groups: list[tuple[nn.Module, float]] = [(model.model.vision_tower, stage.tower_rate)]
        groups.append((self.learner.heads, 1.0))
        if stage.name != "vision":
            groups += [(module, 1.0) for module in rest]
        optimiser = PairedOptimiser(
            groups, learning_rate=stage.learning_rate, steps=stage.steps, decay=stage.decay
        )
        val = list(self.batches(stage, "val", 50_000, NUM_VAL_BATCHES))
        loader = DataLoader(
            self.batches(stage, "train", first_scene, stage.steps),
            batch_size=None,
            num_workers=1,
            prefetch_factor=8,
        )
        began, total = time.time(), 0.0
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as events:
            for step, batch in enumerate(self._progress(loader, stage), start=1):
                loss, readings = self.loss(stage, batch)
                loss.backward()  # type: ignore[no-untyped-call]
                norm = optimiser.step()
                total += float(loss.detach())
                if step % 50 == 0 or step == stage.steps:
                    seconds = round(time.time() - began)
                    line = {"stage": stage.name, "step": step, "seconds": seconds, "norm": norm}
                    line |= {"loss": total / (step % 50 or 50), **readings}
                    total = 0.0
                    events.write(json.dumps(line) + "\n")
                    events.flush()
                if step % 300 == 0 or step == stage.steps:
                    line = {"stage": stage.name, "step": step, "val": self.validate(stage, val)}
                    events.write(json.dumps(line) + "\n")
                    events.flush()
                    self.save(stage)

    def _progress(self, loader: Any, stage: Stage) -> Iterator[dict[str, Tensor]]:
        yield from tqdm(loader, total=stage.steps, desc=stage.name, mininterval=10)

    def validate(self, stage: Stage, batches: list[dict[str, Tensor]]) -> dict[str, float]:
        """Mean readings over held-out scenes."""
        with torch.no_grad():
            found = [self.loss(stage, batch) for batch in batches]
        mean = {name: sum(r[name] for _, r in found) / len(found) for name in found[0][1]}
        return {"loss": sum(float(loss) for loss, _ in found) / len(found), **mean}

    def state_file(self, stage: Stage) -> Path:
        """Where a stage's weights are kept."""
        return self.folder / f"{stage.name}.safetensors"

    def save(self, stage: Stage) -> None:
        """Keep the learner's weights in full precision, and the package's files."""
        state = {name: value.contiguous() for name, value in self.learner.state_dict().items()}
        save_file(state, self.state_file(stage))
        save_weights(self.learner.model, self.tokenizer, self.folder / "weights")

    def resume(self, path: Path) -> None:
        """Read what ``save`` kept."""
        self.learner.load_state_dict(load_file(path))


def main(argv: list[str] | None = None) -> int:
    """Run the stages of a config file that ``--from`` does not skip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="JSON of PretrainConfig")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--start", default=None, help="first stage to run; earlier ones are read")
    parser.add_argument("--init", type=Path, default=None, help="weights to start from instead")
    arguments = parser.parse_args(argv)
    config = PretrainConfig.model_validate_json(arguments.config.read_text(encoding="utf-8"))
    torch.set_num_threads(config.num_threads)
    pretraining = Pretraining(config, arguments.output)
    if arguments.init:
        pretraining.resume(arguments.init)
    names = [stage.name for stage in config.stages]
    skip = names.index(arguments.start) if arguments.start else 0
    first_scene = 0
    for number, stage in enumerate(config.stages):
        if number >= skip:
            if number == skip and skip > 0:
                pretraining.resume(pretraining.state_file(config.stages[skip - 1]))
            pretraining.run(stage, first_scene)
        first_scene += stage.steps * stage.scenes
    (arguments.output / "weights" / "pretrain.json").write_text(
        config.model_dump_json(indent=2) + "\n", encoding="utf-8"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
