"""Parameters of the recipes for photographs. Imported by the registration: pydantic only."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from t4spp_recipes.natural.semantic.params import SemanticParams


class CocoInstancesConfig(BaseModel):
    """Parameters of ``coco-instances``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    annotations: Path | dict[str, Path]
    """COCO's instances JSON; or one file a split: ``{train: ..., val: ...}``."""
    images: Path | dict[str, Path] | None = None
    """Folder of the pictures, in any sub-folder; or one a split. None: no pixels."""
    prompts: Literal["per-instance", "by-category"] = "per-instance"
    """One sample an instance, or one an (image, category) with all its instances."""
    expressions: Path | None = None
    """JSON of referring expressions; they are the prompts then."""
    crowd: Literal["ignore", "skip", "keep"] = "ignore"
    """Crowd regions: not scored in samples of their category, dropped, or targets."""
    no_target_share: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of samples that ask for a category that the picture does not show."""
    val_share: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of images that is split off as ``val``; the others are ``train``."""
    missing_pictures: Literal["fail", "skip"] = "fail"
    """A picture that is not under ``images``: fail when it is read, or skip and count."""
    seed: int = 0
    """Of ``val_share`` and ``no_target_share``."""

    @model_validator(mode="after")
    def _fits_together(self) -> CocoInstancesConfig:
        several = isinstance(self.annotations, dict)
        if several and not self.annotations:
            raise ValueError("annotations: name at least one split, {train: FILE, val: FILE}")
        if several and self.val_share:
            raise ValueError("val_share: the splits are given by annotations already; set it to 0")
        if isinstance(self.images, dict) and not several:
            raise ValueError("images: a folder a split needs annotations a split as well")
        if self.expressions is not None:
            if several:
                raise ValueError("expressions: give one annotations file, not one a split")
            if "prompts" in self.model_fields_set:
                raise ValueError("prompts: leave it out, the expressions are the prompts")
            if self.no_target_share:
                raise ValueError("no_target_share: no-target expressions come from the file")
        if self.missing_pictures == "skip" and self.images is None:
            raise ValueError("missing_pictures: skip needs the folder of pictures, 'images'")
        return self


class SemanticFolderConfig(SemanticParams):
    """Parameters of ``semantic-folder``."""

    root: Path | None = None
    """The dataset's folder, for a ``preset``."""
    preset: Literal["camvid", "ade20k", "voc"] | None = None
    """A layout and class list that the recipe knows."""
    images: Path | dict[str, Path] | None = None
    """Folder of pictures, or one a split; without a preset. None: no pixels."""
    masks: Path | dict[str, Path] | None = None
    """Folder of masks of the pictures' stems, or one a split; without a preset."""
    classes: tuple[str, ...] | dict[int, str] | Path | None = None
    """Names by class id: a list from 0, a mapping, or a text file of one name a line."""
    void: tuple[int, ...] | None = None
    """Class ids that are not scored. None: the preset's, or none."""
    background: tuple[int, ...] | None = None
    """Class ids that no prompt asks for but that are scored. None: those whose class is called
    background, _background_ or others."""
    val_share: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of images split off as ``val``, where the data have one split only."""

    @model_validator(mode="after")
    def _fits_together(self) -> SemanticFolderConfig:
        if self.preset is not None:
            if self.root is None:
                raise ValueError(f"root: the preset {self.preset} needs the dataset's folder")
            if self.images is not None or self.masks is not None:
                raise ValueError("images, masks: a preset finds them under root; leave them out")
        else:
            if self.root is not None:
                raise ValueError("preset: root needs one of camvid, ade20k, voc")
            if self.masks is None or self.classes is None:
                raise ValueError("masks, classes: both are needed without a preset")
            if isinstance(self.images, dict) and not isinstance(self.masks, dict):
                raise ValueError("images: a folder a split needs masks a split as well")
            if isinstance(self.masks, dict) and not self.masks:
                raise ValueError("masks: name at least one split, {train: FOLDER, val: FOLDER}")
        return self


class InstanceFolderConfig(BaseModel):
    """Parameters of ``instance-folder``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    masks: Path
    """Folder of masks whose pixels are instance ids, greyscale or palette."""
    images: Path | None = None
    """Folder of the pictures, of the masks' stems; it may be the masks' own. None: no pixels."""
    mask_suffix: str = ""
    """What a mask's stem has beyond its picture's: ``_mask`` pairs a_mask.png with a.jpg."""
    label: str = "object"
    """What the instances are; the prompt."""
    background: tuple[int, ...] = (0,)
    """Ids that are no instance and are scored."""
    void: tuple[int, ...] = ()
    """Ids that are no instance and are not scored."""
    min_pixels: int = Field(default=1, ge=1)
    """An instance of fewer pixels is left out and counted."""
    prompts: Literal["per-instance", "together"] = "per-instance"
    """One sample an instance, or one an image with all its instances."""
    val_share: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of images that is split off as ``val``; the others are ``train``."""
    seed: int = 0
    """Of ``val_share``."""
    cache_dir: Path | None = None
    """Where the index of instances per mask is kept. None: ``T4SPP_CACHE``, or t4spp's folder in
    the user's cache. Never the dataset's folder."""
