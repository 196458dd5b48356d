"""What the plugin offers. ``t4spp plugins`` imports this module, so it must stay light."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from t4spp.components import Component
from t4spp.hookspecs import hookimpl


class ColumnRleParams(BaseModel):
    """Parameters of ``column-rle``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    grid: int | tuple[int, int] = 16
    """Cells: one number for a square grid, or ``[rows, columns]`` as the picture has them."""
    keep_small: bool = True
    """Whether a target that no cell would keep claims the cell it covers most."""


class CheckerboardsParams(BaseModel):
    """Parameters of ``checkerboards``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(default=128, ge=8, le=4096)
    """Height and width of each chart, pixels."""
    squares: tuple[int, ...] = (4, 8, 16, 32)
    """Widths of the squares, pixels; they take turns."""
    num_samples: int = Field(default=32, ge=1)
    """Charts in each split."""
    seed: int = Field(default=0, ge=0)
    """Where each pattern starts, and its greys, follow from it."""


def build_column_rle(params: ColumnRleParams) -> Any:
    """Make the scheme; what is heavy is imported here, not above."""
    from t4spp_example.column_rle import ColumnRle

    return ColumnRle(params)


def build_checkerboards(params: CheckerboardsParams) -> Any:
    """Make the recipe."""
    from t4spp_example.checkerboards import Checkerboards

    return Checkerboards(params)


@hookimpl
def t4spp_schemes() -> list[Component]:
    """The scheme ``column-rle``."""
    return [
        Component(
            name="column-rle",
            config=ColumnRleParams,
            build=build_column_rle,
            summary="run-length coded column by column, for tall things",
        )
    ]


@hookimpl
def t4spp_recipes() -> list[Component]:
    """The recipe ``checkerboards``."""
    return [
        Component(
            name="checkerboards",
            config=CheckerboardsParams,
            build=build_checkerboards,
            summary="test charts: which detail does a scheme still resolve?",
        )
    ]
