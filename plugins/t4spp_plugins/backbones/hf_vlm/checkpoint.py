"""Where a checkpoint lies, what it says about itself, and a cheap fingerprint of its files."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from t4spp.errors import BackboneError

_NEEDED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
"""What is taken from the hub: descriptions, tokenizers, and weights that are never unpickled."""
_DESCRIBING = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
    "processor_config.json",
    "chat_template.json",
    "chat_template.jinja",
)
"""Files that decide what the model reads, besides its weights."""
_WHOLE = 256 * 2**20
_SAMPLES, _SAMPLE = 64, 64 * 2**10


@cache
def find(checkpoint: str, revision: str | None = None) -> Path:
    """The folder of a checkpoint; a hub's is downloaded once and then taken from its cache.

    ``HF_HUB_OFFLINE=1`` keeps from asking the hub, ``HF_HOME`` moves its cache.

    Args:
        checkpoint: a folder, or a hub name such as ``Qwen/Qwen2-VL-2B-Instruct``.
        revision: branch, tag or commit of a hub name.

    Raises:
        BackboneError: there is no such folder, and the hub does not give it.
    """
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise BackboneError(
            f"hf-vlm: backbone.params.checkpoint={checkpoint} is a file. Name the folder with "
            "config.json and the *.safetensors files."
        )
    if not _is_hub_name(checkpoint):
        raise BackboneError(
            f"hf-vlm: backbone.params.checkpoint={checkpoint} is no folder here, and no hub name "
            "(owner/name). Name the folder with config.json and the *.safetensors files, or a hub "
            "name."
        )
    return _from_hub(checkpoint, revision)


def _is_hub_name(checkpoint: str) -> bool:
    parts = checkpoint.split("/")
    return len(parts) == 2 and all(part.strip(".~") for part in parts) and "\\" not in checkpoint


def _from_hub(checkpoint: str, revision: str | None) -> Path:
    import httpx
    from huggingface_hub import constants, snapshot_download

    offline = bool(constants.HF_HUB_OFFLINE)
    try:
        return Path(snapshot_download(checkpoint, revision=revision, allow_patterns=_NEEDED))
    except (OSError, ValueError, httpx.HTTPError) as error:
        tried = [
            f"the folder {Path(checkpoint).expanduser()}: absent",
            f"the hub's cache {constants.HF_HUB_CACHE}: not there, or not whole",
            "the hub: not asked, HF_HUB_OFFLINE is set"
            if offline
            else f"the hub ({constants.ENDPOINT}): {_first_line(error)}",
        ]
        named = checkpoint if revision is None else f"{checkpoint} at {revision!r}"
        raise BackboneError(
            f"hf-vlm: the checkpoint {named} cannot be had. Tried: {'; '.join(tried)}. Copy the "
            "checkpoint's folder here and name it in backbone.params.checkpoint, or fetch it where "
            f"there is a network: hf download {checkpoint}"
        ) from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def described(folder: Path) -> dict[str, Any]:
    """The content of a checkpoint's ``config.json``.

    Raises:
        BackboneError: it is missing or damaged, or names no model type.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise BackboneError(
            f"hf-vlm: {folder} has no config.json that can be read ({error.strerror}). Name the "
            "folder of a whole checkpoint in transformers' format in backbone.params.checkpoint."
        ) from error
    except ValueError as error:
        raise BackboneError(
            f"hf-vlm: {path} is damaged ({error}). Copy the checkpoint again."
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise BackboneError(
            f"hf-vlm: {path} names no model_type, so it is no model in transformers' format. Name "
            "another folder in backbone.params.checkpoint."
        )
    return config


def weight_files(folder: Path) -> list[Path]:
    """The checkpoint's safetensors files, sorted.

    Raises:
        BackboneError: there is none.
    """
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        others = sorted(path.name for path in folder.glob("*.bin"))
        has = f" It has {', '.join(others)}, which could run code when read." if others else ""
        raise BackboneError(
            f"hf-vlm: {folder} has no *.safetensors file, and weights of no other kind are read."
            f"{has} Convert the checkpoint: model.save_pretrained(folder) writes safetensors."
        )
    return found


def fingerprint(folder: Path) -> str:
    """16 hexadecimal digits of a checkpoint's description and weights.

    Weight files up to 256 MiB are read whole; of larger ones the name, the size, the header and 64
    samples of 64 KiB each are, so that a checkpoint of any size takes less than a second or so.

    Raises:
        BackboneError: the checkpoint has no description or no weights.
    """
    described(folder)
    digest = hashlib.sha256()
    for name in _DESCRIBING:
        path = folder / name
        if path.is_file():
            digest.update(f"{name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    for path in weight_files(folder):
        digest.update(f"{path.name}\n{path.stat().st_size}\n".encode())
        _read_into(digest, path)
    return digest.hexdigest()[:16]


def _read_into(digest: Any, path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        if size <= _WHOLE:
            for block in iter(lambda: stream.read(2**20), b""):
                digest.update(block)
            return
        header = int.from_bytes(stream.read(8), "little")
        digest.update(stream.read(min(header, 2**26)))
        for number in range(_SAMPLES):
            stream.seek((size - _SAMPLE) * number // (_SAMPLES - 1), os.SEEK_SET)
            digest.update(stream.read(_SAMPLE))
