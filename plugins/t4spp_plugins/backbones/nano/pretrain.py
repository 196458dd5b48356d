"""Make nano's weights from generated scenes: ``python -m t4spp_plugins.backbones.nano.pretrain``.

Two kinds of stages, since localisation is what plateaus: the vision tower under dense supervision,
then everything on descriptors, some of them cut after the box. The picture's tokens pass through
the language model once and serve all prompts about it; the result is that of separate
conversations (a test holds it).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from t4spp.errors import ConfigError
from t4spp.plugins import load_catalogue
from t4spp.schemes.base import SEG_OPEN
from t4spp.schemes.box_wise import BoxWise
from t4spp.schemes.brick_tokens import FIRST_COORDINATE
from t4spp.schemes.next_brick import NextBrick
from t4spp_plugins.backbones.nano.batches import SceneBatches, SceneSplit, TextPlan
from t4spp_plugins.backbones.nano.dense import DenseHeads
from t4spp_plugins.backbones.nano.learner import Learner
from t4spp_plugins.backbones.nano.model import (
    build_model,
    load_weights,
    save_weights,
    settle_coordinates,
)
from t4spp_plugins.backbones.nano.objective import Objective
from t4spp_plugins.backbones.nano.optimiser import PairedOptimiser
from t4spp_plugins.backbones.nano.slips import Slips
from t4spp_plugins.backbones.nano.stages import PretrainConfig, Stage
from t4spp_plugins.backbones.nano.vocabulary import build_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NUM_VAL_BATCHES = 4


class Pretraining:
    """The stages over one learner, with checkpoints between them."""

    def __init__(self, config: PretrainConfig, folder: Path) -> None:
        """Build the learner; ``folder`` receives logs, states and the weights."""
        self.config, self.folder = config, folder
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        processes = dist.get_world_size() if dist.is_initialized() else 1
        if processes != config.num_processes:
            raise ConfigError(
                f"num_processes is {config.num_processes}, but {processes} run. Start with "
                f"torchrun --nproc-per-node {config.num_processes} -m {__spec__.name} ..."
            )
        catalogue = load_catalogue()
        self.catalogue = catalogue
        scheme = catalogue.build("scheme", config.scheme["name"], config.scheme.get("params", {}))
        tokenizer = build_tokenizer(scheme.special_tokens)
        first_step = tokenizer.vocab.get(FIRST_COORDINATE)
        if not isinstance(scheme, BoxWise) or first_step is None:
            raise ConfigError(
                f"nano is pretrained on a box-wise scheme with coordinate tokens, and "
                f"{scheme.name!r} is none. Use next-brick with coordinates=tokens."
            )
        self.scheme = scheme
        self.tokenizer: PreTrainedTokenizerBase = tokenizer
        for stage in config.stages:
            self.slips(stage)
        folder.mkdir(parents=True, exist_ok=True)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = build_model(tokenizer, config.seed)
        if self.device.type == "cpu":
            # the fused attention is slower there, in bfloat16 and for answers this short
            model.set_attn_implementation({"text_config": "eager"})
        split = self.split("train", 1)()
        difficulty = split.params.scene_difficulty
        self.colours, self.shapes = tuple(difficulty.colours), tuple(difficulty.shapes)
        torch.manual_seed(config.seed)
        width = model.config.vision_config.hidden_size
        heads = DenseHeads(width, len(self.colours), len(self.shapes))
        self.learner = Learner(model, heads, scheme.shape).to(self.device)
        self.objective = Objective(
            learner=self.learner,
            shape=scheme.shape,
            first_step=int(first_step),
            opening=int(tokenizer.convert_tokens_to_ids(SEG_OPEN)),
            bfloat16=config.bfloat16,
        )

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
        """This process's share of a stage's batches."""
        processes = self.config.num_processes
        scenes, more_scenes = stage.scenes // processes, stage.more_scenes // processes
        plan = None
        if stage.name != "vision":
            plan = TextPlan(
                tokenizer=self.tokenizer,
                scheme=self.scheme,
                prompts=stage.prompts,
                fixed=self.config.fixed,
                box_share=stage.box_share,
                seed=self.config.seed,
                slips=self.slips(stage) if name == "train" else None,
            )
        return SceneBatches(
            self.split(name, stage.prompts),
            first=first + self.rank * number * (scenes + more_scenes),
            num_batches=number,
            scenes=scenes,
            more_scenes=more_scenes,
            colours=self.colours,
            shapes=self.shapes,
            plan=plan,
        )

    def slips(self, stage: Stage) -> Slips | None:
        """What makes a stage's slips; held-out answers have none.

        Raises:
            ConfigError: the scheme's answers cannot be written with slips.
        """
        if stage.edge_slips == stage.brick_slips == 0:
            return None
        scheme = self.scheme
        if not isinstance(scheme, NextBrick) or scheme.row_mark or not scheme.params.keep_small:
            raise ConfigError(
                "edge_slips and brick_slips rewrite answers of next-brick without row_marks and "
                f"with keep_small; the scheme is {scheme.name!r} with {scheme.params}. Leave them "
                "at 0, or use that."
            )
        return Slips(scheme, self.tokenizer, edges=stage.edge_slips, bricks=stage.brick_slips)

    def run(self, stage: Stage, first_scene: int) -> None:
        """One stage, from scene number ``first_scene`` on."""
        model = self.learner.model
        rest = [model.model.language_model, model.model.multi_modal_projector, model.lm_head]
        groups: list[tuple[nn.Module, float]] = [(model.model.vision_tower, stage.tower_rate)]
        groups.append((self.learner.heads, 1.0))
        if stage.name != "vision":
            rest += [self.learner.cursor, self.learner.near, self.learner.far]
            groups += [(module, 1.0) for module in rest]
        optimiser = PairedOptimiser(
            groups, learning_rate=stage.learning_rate, steps=stage.steps, decay=stage.decay
        )
        val = list(self.batches(stage, "val", 50_000, NUM_VAL_BATCHES))
        loader = DataLoader(
            self.batches(stage, "train", first_scene, stage.steps),
            batch_size=None,
            num_workers=self.config.num_workers,
            prefetch_factor=8,
        )
        began, total = time.time(), 0.0
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as events:
            for step, batch in enumerate(self._progress(loader, stage), start=1):
                loss, readings = self.objective(stage, self._placed(batch))
                loss.backward()
                norm = optimiser.step()
                total += float(loss.detach())
                if step == stage.steps and stage.name != "vision":
                    settle_coordinates(model, self.tokenizer)
                if self.rank != 0:
                    continue
                if step % 50 == 0 or step == stage.steps:
                    seconds = round(time.time() - began)
                    line = {"stage": stage.name, "step": step, "seconds": seconds, "norm": norm}
                    line |= {"loss": total / (step % 50 or 50), **readings}
                    total = 0.0
                    events.write(json.dumps(line) + "\n")
                    events.flush()
                if step % 300 == 0 or step == stage.steps:
                    held_out = self.validate(stage, val)
                    said = {"stage": stage.name, "step": step, "val": held_out}
                    events.write(json.dumps(said) + "\n")
                    events.flush()
                    self.save(stage)

    def _placed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(self.device) for name, value in batch.items()}

    def _progress(self, loader: Any, stage: Stage) -> Iterator[dict[str, Tensor]]:
        quiet = self.rank != 0
        yield from tqdm(loader, total=stage.steps, desc=stage.name, mininterval=10, disable=quiet)

    def validate(self, stage: Stage, batches: list[dict[str, Tensor]]) -> dict[str, float]:
        """Mean readings over held-out scenes."""
        with torch.no_grad():
            found = [self.objective(stage, self._placed(batch)) for batch in batches]
        mean = {name: sum(r[name] for _, r in found) / len(found) for name in found[0][1]}
        return {"loss": sum(float(loss) for loss, _ in found) / len(found), **mean}

    def start_from_average(self, shares: dict[int, float]) -> None:
        """Average what several stages left, weight by weight (model soups: Wortsman et al. 2022).

        Throw-away heads that not all of them have stay as they are.
        """
        files = [self.state_file(self.config.stages[number]) for number in shares]
        states = [load_file(path) for path in files]
        shared = set(states[0]).intersection(*states[1:])
        mean = {
            name: sum(
                share * state[name] for share, state in zip(shares.values(), states, strict=True)
            )
            for name in shared
        }
        self.learner.load_state_dict(mean, strict=False)

    def state_file(self, stage: Stage) -> Path:
        """Where a stage's weights are kept."""
        number = next(n for n, known in enumerate(self.config.stages) if known is stage)
        return self.folder / f"{number}-{stage.name}.safetensors"

    def save(self, stage: Stage) -> None:
        """Keep the learner's weights in full precision, and the package's files."""
        state = {name: value.contiguous() for name, value in self.learner.state_dict().items()}
        save_file(state, self.state_file(stage))
        save_weights(self.learner.model, self.tokenizer, self.folder / "weights")

    def resume(self, path: Path) -> None:
        """Read what ``save`` kept: a stage's file, or a folder of weights.

        Throw-away heads that are not in there are anew.

        Raises:
            ConfigError: it is of another model.
        """
        if path.is_dir():
            load_weights(self.learner.model, path)
        else:
            own = {name: value.shape for name, value in self.learner.state_dict().items()}
            state = load_file(path)
            wrong = [name for name, value in state.items() if own.get(name) != value.shape]
            wrong += [name for name in own if name.startswith("model.") and name not in state]
            if wrong:
                raise ConfigError(
                    f"{path} is no state of this model: {len(wrong)} of its weights are missing, "
                    f"unknown or of another shape, such as {wrong[0]}. Start from a state that a "
                    "stage with the same scheme and recipe left, or from a folder of weights."
                )
            self.learner.load_state_dict(state, strict=False)


