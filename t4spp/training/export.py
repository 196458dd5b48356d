"""A trained model as a plain checkpoint folder, which transformers loads without this package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import t4spp
from t4spp.components import Backbone
from t4spp.errors import RunError, is_disk_full
from t4spp.training.atomic import PendingFolder, write_text
from t4spp.training.lora import is_quantised, require_model, require_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EXPORT_RECORD = "t4spp_export.json"
"""Says which scheme the model writes; a folder that has it is an export."""
MAX_SHARD_SIZE = "5GB"
"""Of one safetensors file; a larger model is cut into several."""


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What was written.

    Attributes:
        folder: where.
        model_class: the transformers class that loads it.
        imports: modules of other packages to import before loading, which register its parts.
        parameters: of the model, shared ones counted once.
        files: names of the folder's files, sorted.
        bytes: of all of them.
    """

    folder: str
    model_class: str
    imports: tuple[str, ...]
    parameters: int
    files: tuple[str, ...]
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return asdict(self)


def check_target(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that must not be written, before any weights are loaded.

    Raises:
        RunError: it exists and ``overwrite`` is not set, or it holds something else than an export.
    """
    if not folder.exists():
        return
    if not overwrite:
        raise RunError(f"{folder} exists. Name another folder, or replace it by --overwrite.")
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / EXPORT_RECORD).is_file()):
        raise RunError(
            f"{folder} is no export: it has no {EXPORT_RECORD}, and --overwrite removes nothing "
            "else. Name another folder."
        )


def export_model(
    backbone: Backbone, folder: Path, record: Mapping[str, Any], *, overwrite: bool = False
) -> ExportSummary:
    """Write model, tokenizer and processor, completely or not at all.

    Args:
        backbone: with its trained weights, an adapter merged.
        folder: where to.
        record: kept in :data:`EXPORT_RECORD`, beside what is known here.
        overwrite: replace an earlier export.

    Raises:
        RunError: the folder must not be written, the weights are quantised, an adapter is not
            merged, or the disk refuses.
        ConfigError: the backbone has no model.
    """
    check_target(folder, overwrite=overwrite)
    model = require_model(backbone)
    require_tokenizer(backbone)
    if is_quantised(model):
        raise RunError(
            "the run's model is quantised, and an adapter cannot be merged into such weights. "
            "Export it with whole weights: --set backbone.params.quantization=none"
        )
    if any(".lora_" in name for name, _ in model.named_parameters()):
        raise RunError("the adapter is not merged: load the checkpoint with merge=True.")
    imports = foreign_modules(model)
    pending = PendingFolder(folder)
    try:
        pending.begin()
        model.save_pretrained(str(pending.path), max_shard_size=MAX_SHARD_SIZE)
        backbone.save_processor(pending.path)
        whole = {
            **record,
            "t4spp": t4spp.__version__,
            "model_class": type(model).__name__,
            "imports": list(imports),
        }
        text = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
        write_text(pending.path / EXPORT_RECORD, text)
        _share(pending.path)
        pending.commit()
    except OSError as error:
        pending.abort()
        reason = "the disk is full" if is_disk_full(error) else str(error)
        raise RunError(f"cannot write {folder}: {reason}. Nothing is left there.") from error
    except BaseException:
        pending.abort()
        raise
    written = sorted(path for path in folder.rglob("*") if path.is_file())
    return ExportSummary(
        folder=str(folder),
        model_class=type(model).__name__,
        imports=imports,
        parameters=sum(p.numel() for p in model.parameters()),
        files=tuple(str(path.relative_to(folder)) for path in written),
        bytes=sum(path.stat().st_size for path in written),
    )


def foreign_modules(model: PreTrainedModel) -> tuple[str, ...]:
    """Modules outside transformers that define models inside ``model``, sorted.

    Importing them registers these parts, so that transformers' Auto classes know them.
    """
    from transformers import PreTrainedModel

    homes = {
        type(part).__module__
        for part in model.modules()
        if isinstance(part, PreTrainedModel)
        and not type(part).__module__.startswith("transformers.")
    }
    return tuple(sorted(homes))


def _share(folder: Path) -> None:
    """Let whoever may read the folder read the weights, which are written for their owner alone."""
    mode = (folder / EXPORT_RECORD).stat().st_mode
    for path in folder.rglob("*.safetensors"):
        path.chmod(mode)
