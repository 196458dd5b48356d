"""Checkpoints: written completely or not at all, read without pickle, refused when foreign.

A checkpoint is a folder ``step-00000100`` below a run's ``checkpoints``::

    adapter/         adapter_config.json, adapter_model.safetensors    (mode lora)
    model/           config.json, model.safetensors                    (mode full)
    tokenizer/       with the scheme's tokens
    optimizer.pt     plain tensors and numbers, read with weights_only
    meta.json        CheckpointMeta

Beside the folders the text file ``latest`` names the newest complete one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError  # only to catch what a damaged file raises
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from t4spp.components import Backbone
from t4spp.errors import RunError
from t4spp.training.atomic import clean_temporaries, discard, write_text
from t4spp.training.lora import is_quantised, peft_unwarned, require_model

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
LATEST = "latest"
META = "meta.json"
ADAPTER = "adapter"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
MODEL = "model"
MODEL_WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer"
OPTIMIZER = "optimizer.pt"
ENGINE = "engine"
"""Sharded state that FSDP or DeepSpeed writes by itself, instead of ``optimizer.pt``."""

_STEP_FOLDER = re.compile(r"step-(\d{8,})")


class CheckpointMeta(BaseModel):
    """What a checkpoint says about itself.

    Attributes:
        schema_version: of this file.
        step: optimiser steps done.
        epoch: passes over the data done, with the fraction of the current one.
        mode: what was trained.
        scheme: the scheme's fingerprint.
        backbone: the fingerprint of the base weights.
        config_hash: SHA-256 of ``binding``.
        binding: the part of the resolved config that a resumed run must share.
        num_processes: how many processes wrote it; a resumed run may have another number.
        counts: samples, answer tokens, too long, unwritable, unpacked so far.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    step: int
    epoch: float
    mode: Literal["lora", "full"]
    scheme: str
    backbone: str
    config_hash: str
    binding: dict[str, Any]
    num_processes: int
    counts: dict[str, int]


class CheckpointStore:
    """The ``checkpoints`` folder of a run."""

    def __init__(self, run_folder: Path) -> None:
        """Name the folder; it is made by the first checkpoint."""
        self.folder = run_folder / CHECKPOINTS

    def step_folder(self, step: int) -> Path:
        """Where the checkpoint of ``step`` lies."""
        return self.folder / f"step-{step:08d}"

    def latest(self) -> Path | None:
        """The newest complete checkpoint; None when there is none."""
        pointer = self.folder / LATEST
        if not pointer.is_file():
            return None
        found = self.folder / pointer.read_text(encoding="utf-8").strip()
        if not (found / META).is_file():
            raise RunError(
                f"{pointer} names {found.name!r}, which is no complete checkpoint. "
                f"Write the name of another step-* folder of {self.folder} into it."
            )
        return found

    def point_to(self, folder: Path) -> None:
        """Make ``latest`` name ``folder``."""
        write_text(self.folder / LATEST, folder.name + "\n")

    def prune(self, keep_last: int) -> None:
        """Remove the oldest checkpoints, all but ``keep_last``; never the latest."""
        newest = self.latest()
        numbered = sorted(
            (int(match[1]), path)
            for path in self.folder.iterdir()
            if (match := _STEP_FOLDER.fullmatch(path.name))
        )
        for _, path in numbered[: max(0, len(numbered) - keep_last)]:
            if path != newest:
                discard(path)

    def clean(self) -> None:
        """Remove what a killed process left half-written, here and in the run's folder."""
        removed = clean_temporaries(self.folder) if self.folder.is_dir() else []
        if removed:
            logger.warning("removed half-written checkpoints of a killed run: %s", removed)


def resolve_checkpoint(path: Path) -> Path:
    """The checkpoint that ``path`` means: itself, or the latest of a run or checkpoints folder.

    Raises:
        RunError: there is none.
    """
    if (path / META).is_file() and not (path / LATEST).exists():
        return path
    for run_folder in (path, path.parent):
        store = CheckpointStore(run_folder)
        if store.folder == path or run_folder == path:
            latest = store.latest()
            if latest is not None:
                return latest
    raise RunError(
        f"{path} holds no complete checkpoint. Name a run's folder, its {CHECKPOINTS} folder, or "
        "one step-* folder of it."
    )


def read_meta(folder: Path) -> CheckpointMeta:
    """What the checkpoint in ``folder`` says about itself.

    Raises:
        RunError: it is missing or damaged.
    """
    path = folder / META
    try:
        return CheckpointMeta.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RunError(
            f"{folder} is no checkpoint: cannot read {path} ({error.strerror})."
        ) from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in error.errors()
        )
        raise RunError(f"the checkpoint's {path} is damaged: {problems}.") from error


def check_origin(meta: CheckpointMeta, folder: Path, backbone: str, scheme: str | None) -> None:
    """Refuse a checkpoint of other base weights, or of another scheme.

    Args:
        meta: of the checkpoint.
        folder: for the message.
        backbone: the fingerprint of the base weights that are loaded.
        scheme: the fingerprint of the scheme in use; None skips that check.

    Raises:
        RunError: a fingerprint differs.
    """
    if meta.backbone != backbone:
        raise RunError(
            f"the checkpoint {folder} belongs to the backbone {meta.backbone!r}, this run uses "
            f"{backbone!r}. Use the backbone and its params from the config.yaml of the "
            "checkpoint's run, or train anew."
        )
    if scheme is not None and meta.scheme != scheme:
        raise RunError(
            f"the checkpoint {folder} was trained with the scheme {meta.scheme!r}, this run uses "
            f"{scheme!r}. Use the scheme and its params from the config.yaml of the checkpoint's "
            "run, or train anew."
        )