def main(argv: list[str] | None = None) -> int:
    """Run the stages of a config file that ``--first-stage`` does not skip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="JSON of PretrainConfig")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument(
        "--first-stage",
        type=int,
        default=0,
        help="number of the first stage to run; what the stage before it left is read",
    )
    parser.add_argument(
        "--init",
        type=Path,
        default=None,
        help="a stage's file or a folder of weights to start from",
    )
    arguments = parser.parse_args(argv)
    config = PretrainConfig.model_validate_json(arguments.config.read_text(encoding="utf-8"))
    torch.set_num_threads(config.num_threads)
    if config.num_processes > 1 and "RANK" in os.environ:
        dist.init_process_group("gloo")
    pretraining = Pretraining(config, arguments.output)
    if arguments.init:
        pretraining.resume(arguments.init)
    skip: int = arguments.first_stage
    first_scene = 0
    for number, stage in enumerate(config.stages):
        if number >= skip:
            if number == skip and skip > 0 and arguments.init is None:
                pretraining.resume(pretraining.state_file(config.stages[skip - 1]))
            if stage.average:
                pretraining.start_from_average(stage.average)
            pretraining.run(stage, first_scene)
        first_scene += stage.steps * (stage.scenes + stage.more_scenes)
    if pretraining.rank == 0:
        (arguments.output / "weights" / "pretrain.json").write_text(
            config.model_dump_json(indent=2) + "\n", encoding="utf-8"
        )
    if dist.is_initialized():
        dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
