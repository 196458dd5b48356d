"""What several processes do together: act once, fail together, draw their own random numbers."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from t4spp.errors import RunError, T4sppError
from t4spp.seeds import seed_from

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

Precision = Literal["no", "bf16", "fp16"]


def resolve_precision(wanted: str, device: torch.device) -> Precision:
    """``auto`` is bf16 on a GPU that computes in it, else none; the rest stands as given."""
    import torch

    if wanted != "auto":
        return cast(Precision, wanted)
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return "bf16"
    return "no"


def make_accelerator(precision: str, num_micro_batches: Callable[[int], int]) -> Accelerator:
    """The process's place among the others, and its device.

    Args:
        precision: ``auto``, ``no``, ``bf16`` or ``fp16``.
        num_micro_batches: forward passes for one optimiser step, given how many processes
            there are.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState, PartialState

    place = PartialState(cpu=runs_on_cpu())
    # Both states are process-wide singletons; a second run in one process (evaluate after train,
    # tests) may want another precision or another accumulation.
    AcceleratorState._reset_state()
    GradientState._reset_state()
    accumulate = num_micro_batches(place.num_processes)
    accelerator = Accelerator(
        cpu=runs_on_cpu(),
        mixed_precision=resolve_precision(precision, place.device),
        gradient_accumulation_steps=accumulate,
    )
    # The launcher's environment may have overruled the number, and the batch would be torn.
    accelerator.gradient_accumulation_steps = accumulate
    if not accelerator.is_main_process:
        logging.getLogger("t4spp").setLevel(logging.ERROR)
    share_cores(accelerator)
    return accelerator


def runs_on_cpu() -> bool:
    """Whether the launcher asks for the CPU, or there is nothing else.

    Accelerate joins processes over gloo only when it is told that they run on the CPU.
    """
    import torch
    from accelerate.utils import parse_flag_from_env

    return bool(parse_flag_from_env("ACCELERATE_USE_CPU")) or not torch.accelerator.is_available()


def share_cores(accelerator: Accelerator) -> None:
    """Divide the cores among the processes of one machine, unless the environment says how."""
    import torch

    if accelerator.device.type != "cpu" or accelerator.num_processes == 1:
        return
    if "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(max(1, cores // accelerator.num_processes))


def seed_everything(*parts: object) -> None:
    """Seed Python's, NumPy's and torch's generators from ``parts``.

    Training does so before every step, from (seed, step, process). Dropout and the like are then
    the same in a resumed run as in one that was never interrupted, with no state to carry over.
    """
    import torch

    seed = seed_from(*parts)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Leave Python's, NumPy's and torch's generators (of the CPU) as they were before."""
    import torch

    python, numpy, own = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(own)


@contextmanager
def deterministic_on_cpu(accelerator: Accelerator) -> Iterator[None]:
    """Ask torch for deterministic algorithms where the device is a CPU; restore its mode after.

    An operation that has no deterministic form warns.
    """
    import torch

    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    if accelerator.device.type == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


def on_main(accelerator: Accelerator, action: Callable[[], None]) -> None:
    """Run ``action`` on the main process; its T4sppError is raised on every process."""
    message: list[str | None] = [None]
    if accelerator.is_main_process:
        try:
            action()
        except T4sppError as error:
            if accelerator.num_processes == 1:
                raise
            message = [str(error)]
    if accelerator.num_processes > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(message)
    if message[0] is not None:
        raise RunError(message[0])


def leave_processes() -> None:
    """Take leave of the other processes at the end of a command."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
