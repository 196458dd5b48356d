"""What pretraining lowers: the tower's dense loss, the answers' loss, and what guides them.

Shapes: M positions that write a brick.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from t4spp.schemes.box_wise import STEPS
from t4spp_plugins.backbones.guiding import place_loss, token_shares
from t4spp_plugins.backbones.nano.dense import PATCH, dense_loss
from t4spp_plugins.backbones.nano.guides import cursor_loss
from t4spp_plugins.backbones.nano.learner import (
    FAR_LAYER,
    LAST_LAYER,
    NEAR_LAYER,
    REGION_HEAD,
    RUN_HEAD,
    Learner,
    Passed,
    pointing_loss,
    text_loss,
)
from t4spp_plugins.backbones.nano.model import IMAGE_SIZE
from t4spp_plugins.backbones.nano.stages import Stage

Reading = tuple[Tensor, float]
"""A loss, and a share that tells how well it goes."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The weighted sum of a stage's losses.

    Attributes:
        learner: nano and its throw-away heads.
        shape: rows and columns of a region's grid.
        first_step: id of the coordinate 0; the other coordinates follow it, bricks behind them.
        opening: id of the word that opens a descriptor.
        bfloat16: whether products are taken in bfloat16.
    """

    learner: Learner
    shape: tuple[int, int]
    first_step: int
    opening: int
    bfloat16: bool

    def __call__(self, stage: Stage, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The loss of one batch, a scalar, and its readings.

        Args:
            stage: tells the weights.
            batch: as :class:`SceneBatches` makes them, on the learner's device.
        """
        device = batch["images"].device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.bfloat16):
            features = self.learner.tower(batch["images"])
            dense, seen = dense_loss(self.learner.heads(features), batch)
            if stage.name == "vision":
                return dense, seen
            texts = len(batch["ids"]) // stage.prompts
            passed = self.learner.read_text(features[:texts], batch["ids"])
            told = F.pad(batch["labels"][:, 1:], (0, 1), value=-100)
            logits = self.learner.model.lm_head(passed.hidden[told != -100])
            guides = self._guides(stage, batch, passed, told)
        language, readings = text_loss(
            logits,
            told[told != -100],
            (batch["ids"] == self.opening)[told != -100],
            self.first_step,
            stage.sigma,
            stage.brick_weight,
        )
        total = language + stage.dense_weight * dense
        for name, (weight, (loss, share)) in guides.items():
            total = total + weight * loss
            readings[name] = share
        readings |= {name: seen[name] for name in ("shape", "edge_within_1")}
        return total, {**readings, "text": language.item()}

    def _guides(
        self, stage: Stage, batch: dict[str, Tensor], passed: Passed, told: Tensor
    ) -> dict[str, tuple[float, Reading]]:
        """Each guide's weight, loss and reading; see :mod:`guides` and :class:`Stage`."""
        learner = self.learner
        fills = batch["cursor"] >= 0
        runs_M3 = batch["runs"][fills]
        filled = learner.cursor(passed.entering[stage.cursor_layer][fills])
        near = learner.near(passed.entering[FAR_LAYER][fills])
        far = learner.far(passed.entering[LAST_LAYER][fills])

        def looks(layer: int, axes: tuple[int, int]) -> Reading:
            return pointing_loss(
                learner.looked(passed, fills, layer, RUN_HEAD),
                token_shares(runs_M3[:, axes], IMAGE_SIZE // PATCH),
            )

        return {
            "on_target": (stage.pointing_weight, self._pointing(stage, batch, passed, told)),
            "on_start": (stage.start_weight, looks(NEAR_LAYER, (0, 1))),
            "on_end": (stage.run_weight, looks(FAR_LAYER, (0, 2))),
            "read_start": (stage.reading_weight, place_loss(near, runs_M3[:, :2])),
            "read_end": (stage.reading_weight, place_loss(far, runs_M3[:, 2:])),
            "counted": (
                stage.cursor_weight,
                cursor_loss(filled, batch["cursor"][fills], self.shape),
            ),
        }

    def _pointing(
        self, stage: Stage, batch: dict[str, Tensor], passed: Passed, told: Tensor
    ) -> Reading:
        """Where one head looks until the first region's box is written."""
        located = (told >= self.first_step) & (told < self.first_step + STEPS)
        upto_box = located.cumsum(1) <= 4
        asked = located & upto_box
        if stage.point_from == "answer":
            after_box = (located.cumsum(1) == 4) & ~located
            asked = (told != -100) & upto_box & ~after_box
        asked &= (batch["point"].sum(1) > 0)[:, None]
        wanted = batch["point"][torch.nonzero(asked)[:, 0]]
        return pointing_loss(self.learner.looked(passed, asked, FAR_LAYER, REGION_HEAD), wanted)
