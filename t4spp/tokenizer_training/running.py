"""One training of a mask tokenizer from its config to the files that it leaves."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from t4spp.components import Recipe
from t4spp.config import ComponentConfig
from t4spp.errors import ConfigError, RunError
from t4spp.mask_tokenizer.tokenizer import (
    CARD_NAME,
    WEIGHTS_NAME,
    MaskTokenizer,
    load_tokenizer,
    save_tokenizer,
)
from t4spp.plugins import Catalogue
from t4spp.tokenizer_training.config import (
    TokenizerConfig,
    dump_tokenizer_config,
    load_tokenizer_config,
)
from t4spp.tokenizer_training.masks import (
    MaskCounts,
    expected_masks,
    masks_of,
    parts_of,
    read_fields,
)
from t4spp.tokenizer_training.measuring import Reconstruction, measure_reconstruction
from t4spp.tokenizer_training.networks import TokenizerNetworks
from t4spp.tokenizer_training.pictures import draw_curve, draw_reconstructions
from t4spp.tokenizer_training.training import (
    EVENTS_NAME,
    STATE_NAME,
    UNFINISHED_STATE_NAME,
    train_tokenizer,
)
from t4spp.training.atomic import write_text
from t4spp.types import BoolMask

logger = logging.getLogger(__name__)

CONFIG_NAME = "config.yaml"
METRICS_NAME = "metrics.json"
CURVE_NAME = "curve.png"
RECONSTRUCTIONS_NAME = "reconstructions.png"
FILES = (
    CONFIG_NAME, METRICS_NAME, CURVE_NAME, RECONSTRUCTIONS_NAME, EVENTS_NAME, STATE_NAME,
    UNFINISHED_STATE_NAME, WEIGHTS_NAME, CARD_NAME,
)  # fmt: skip
"""What a training's folder may hold."""
DURING = 256
"""Held-out masks that are scored during training."""

Progress = Callable[[int, str], AbstractContextManager[Callable[[int], object]]]
"""Opens a bar of so many items and a title."""


@dataclass(frozen=True, kw_only=True)
class TokenizerRun:
    """What a training left.

    Attributes:
        folder: with the files.
        identity: of the tokenizer.
        reconstruction: of held-out masks, by the tokenizer as it was saved.
        num_masks: masks trained on.
        num_empty: targets without a pixel, which were left out.
        num_weights: numbers in the networks.
        resumed_from: the step that it went on from; None from the start.
    """

    folder: Path
    identity: str
    reconstruction: Reconstruction
    num_masks: int
    num_empty: int
    num_weights: int
    resumed_from: int | None


def run_tokenizer_training(
    config: TokenizerConfig,
    catalogue: Catalogue,
    folder: Path,
    progress: Progress,
    *,
    overwrite: bool = False,
) -> TokenizerRun:
    """Train, save, measure and draw; an interrupted training goes on where it stopped.

    Raises:
        ConfigError: a recipe, a split or a parameter is wrong, or there is no mask.
        RecipeError: files of a dataset are missing.
        RunError: the folder holds another training.
    """
    check_folder(folder, config, overwrite=overwrite)
    train, held_out = parts_of(config, catalogue)
    counts, left = MaskCounts(), MaskCounts()
    layout, side = config.shape.layout, config.shape.side * config.loss.detail
    with progress(expected_masks(train), "reading masks") as advance:
        fields = read_fields(train, layout, side, counts, advance)
    masks = [mask for part in held_out for mask in masks_of(part, layout, left)]
    if not masks:
        raise ConfigError(
            f"data: {', '.join(part.name for part in held_out)}: no target with a pixel, so that "
            "nothing could be scored. Choose another eval_split or recipe."
        )
    prepare_folder(folder, config, overwrite=overwrite)
    with progress(config.training.steps, f"training {config.name}") as advance:
        trained = train_tokenizer(
            config, fields, folder, lambda networks: _score(networks, masks[:DURING]), advance
        )
    arrays = trained.networks.arrays()
    card = {
        "name": config.name,
        "trained_on": [
            {"recipe": source.recipe.name, "licences": _licences(source.recipe, catalogue)}
            for source in config.data
        ],
    }
    save_tokenizer(folder, config.shape, arrays, card)
    tokenizer = load_tokenizer(folder, layout)
    with progress(len(masks), "measuring") as advance:
        found = measure_reconstruction(tokenizer, masks, advance)
    save_tokenizer(folder, config.shape, arrays, {**card, "held_out": found.as_json()})
    (folder / METRICS_NAME).write_text(
        json.dumps(
            {"schema": 1, "sha256": tokenizer.identity, "held_out": found.as_json()}, indent=2
        )
        + "\n",
        encoding="utf-8",
    )
    draw_curve(folder / EVENTS_NAME, folder / CURVE_NAME, config.name)
    draw_reconstructions(tokenizer, masks, folder / RECONSTRUCTIONS_NAME)
    return TokenizerRun(
        folder=folder,
        identity=tokenizer.identity,
        reconstruction=found,
        num_masks=counts.num_masks,
        num_empty=counts.num_empty + left.num_empty,
        num_weights=sum(array.size for array in arrays.values()),
        resumed_from=trained.resumed_from,
    )


def prepare_folder(folder: Path, config: TokenizerConfig, *, overwrite: bool) -> None:
    """Make a training's folder, or find in it an interrupted one of the same config.

    Raises:
        RunError: the folder holds files of another training, or of none.
    """
    check_folder(folder, config, overwrite=overwrite)
    known = folder / CONFIG_NAME
    try:
        if overwrite and known.is_file():
            for name in FILES:
                (folder / name).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        if not known.is_file():
            write_text(known, dump_tokenizer_config(config))
    except OSError as error:
        raise RunError(
            f"{folder}: a training cannot be written there ({error.strerror or error}). Make room "
            "or mend its permissions, or choose another with -o."
        ) from error


def check_folder(folder: Path, config: TokenizerConfig, *, overwrite: bool) -> None:
    """Refuse what :func:`prepare_folder` would, and touch nothing."""
    known = folder / CONFIG_NAME
    if folder.exists() and not folder.is_dir():
        raise RunError(f"-o {folder} is a file. A training goes into a folder: name another.")
    if not known.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise RunError(
                f"{folder} holds files and no {CONFIG_NAME}: it is no training's folder. Take "
                "another."
            )
        return
    try:
        found = load_tokenizer_config(known)
    except ConfigError as error:
        raise RunError(
            f"{known} is not the config of a tokenizer's training, so that nothing in {folder} is "
            "touched. Take another folder."
        ) from error
    if found != config and not overwrite:
        raise RunError(
            f"{folder} holds a training with another config ({known}). Take another folder, "
            "or start anew with --overwrite."
        )


def _score(networks: TokenizerNetworks, masks: list[BoolMask]) -> Mapping[str, float]:
    """A few held-out masks, by the weights as they are now."""
    arrays = {name: array.copy() for name, array in networks.arrays().items()}
    tokenizer = MaskTokenizer(networks.shape, arrays, "unsaved")
    found = measure_reconstruction(tokenizer, masks, lambda _: None)
    return {
        "iou": found.iou,
        "contour_distance": found.contour_distance,
        "codes_used": found.codes_used,
        **{f"iou_{length}": iou for length, iou in found.prefixes.items()},
    }


def _licences(component: ComponentConfig, catalogue: Catalogue) -> list[str]:
    recipe: Recipe = catalogue.build("recipe", component.name, component.params)
    listed = catalogue.get("recipe", component.name).sources or recipe.sources
    return sorted({source.licence for source in listed})
