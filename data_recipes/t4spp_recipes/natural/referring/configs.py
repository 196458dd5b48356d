"""Parameters of the referring and reasoning recipes. The registration imports it: pydantic only."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict


class ReferringParams(BaseModel):
    """What the recipes of this folder share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Path
    """The folder that the dataset's download makes, or the one above it."""
    images: Path | None = None
    """The folder of pictures, where it is none of those that docs/datasets-referring.md lists."""
    counts: bool = True
    """Whether ``data check`` compares refs, expressions and pictures with the published numbers;
    false for a part of the dataset."""


class ReferParams(ReferringParams):
    """Parameters of the REFER datasets."""

    text: Literal["sent", "raw"] = "sent"
    """The expression as the dataset cleaned it, or as it was typed."""
    expressions: Literal["all", "one-per-ref"] = "all"
    """Each expression is a sample; or one drawn expression a ref, by ``seed``."""
    missing_pictures: Literal["fail", "skip"] = "fail"
    """A picture that is not there: fail when it is read, or leave its samples out and count."""
    seed: int = 0
    """Of ``one-per-ref``."""


class ReferCompatParams(ReferParams):
    """Parameters of refCLEF, RefCOCO, RefCOCO+ and RefCOCOg."""

    compat: Literal["text4seg", "lisa"] | None = None
    """Whose published loader to follow, faults included: docs/datasets-referring.md lists them."""


class RefCocoConfig(ReferCompatParams):
    """Parameters of ``refcoco``."""

    split_by: Literal["unc", "google"] = "unc"
    """Whose split; the field reports unc's."""


class RefCocoPlusConfig(ReferCompatParams):
    """Parameters of ``refcoco-plus``."""

    split_by: Literal["unc"] = "unc"
    """Whose split."""


class RefCocogConfig(ReferCompatParams):
    """Parameters of ``refcocog``."""

    split_by: Literal["umd", "google"] = "umd"
    """Whose split. google's has no test, and its train and val share pictures."""


class RefClefConfig(ReferCompatParams):
    """Parameters of ``refclef``."""

    split_by: Literal["unc", "berkeley"] = "unc"
    """Whose split."""


class GRefCocoConfig(ReferParams):
    """Parameters of ``grefcoco``."""

    compat: Literal["text4seg", "rela"] | None = None
    """Whose published loader to follow, faults included: docs/datasets-referring.md lists them."""


class ReasonSegConfig(ReferringParams):
    """Parameters of ``reasonseg``."""

    label: str | None = "target"
    """What the answer calls the region; null: the question itself, cut to 128 characters."""
    compat: Literal["lisa"] | None = None
    """``lisa``: as its published loader reads the data, docs/datasets-referring.md lists how."""


class PhraseCutConfig(ReferringParams):
    """Parameters of ``phrasecut``."""

    targets: Literal["per-instance", "together"] = "per-instance"
    """One target an instance, or one of all instances."""
    compat: Literal["phrasecut"] | None = None
    """``phrasecut``: as its published loader draws polygons of two points."""
