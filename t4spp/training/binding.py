"""Which parts of a config decide what a model learns and answers, and how two configs differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from t4spp.config import PromptingConfig, RunConfig

FREE_ON_RESUME = frozenset(
    {
        "micro_batch_size",
        "save_every",
        "keep_last",
        "evaluate_every",
        "eval_samples",
        "log_every",
        "num_workers",
    }
)
"""Training settings that a resumed run may change: they do not change what is learnt."""


def binding_config(config: RunConfig) -> dict[str, Any]:
    """The part of the config that decides what is learnt.

    Where nothing is trained, only the weights that are started from are left of ``training``.
    """
    whole = config.model_dump(mode="json", include={"seed", "scheme", "backbone", "data"})
    training = config.training.model_dump(mode="json", exclude=set(FREE_ON_RESUME))
    if training["target_tokens"] is None:
        del training["target_tokens"]  # checkpoints from before it existed have none
    else:
        del training["steps"]  # they follow from the tokens
    unbound = ["eval_split", "max_eval_samples"]
    if config.training.mode == "none":
        training = {key: training[key] for key in ("mode", "init_from")}
        unbound += ["train_split", "max_train_samples", "companions", "augment"]
    if config.data.prompting == PromptingConfig():
        unbound.append("prompting")  # checkpoints from before it existed have none
    elif config.data.prompting.shots:
        unbound = [key for key in unbound if key not in ("train_split", "max_train_samples")]
    if config.data.augment.sides == "keep":
        del whole["data"]["augment"]["sides"]  # likewise
    if not config.data.mixture:
        unbound.append("mixture")  # likewise
    for part in whole["data"]["mixture"]:
        for key in {*unbound, "evaluated"} & part.keys():
            del part[key]
        if "train_split" in unbound:
            del part["weight"]
    for key in unbound:
        del whole["data"][key]
    return {**whole, "training": training}


def binding_hash(binding: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that change with any value."""
    text = json.dumps(binding, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Every key path whose value differs, with both values."""
    old, new = dict(leaves(then)), dict(leaves(now))
    absent = object()
    return [
        f"{key} (was {old.get(key, 'absent')!r}, is {new.get(key, 'absent')!r})"
        for key in sorted({*old, *new})
        if new.get(key, absent) != old.get(key, absent)
    ]


def leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``("a.b.c", value)`` of every value of nested mappings, in their order."""
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from leaves(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner
