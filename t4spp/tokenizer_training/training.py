"""The training loop of a mask tokenizer: seeded step by step, resumable, on one thread or many."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor, nn

from t4spp.errors import RunError
from t4spp.seeds import seed_from
from t4spp.tokenizer_training.config import TokenizerConfig, TokenizerStepsConfig
from t4spp.tokenizer_training.losses import mask_loss
from t4spp.tokenizer_training.masks import Fields
from t4spp.tokenizer_training.networks import TokenizerNetworks

STATE_NAME = "state.pt"
"""Weights, optimiser and step of an unfinished training."""
UNFINISHED_STATE_NAME = "state.writing"
"""The same while it is being written."""
EVENTS_NAME = "events.jsonl"
START_FIELDS = 8192
"""Masks that the linear start is taken from, or 262,144 patches where there are several."""

MAX_WEIGHT = 65504.0
"""The largest number of float16, which a tokenizer is saved in."""

Score = Callable[[TokenizerNetworks], Mapping[str, float]]
"""Scores on held-out masks."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What training came to.

    Attributes:
        networks: the trained networks.
        resumed_from: the step that it went on from; None from the start.
        seconds: of this process.
    """

    networks: TokenizerNetworks
    resumed_from: int | None
    seconds: float


def train_tokenizer(
    config: TokenizerConfig,
    fields: Fields,
    folder: Path,
    score: Score,
    advance: Callable[[int], object],
) -> Trained:
    """Train, or go on where ``folder`` says that an earlier process stopped.

    Every step draws its masks from a generator seeded by config and step, so that a resumed
    training sees what an uninterrupted one would.

    Args:
        config: of the training.
        fields: uint8[M, T, T], T a multiple of the tokenizer's side.
        folder: existing; takes ``events.jsonl`` and the state.
        score: on held-out masks, every ``training.evaluate_every`` steps.
        advance: told about steps done.

    Raises:
        RunError: the state in the folder cannot be read or is of other masks, or the training
            diverged.
    """
    settings = config.training
    torch.manual_seed(seed_from(config.seed, "weights"))
    networks = TokenizerNetworks(config.shape)
    networks.start_linear(_sides(_first(fields, config), config.shape.side))
    optimiser = torch.optim.AdamW(
        networks.parameters(),
        lr=settings.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=settings.weight_decay,
    )
    masks = hashlib.sha256(fields.tobytes()).hexdigest()
    start = _resume(folder / STATE_NAME, networks, optimiser, masks)
    started = time.perf_counter()
    advance(start)
    with _events(folder / EVENTS_NAME) as events:
        if not start:
            _log(events, {"step": 0, **score(networks)})
        for step in range(start, settings.steps):
            rate = _rate(step, settings)
            for group in optimiser.param_groups:
                group["lr"] = rate
            loss = _step(networks, optimiser, config, fields, step)
            done = step + 1
            if not math.isfinite(loss):
                raise RunError(_diverged(config, done, f"its loss is {loss}"))
            advance(1)
            last = done == settings.steps
            if done % settings.log_every == 0 or last:
                _log(events, {"step": done, "loss": loss, "learning_rate": rate})
            if last or done % settings.evaluate_every == 0 or done % settings.save_every == 0:
                _check_weights(networks, config, done)
            if done % settings.evaluate_every == 0 or last:
                _log(events, {"step": done, **score(networks)})
            if done % settings.save_every == 0 or last:
                _save(folder / STATE_NAME, networks, optimiser, done, masks)
    return Trained(
        networks=networks,
        resumed_from=start or None,
        seconds=time.perf_counter() - started,
    )


def _step(
    networks: TokenizerNetworks,
    optimiser: torch.optim.Optimizer,
    config: TokenizerConfig,
    fields: Fields,
    step: int,
) -> float:
    settings, shape = config.training, config.shape
    rng = np.random.default_rng(seed_from(config.seed, "step", step))
    chosen = np.sort(rng.integers(0, len(fields), settings.batch_size))
    target = torch.from_numpy(fields[chosen]).float() / 255
    if settings.turn:
        target = _turned(target, rng)
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16"):
        values = networks.encode(_sides(target, shape.side))
        logits = networks.decode(_prefixes(values, settings.prefix, config, rng))
    loss = mask_loss(
        logits, target, cross_entropy=config.loss.cross_entropy, overlap=config.loss.overlap
    )
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(networks.parameters(), settings.max_grad_norm)
    optimiser.step()
    return float(loss.item())


def _turned(target: Tensor, rng: np.random.Generator) -> Tensor:
    """A batch mirrored up and down, left and right, or transposed."""
    if rng.random() < 0.5:
        target = target.flip(1)
    if rng.random() < 0.5:
        target = target.flip(2)
    return target.transpose(1, 2) if rng.random() < 0.25 else target


def _prefixes(
    values: Tensor, share: float, config: TokenizerConfig, rng: np.random.Generator
) -> Tensor:
    """Values float[B, N, D] with the codes behind a random prefix of some masks set to nothing."""
    shape = config.shape
    if share == 0 or shape.grid > 1 or shape.num_codes == 1:
        return values
    batch = len(values)
    kept = np.where(
        rng.random(batch) < share, rng.integers(1, shape.num_codes + 1, batch), shape.num_codes
    )
    written = torch.arange(shape.num_codes)[None] < torch.from_numpy(kept)[:, None]
    return values * written[..., None]


def _sides(target: Tensor, side: int) -> Tensor:
    """float[B, T, T] averaged to float[B, S, S]."""
    reach = target.shape[-1] // side
    return target if reach == 1 else nn.functional.avg_pool2d(target[:, None], reach)[:, 0]


def _first(fields: Fields, config: TokenizerConfig) -> Tensor:
    """The fields that the linear start is taken from."""
    count = START_FIELDS if config.shape.grid == 1 else max(1, 262_144 // config.shape.grid**2)
    return torch.from_numpy(fields[:count]).float() / 255


def _rate(step: int, settings: TokenizerStepsConfig) -> float:
    """Linear warm-up, then a cosine down to 0."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    return settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / settings.steps))


