"""A refiner that asks a SAM about every region and keeps the coarse mask where that is safer."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from t4spp.components import Refiner
from t4spp.types import Decoded, Image, Region
from t4spp_plugins.refiners.configs import KEEP_CHOICES, PromptParams
from t4spp_plugins.refiners.frames import Frame
from t4spp_plugins.refiners.keeping import Blend, Outcome, blend
from t4spp_plugins.refiners.prompting import Proposal, SamModel, propose

Settled = tuple[Outcome, Region]


class PromptedRefiner(Refiner):
    """Refines by any SAM; a picture whose regions all stay coarse is not even encoded."""

    def __init__(self, model: SamModel, params: PromptParams) -> None:
        """Keep both; nothing is computed yet."""
        self.model = model
        self.params = params
        self._counts: Counter[Outcome] = Counter()

    def refine(self, image: Image, decoded: Decoded) -> Decoded:
        """See :class:`Refiner`; labels, boxes, cells and the order of regions are kept."""
        (settled,) = self._settled(image, decoded.regions, [self.params])
        self._counts.update(outcome for outcome, _ in settled)
        return dataclasses.replace(decoded, regions=tuple(region for _, region in settled))

    def refine_under(self, image: Image, decoded: Decoded, configs: Sequence[Any]) -> list[Decoded]:
        """See :class:`Refiner`; SAM is asked once for all configs that only keep differently."""
        return [
            dataclasses.replace(decoded, regions=tuple(region for _, region in settled))
            for settled in self._settled(image, decoded.regions, configs)
        ]

    def choices(self) -> Mapping[str, Sequence[Any]]:
        """The thresholds of keeping."""
        return KEEP_CHOICES

    def counters(self) -> Mapping[str, int]:
        """How many regions were refined, and how many kept their coarse mask for which reason."""
        return {outcome: self._counts[outcome] for outcome in sorted(self._counts)}

    def _settled(
        self, image: Image, regions: Sequence[Region], configs: Sequence[PromptParams]
    ) -> list[list[Settled]]:
        """What becomes of every region under every config."""
        settled: list[list[Settled]] = [[] for _ in configs]
        groups: dict[str, list[int]] = {}
        for number, config in enumerate(configs):
            groups.setdefault(config.model_dump_json(exclude=set(KEEP_CHOICES)), []).append(number)
        for numbers in groups.values():
            together = self._settled_alike(image, regions, [configs[n] for n in numbers])
            for number, found in zip(numbers, together, strict=True):
                settled[number] = found
        return settled

    def _settled_alike(
        self, image: Image, regions: Sequence[Region], configs: Sequence[PromptParams]
    ) -> list[list[Settled]]:
        """As :meth:`_settled`, for configs that prompt alike."""
        frame = self.model.frame((image.shape[0], image.shape[1]))
        settled: list[list[Settled]] = [[("kept_empty", r) for r in regions] for _ in configs]
        asked = []
        for position, region in enumerate(regions):
            reasons = [_reason_to_keep(region, frame, config) for config in configs]
            if None in reasons:
                asked.append(position)
            for own, reason in zip(settled, reasons, strict=True):
                own[position] = (reason or "refined", region)
        chosen = [regions[position] for position in asked]
        for proposal in propose(self.model, image, chosen, configs[0]):
            position = asked[proposal.position]
            region = regions[position]
            probability = torch.sigmoid(torch.from_numpy(proposal.logits)).numpy()
            blends: dict[float | None, Blend] = {}
            for own, config in zip(settled, configs, strict=True):
                if own[position][0] != "refined":
                    continue
                if config.reach not in blends:
                    blends[config.reach] = blend(region, probability, config.reach)
                own[position] = _decided(region, proposal, blends[config.reach], config)
        return settled


def _reason_to_keep(region: Region, frame: Frame, config: PromptParams) -> Outcome | None:
    """Why SAM need not be asked; None where it must be."""
    if not region.mask.any():
        return "kept_empty"
    if region.cell is None:
        return None
    height, width = region.cell
    cell = float((height * width) ** 0.5) / frame.pixels_per_logit
    return "kept_fine" if cell < config.min_cell else None


def _decided(region: Region, proposal: Proposal, found: Blend, config: PromptParams) -> Settled:
    if proposal.score < config.min_score:
        return "kept_unsure", region
    if found.agreement < config.min_agreement:
        return "kept_disagreeing", region
    if not found.mask.any():
        return "kept_empty", region
    return "refined", dataclasses.replace(region, mask=found.mask, soft=found.soft)
