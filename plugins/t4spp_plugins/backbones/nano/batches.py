"""Pretraining's data: generated scenes with dense targets and several conversations each.

Shapes: S scenes a batch, P prompts a scene, N image tokens, T text tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import IterableDataset, get_worker_info

from t4spp.data.conversations import ConversationBuilder
from t4spp.schemes.box_wise import STEPS, BoxWise
from t4spp.schemes.brick_tokens import FIRST_COORDINATE
from t4spp.schemes.region_wise import in_order
from t4spp.seeds import seed_from
from t4spp.types import BoolMask, Box, Sample
from t4spp_plugins.backbones.nano.dense import PATCH, SceneObject, dense_targets
from t4spp_plugins.backbones.nano.guides import Guide
from t4spp_plugins.backbones.nano.model import IMAGE_SIZE
from t4spp_plugins.backbones.nano.slips import Slips
from t4spp_plugins.backbones.nano.vocabulary import ASSISTANT, END, USER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Scene(Protocol):
    """What pretraining needs of a generated scene."""

    objects: Sequence[SceneObject]

    def render(self) -> Any:
        """uint8[128, 128, 3]."""


class SceneSplit(Protocol):
    """A split of a recipe that generates scenes; sample ``scene * prompts + prompt``."""

    def scene(self, index: int) -> Scene:
        """The scene number ``index``."""

    def __getitem__(self, index: int) -> Sample:
        """A sample."""


@dataclass(frozen=True, kw_only=True)
class TextPlan:
    """How samples become text.

    Attributes:
        tokenizer: has learnt the scheme's tokens.
        scheme: writes the descriptors.
        prompts: conversations a scene.
        fixed: share of conversations with the first template; the others vary.
        box_share: share of a scene's conversations, its first ones, whose answers are cut after the
            first region's four coordinates.
        seed: of the wording and the slips.
        slips: rewrites the answers that are not cut, if any.
    """

    tokenizer: PreTrainedTokenizerBase
    scheme: BoxWise
    prompts: int
    fixed: float
    box_share: float
    seed: int
    slips: Slips | None = None


class SceneBatches(IterableDataset[dict[str, torch.Tensor]]):
    """``num_batches`` batches of scenes from ``first`` on; without a plan, images only."""

    def __init__(
        self,
        make_split: Callable[[], SceneSplit],
        *,
        first: int,
        num_batches: int,
        scenes: int,
        more_scenes: int = 0,
        colours: Sequence[str],
        shapes: Sequence[str],
        plan: TextPlan | None = None,
    ) -> None:
        """See the class."""
        super().__init__()
        self.make_split, self.first, self.num_batches = make_split, first, num_batches
        self.scenes, self.more_scenes = scenes, more_scenes
        self.colours, self.shapes, self.plan = colours, shapes, plan

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """The batches in order, whatever the number of workers.

        Pictures ``images`` uint8[S, 128, 128, 3] and dense targets, and with a plan text; behind
        those, ``more_scenes`` pictures and targets without text.

        Text is ``ids`` and ``labels`` int64[S * P, T], ``point`` float32[S * P, N], and the
        guides ``cursor`` int64[S * P, T] and ``runs`` float32[S * P, T, 3].
        """
        split = self.make_split()
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for batch in range(first, self.num_batches, step):
            drawn = self.scenes + self.more_scenes
            start = self.first + batch * drawn
            scenes = [split.scene(start + offset) for offset in range(drawn)]
            images = np.stack([scene.render() for scene in scenes])
            dense = [
                dense_targets(scene.objects, self.colours, self.shapes, IMAGE_SIZE)
                for scene in scenes
            ]
            tensors = {"images": torch.from_numpy(images)}
            for name in dense[0]:
                tensors[name] = torch.from_numpy(np.stack([one[name] for one in dense]))
            if self.plan is not None:
                tensors.update(self._texts(split, start, self.plan))
            yield tensors

    def _texts(self, split: SceneSplit, start: int, plan: TextPlan) -> dict[str, torch.Tensor]:
        builders = [
            ConversationBuilder(plan.scheme, "fixed", plan.seed),
            ConversationBuilder(plan.scheme, "varied", plan.seed),
        ]
        guide = Guide(plan.tokenizer, plan.scheme.shape)
        rows, points = [], []
        for index in range(start * plan.prompts, (start + self.scenes) * plan.prompts):
            builder = builders[index % 100 >= 100 * plan.fixed]
            sample = split[index]
            conversation = builder.build(sample, training=True)
            assert conversation is not None and conversation.answer is not None
            cut = index % plan.prompts < plan.box_share * plan.prompts
            masks = _masks(sample)
            prompt, answer = _ids(plan, conversation.question, conversation.answer, cut=cut)
            wanted = answer
            if plan.slips is not None and not cut:
                rng = np.random.default_rng(seed_from(plan.seed, "slips", index))
                answer, wanted = plan.slips(answer, masks, rng)
            rows.append((prompt, answer, wanted))
            points.append(_point(masks))
        longest = max(len(prompt) + len(answer) for prompt, answer, _ in rows)
        ids = torch.full((len(rows), longest), int(plan.tokenizer.pad_token_id))
        labels = torch.full_like(ids, -100)
        cursor = torch.full_like(ids, -1)
        runs = torch.zeros((*ids.shape, 3))
        for place, (prompt, answer, wanted) in enumerate(rows):
            length = len(prompt) + len(answer)
            ids[place, :length] = torch.tensor(prompt + answer)
            labels[place, len(prompt) : length] = torch.tensor(wanted)
            filled, where = guide(prompt + answer, prompt + wanted)
            cursor[place, :length] = torch.from_numpy(filled)
            runs[place, :length] = torch.from_numpy(where)
        point = torch.from_numpy(np.stack(points))
        return {"ids": ids, "labels": labels, "point": point, "cursor": cursor, "runs": runs}


def _masks(sample: Sample) -> list[BoolMask]:
    """The masks that an answer writes, in its regions' order."""
    boxes = [(Box.of_mask(target.mask), target.mask) for target in sample.targets]
    return in_order((box, mask) for box, mask in boxes if box is not None)


def _point(masks: Sequence[BoolMask]) -> npt.NDArray[np.float32]:
    """Where the first region lies: float32[N], shares of its pixels by token; 0 without target."""
    side = IMAGE_SIZE // PATCH
    if not masks:
        return np.zeros(side * side, dtype=np.float32)
    counts = masks[0].reshape(side, PATCH, side, PATCH).sum(axis=(1, 3)).astype(np.float32)
    return (counts / counts.sum()).reshape(side * side)


def _ids(plan: TextPlan, question: str, answer: str, *, cut: bool) -> tuple[list[int], list[int]]:
    tokenizer = plan.tokenizer
    control = tokenizer.convert_tokens_to_ids
    words = tokenizer(question, add_special_tokens=False)["input_ids"]
    prompt = [control(USER), *words, control(ASSISTANT)]
    ids = [*tokenizer(answer, add_special_tokens=False)["input_ids"], control(END)]
    if cut:
        first = tokenizer.vocab[FIRST_COORDINATE]
        located = [place for place, token in enumerate(ids) if first <= token < first + STEPS]
        if located:
            ids = ids[: located[3] + 1]
    return prompt, ids
