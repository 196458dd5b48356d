"""Reading checkpoints without running what is in them."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from t4spp.errors import WeightsError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

WRAPPERS = ("model", "state_dict")
"""Keys under which a torch file may hold its tensors beside other things."""

_EXPECTED = (
    "Expected safetensors, or a torch file in the format of SAM's checkpoints: a flat dict of "
    f"tensors by name, or one below {' or '.join(map(repr, WRAPPERS))}."
)
_MAX_HEADER = 100_000_000
"""What the safetensors library allows as the length of a header, in bytes."""


def read_checkpoint(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, on the CPU, by their names in the file.

    The content decides how it is read, not the file's suffix. A torch file is read with
    ``weights_only``, which builds tensors and plain containers and calls nothing else.

    Raises:
        WeightsError: no such file, neither safetensors nor a flat dict of tensors, damaged, or a
            pickle that wants to call something.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as opened:
            head = opened.read(9)
    except OSError as error:
        raise WeightsError(f"checkpoint {path} cannot be read: {error.strerror}") from error
    if _is_safetensors(head, size):
        return _read_safetensors(path)
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return _read_torch(path)
    kind = "a GGUF file, which transformers reads (gguf_file=...)" if head[:4] == b"GGUF" else None
    raise WeightsError(
        f"checkpoint {path} is {kind or 'of no known format'}: it starts with {head[:4]!r} and has "
        f"{size} bytes. {_EXPECTED}"
    )


def _is_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= min(_MAX_HEADER, size - 8)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"checkpoint {path} is damaged safetensors: {error}") from error


def _read_torch(path: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        first = str(error).strip().splitlines()[0]
        raise WeightsError(
            f"checkpoint {path} is refused: it holds more than tensors, and reading it otherwise "
            f"could run what somebody put in it ({first}). {_EXPECTED} Convert it to safetensors "
            "on a machine where you trust it."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"checkpoint {path} is damaged, or no checkpoint: {first}. {_EXPECTED}"
        ) from error
    return _flat(loaded, path)


def _flat(loaded: object, path: Path) -> dict[str, torch.Tensor]:
    import torch

    tensors = loaded
    if isinstance(loaded, Mapping):
        for key in WRAPPERS:
            if isinstance(loaded.get(key), Mapping):
                tensors = loaded[key]
                rest = sorted(str(other) for other in loaded if other != key)
                logger.info("%s: tensors below %r; not read: %s", path, key, rest or "nothing")
                break
    if not isinstance(tensors, Mapping) or not tensors:
        raise WeightsError(f"checkpoint {path} holds {_described(tensors)}. {_EXPECTED}")
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise WeightsError(
                f"checkpoint {path}: {name!r} is {_described(value)}, no tensor. {_EXPECTED}"
            )
    return dict(tensors)


def _described(value: object) -> str:
    empty = isinstance(value, Mapping) and not value
    return "an empty dict" if empty else f"a {type(value).__name__}"
