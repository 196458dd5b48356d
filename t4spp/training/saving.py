"""How the state of a training goes to disk and back."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from t4spp.errors import RunError, is_disk_full
from t4spp.training.atomic import PendingFolder, write_text
from t4spp.training.binding import binding_hash, differences
from t4spp.training.checkpoints import (
    ADAPTER,
    ENGINE,
    META,
    MODEL,
    OPTIMIZER,
    TOKENIZER,
    CheckpointMeta,
    CheckpointStore,
    check_origin,
    load_full,
    read_adapter,
    read_meta,
    read_state,
    write_adapter,
    write_full,
    write_state,
)
from t4spp.training.learner import Learner
from t4spp.training.processes import on_main

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

COUNTS = ("samples", "answer_tokens", "too_long", "unwritable", "unpacked")


class RunState:
    """Everything a run needs to go on: written with every checkpoint, read by a resume."""

    def __init__(
        self,
        *,
        run_folder: Path,
        learner: Learner,
        scheme: str,
        backbone: str,
        binding: Mapping[str, Any],
    ) -> None:
        """Keep what identifies the run.

        Args:
            run_folder: the run's folder.
            learner: what is saved.
            scheme: the scheme's fingerprint.
            backbone: the fingerprint of the base weights.
            binding: what a resumed run must share.
        """
        self.store = CheckpointStore(run_folder)
        self.learner = learner
        self.scheme = scheme
        self.backbone = backbone
        self.binding = dict(binding)
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        self.saved_step = -1

    def save(self, step: int, epoch: float, keep_last: int) -> None:
        """Write the checkpoint of ``step``, then move ``latest``, then remove the oldest.

        Raises:
            RunError: it cannot be written; what was there before is intact.
        """
        learner = self.learner
        accelerator = learner.accelerator
        pending = PendingFolder(self.store.step_folder(step))
        meta = CheckpointMeta(
            step=step,
            epoch=epoch,
            mode=learner.mode,
            scheme=self.scheme,
            backbone=self.backbone,
            config_hash=binding_hash(self.binding),
            binding=self.binding,
            num_processes=accelerator.num_processes,
            counts=dict(self.counts),
        )
        weights = accelerator.get_state_dict(learner.model) if learner.is_sharded else None

        def begin() -> None:
            self._guard(pending, lambda: pending.begin())

        def finish() -> None:
            def fill() -> None:
                self._fill(pending.path, meta, weights)
                pending.commit()
                self.store.point_to(pending.target)

            self._guard(pending, fill)
            self.store.prune(keep_last)

        on_main(accelerator, begin)
        if learner.is_sharded:
            accelerator.save_state(str(pending.path / ENGINE))
        accelerator.wait_for_everyone()
        on_main(accelerator, finish)
        self.saved_step = step

    def restore(self) -> int | None:
        """Read the latest checkpoint back; returns its step, or None when there is none.

        Raises:
            RunError: it is damaged, or belongs to another run.
        """
        folder = self.store.latest()
        if folder is None:
            logger.warning("no checkpoint was complete: the run starts from its first step")
            return None
        meta = read_meta(folder)
        check_origin(meta, folder, self.backbone, self.scheme)
        self._check_binding(meta, folder)
        learner = self.learner
        if learner.is_sharded:
            learner.accelerator.load_state(str(folder / ENGINE))
        else:
            if learner.mode == "lora":
                read_adapter(cast("PeftModel", learner.unwrapped), folder / ADAPTER)
            else:
                load_full(cast("PreTrainedModel", learner.unwrapped), folder / MODEL)
            state = read_state(folder / OPTIMIZER)
            learner.optimizer.load_state_dict(state["optimizer"])
            if learner.accelerator.scaler is not None and state["scaler"]:
                learner.accelerator.scaler.load_state_dict(state["scaler"])
        self.counts.update(meta.counts)
        self.saved_step = meta.step
        return meta.step

    def _fill(
        self, folder: Path, meta: CheckpointMeta, weights: Mapping[str, torch.Tensor] | None
    ) -> None:
        learner = self.learner
        if learner.mode == "lora":
            write_adapter(learner.unwrapped, folder / ADAPTER, weights)
        else:
            write_full(learner.unwrapped, folder / MODEL, weights)
        learner.tokenizer.save_pretrained(str(folder / TOKENIZER))
        if not learner.is_sharded:
            scaler = learner.accelerator.scaler
            write_state(
                folder / OPTIMIZER,
                {
                    "optimizer": learner.optimizer.state_dict(),
                    "scaler": {} if scaler is None else scaler.state_dict(),
                },
            )
        write_text(folder / META, meta.model_dump_json(indent=2) + "\n")
        # safetensors writes for its owner's eyes only; a run is for whoever may read its folder.
        mode = (folder / META).stat().st_mode
        for path in folder.rglob("*.safetensors"):
            path.chmod(mode)

    def _guard(self, pending: PendingFolder, action: Callable[[], object]) -> None:
        """Run ``action``; whatever fails, the unfinished folder is removed."""
        from safetensors import SafetensorError

        try:
            action()
        except (OSError, RuntimeError, SafetensorError) as error:
            pending.abort()
            reason = "the disk is full" if is_disk_full(error) else str(error)
            earlier = self.store.latest()
            kept = f"the previous one, {earlier.name}, is intact" if earlier else "none is complete"
            raise RunError(
                f"cannot write the checkpoint {pending.target}: {reason}; {kept}. Make room, then "
                "go on with --resume."
            ) from error
        except BaseException:
            pending.abort()
            raise

    def _check_binding(self, meta: CheckpointMeta, folder: Path) -> None:
        if meta.config_hash == binding_hash(self.binding):
            return
        differing = differences(meta.binding, self.binding)
        raise RunError(
            f"the config differs from that of {folder}: {'; '.join(differing)}. Resume with the "
            "config.yaml of the run's folder, or start another run with training.init_from."
        )