def load_checkpoint(
    backbone: Backbone, folder: Path, *, scheme: str | None = None, merge: bool = False
) -> CheckpointMeta:
    """Put the trained weights into a freshly loaded backbone, for inference.

    Args:
        backbone: after ``load``; its model is changed in place. An adapter stays an adapter
            inside ``backbone.model`` unless it is merged.
        folder: a checkpoint, a run's folder or its checkpoints folder.
        scheme: the fingerprint of the scheme in use, to be held against the checkpoint's.
        merge: fold an adapter into the base weights; answers faster, to float tolerance the same.
            Into quantised weights nothing is folded: they would lose what was learnt.

    Raises:
        RunError: no checkpoint, a damaged one, or one of another backbone or scheme.
        ConfigError: the backbone has no model.
    """
    folder = resolve_checkpoint(folder)
    meta = read_meta(folder)
    model = require_model(backbone)
    check_origin(meta, folder, backbone.fingerprint(), scheme)
    if meta.mode == "full":
        load_full(model, folder / MODEL)
    else:
        from peft import PeftModel

        with _readable(folder / ADAPTER), peft_unwarned():
            adapted = PeftModel.from_pretrained(model, str(folder / ADAPTER))
        if merge and not is_quantised(model):
            # merge_and_unload hands back the very model that was adapted in place.
            backbone.model = cast("PreTrainedModel", adapted.merge_and_unload())
    require_model(backbone).train(False)
    return meta


def write_adapter(
    adapted: PeftModel, folder: Path, state: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Write an adapter as peft reads it: its config, its weights, the trained token rows."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir()
    weights = get_peft_model_state_dict(
        adapted, state_dict=None if state is None else dict(state), save_embedding_layers=False
    )
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    save_file(tensors, str(folder / ADAPTER_WEIGHTS), metadata={"format": "pt"})
    config = adapted.peft_config["default"]
    trains = config.inference_mode
    config.inference_mode = True
    config.save_pretrained(str(folder))
    config.inference_mode = trains


def read_adapter(adapted: PeftModel, folder: Path) -> None:
    """Put saved adapter weights into an adapter of the same shape that goes on training.

    Raises:
        RunError: the adapter has another shape, or its file is damaged.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    with _readable(folder):
        weights = load_file(str(folder / ADAPTER_WEIGHTS))
        outcome: Any = set_peft_model_state_dict(adapted, weights)
    own = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    if outcome.unexpected_keys or set(own) != set(weights):
        raise RunError(
            f"the adapter in {folder} adapts other layers than training.lora.targets asks for. "
            "Use the LoRA settings of the run that wrote it."
        )


def write_full(
    model: PreTrainedModel, folder: Path, state: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Write all weights as transformers reads them: its config, one file; tied weights once."""
    from safetensors.torch import save_file

    folder.mkdir()
    tensors: dict[str, torch.Tensor] = {}
    written: set[tuple[int, int]] = set()
    for name, value in (model.state_dict() if state is None else state).items():
        place = (value.data_ptr(), value.numel())
        if place not in written:
            written.add(place)
            tensors[name] = value.detach().cpu().contiguous()
    save_file(tensors, str(folder / MODEL_WEIGHTS), metadata={"format": "pt"})
    model.config.save_pretrained(str(folder))


def load_full(model: PreTrainedModel, folder: Path) -> None:
    """Read all weights into ``model``, in place.

    Raises:
        RunError: a file is damaged or missing, or the weights are of another architecture.
    """
    from safetensors.torch import load_file

    with _readable(folder):
        weights = load_file(str(folder / MODEL_WEIGHTS))
        outcome = model.load_state_dict(weights, strict=False)
    own = dict(model.state_dict())
    read = {own[name].data_ptr() for name in weights if name in own}
    missing = [name for name in outcome.missing_keys if own[name].data_ptr() not in read]
    if missing or outcome.unexpected_keys:
        stray = [*missing, *outcome.unexpected_keys]
        raise RunError(
            f"the weights in {folder} do not fit the model: {len(missing)} missing, "
            f"{len(outcome.unexpected_keys)} unexpected, the first is {stray[0]!r}."
        )


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dicts that ``read_state`` gives back."""
    import torch

    with path.open("wb") as stream:
        torch.save(dict(state), stream)


def read_state(path: Path) -> dict[str, Any]:
    """Read what ``write_state`` wrote, onto the CPU, refusing anything but plain data.

    Raises:
        RunError: missing or damaged.
    """
    import torch

    with _readable(path):
        state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise RunError(f"{path} is damaged: it holds a {type(state).__name__}, not a dictionary.")
    return state


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what libraries raise on a damaged file into one RunError."""
    from safetensors import SafetensorError

    try:
        yield
    except (
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        EOFError,
        UnpicklingError,
        SafetensorError,
    ) as error:
        raise RunError(
            f"the checkpoint's {path} cannot be read: {error}. Resume from, or point to, another "
            "step-* folder."
        ) from error