def _check_weights(networks: TokenizerNetworks, config: TokenizerConfig, step: int) -> None:
    """Refuse weights that cannot be saved as float16."""
    for name, weights in networks.named_parameters():
        if not bool((weights.detach().abs() <= MAX_WEIGHT).all()):  # NaN is not, either
            raise RunError(_diverged(config, step, f"{name} has left the range of float16"))


def _diverged(config: TokenizerConfig, step: int, what: str) -> str:
    return (
        f"the training of {config.name} diverged: {what} after step {step}. Lower "
        f"training.learning_rate ({config.training.learning_rate:g}) or raise "
        "training.warmup_steps, in another folder or with --overwrite."
    )


def _events(path: Path) -> TextIO:
    """The events to append to; what a killed process left of a line is ended."""
    known = path.read_bytes() if path.is_file() else b""
    events = path.open("a", encoding="utf-8")
    if known and not known.endswith(b"\n"):
        events.write("\n")
    return events


def _log(events: Any, values: Mapping[str, float]) -> None:
    events.write(json.dumps(dict(values)) + "\n")
    events.flush()


def _save(
    path: Path,
    networks: TokenizerNetworks,
    optimiser: torch.optim.Optimizer,
    step: int,
    masks: str,
) -> None:
    unfinished = path.with_name(UNFINISHED_STATE_NAME)
    state = {
        "networks": networks.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "masks": masks,
    }
    torch.save(state, unfinished)
    unfinished.replace(path)


def _resume(
    path: Path, networks: TokenizerNetworks, optimiser: torch.optim.Optimizer, masks: str
) -> int:
    if not path.is_file():
        return 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        networks.load_state_dict(state["networks"])
        optimiser.load_state_dict(state["optimiser"])
        step, known = int(state["step"]), state["masks"]
    except (
        UnpicklingError, RuntimeError, KeyError, ValueError, TypeError, EOFError, OSError,
    ) as error:  # fmt: skip
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"{path}: this training's state cannot be read ({reason}). Take another folder, or "
            "start anew with --overwrite."
        ) from error
    if known != masks:
        raise RunError(
            f"{path}: this training began with other masks than its recipes give now. Bring the "
            "data back, take another folder, or start anew with --overwrite."
        )
    return step
