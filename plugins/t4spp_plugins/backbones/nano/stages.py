"""What a pretraining of nano is told: its stages, and how they are shared."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Stage(BaseModel):
    """One stage of pretraining."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["vision", "text"]
    """``vision``: the tower alone; ``text``: everything."""
    steps: int = Field(ge=1)
    average: dict[int, float] = {}
    """Numbers of earlier stages, and their shares in the average of their weights that this one
    starts from; empty: it goes on with what the stage before left."""
    scenes: int = Field(16, ge=1)
    """Scenes a step."""
    more_scenes: int = Field(0, ge=0)
    """Scenes a step without text, for the dense loss alone."""
    prompts: int = Field(6, ge=1)
    """Conversations a scene."""
    box_share: float = Field(0.0, ge=0, le=1)
    """Share of a scene's conversations whose answers are cut after the first box."""
    edge_slips: float = Field(0.0, ge=0, le=1)
    """Share of a box's edges that stand in the text a pixel or more off; the bricks follow suit."""
    brick_slips: float = Field(0.0, ge=0, le=1)
    """Share of bricks that stand in the text a cell too short or too long, where there is room."""
    learning_rate: float = Field(2e-3, gt=0)
    tower_rate: float = Field(1.0, ge=0, le=1)
    """Learning rate of the vision tower, as a share of the stage's."""
    dense_weight: float = Field(1.0, ge=0)
    """Weight of the dense loss beside the language loss."""
    pointing_weight: float = Field(0.5, ge=0)
    """Weight of the loss that teaches one attention head where the first region lies."""
    point_from: Literal["answer", "coordinates"] = "coordinates"
    """Whether that holds from the answer's first token on or while coordinates are written."""
    run_weight: float = Field(0.0, ge=0)
    """Weight of the loss that teaches another head where the next brick's run ends."""
    start_weight: float = Field(0.0, ge=0)
    """Weight of the loss that teaches a head of the layer before where that run starts."""
    reading_weight: float = Field(0.0, ge=0)
    """Weight of the losses that teach, after those looks, where to the pixel the run starts and
    ends."""
    cursor_weight: float = Field(0.0, ge=0)
    """Weight of the loss that teaches how far a grid is filled."""
    cursor_layer: Literal[2, 3] = 3
    """The layer, from 0, before which that must be known."""
    sigma: float = Field(4.0, gt=0)
    """Standard deviation of smoothed coordinate targets, in steps of 0..999."""
    brick_weight: float = Field(1.0, gt=0)
    """Weight of a brick in the language loss; a coordinate weighs 3."""
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
    num_processes: int = 2
    """Processes that share each step's scenes; start them with ``torchrun``."""
    num_threads: int = 1
    """Threads a process."""
    num_workers: int = Field(1, ge=1)
    """Processes that draw scenes, for each training process."""
    bfloat16: bool = True

    @model_validator(mode="after")
    def _averages_are_of_earlier_stages(self) -> PretrainConfig:
        for number, stage in enumerate(self.stages):
            shares = stage.average
            if shares and (
                not all(0 <= other < number and share > 0 for other, share in shares.items())
                or abs(sum(shares.values()) - 1) > 1e-6
            ):
                raise ValueError(
                    f"stage {number}: average {shares} must name stages before it, with shares "
                    "above 0 that add up to 1"
                )
        return self

    @model_validator(mode="after")
    def _scenes_divide(self) -> PretrainConfig:
        for stage in self.stages:
            for scenes in (stage.scenes, stage.more_scenes):
                if scenes % self.num_processes:
                    raise ValueError(
                        f"stage {stage.name}: {scenes} scenes a step cannot be shared among "
                        f"{self.num_processes} processes; use a multiple"
                    )
        return self
