"""Registers the trackers that ship with t4spp."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from t4spp.components import Component
from t4spp.hookspecs import hookimpl


class WandbConfig(BaseModel):
    """Parameters of the tracker ``wandb``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: str = "t4spp"
    """The project that the run belongs to."""
    entity: str | None = None
    """The user or team; None takes the account's default."""
    mode: Literal["offline", "online", "disabled"] = "offline"
    """``offline`` keeps everything in the run's folder (``wandb sync`` sends it later); only
    ``online`` uses the network, and only when it stands in the config."""
    group: str | None = None
    """Groups runs, for example the seeds of one experiment."""
    tags: tuple[str, ...] = ()
    """Tags beside those that the run itself bears."""
    log_images: int = Field(default=16, ge=0)
    """Most pictures that are logged at one step; those left out are counted in the log."""
    log_artifacts: bool = True
    """Keep adapters and other artifacts with the run."""
    system_metrics: bool = False
    """Let wandb sample the machine's processor and memory."""


def _build_wandb(config: WandbConfig) -> Any:
    from t4spp_plugins.trackers.wandb import WandbTracker

    return WandbTracker(config)


@hookimpl
def t4spp_trackers() -> list[Component]:
    """The trackers of this distribution."""
    return [
        Component(
            name="wandb",
            config=WandbConfig,
            build=_build_wandb,
            summary="Weights & Biases: losses, scores, masks, predictions, adapters; offline first",
            requires=("wandb",),
        )
    ]
