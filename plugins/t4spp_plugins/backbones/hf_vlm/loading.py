"""A checkpoint's model and processor, and rows for the tokens that it has not seen."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t4spp.errors import BackboneError
from t4spp_plugins.backbones.hf_vlm.checkpoint import weight_files
from t4spp_plugins.backbones.hf_vlm.config import LoadingConfig
from t4spp_plugins.backbones.hf_vlm.profile import Profile

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NOISE = 0.1
"""Spread of a new row's noise, in standard deviations of the known rows."""


def load_processor(folder: Path, profile: Profile, params: LoadingConfig) -> Any:
    """The checkpoint's processor, set to the parameters about picture sizes.

    Raises:
        BackboneError: a file or a package is missing, or one of the parameters is not the family's.
    """
    from transformers import AutoProcessor

    profile.check_sizing(params)
    missing = [name for name in profile.requires if importlib.util.find_spec(name) is None]
    if missing:
        raise BackboneError(
            f"hf-vlm: the family {profile.name} needs {', '.join(missing)}, which cannot be "
            f"imported here. Install it: pip install {' '.join(missing)}"
        )
    try:
        auto: Any = AutoProcessor
        processor = auto.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise BackboneError(
            f"hf-vlm: {folder} has no processor of the family {profile.name} "
            f"({type(error).__name__}: {_first_line(error)}). A checkpoint's folder holds its "
            "tokenizer, its image processor's settings and its chat template beside the weights: "
            "copy the whole folder."
        ) from error
    if getattr(processor, "tokenizer", None) is None or (
        getattr(processor, "image_processor", None) is None
    ):
        raise BackboneError(
            f"hf-vlm: the processor of {folder} is a {type(processor).__name__}, which reads no "
            "pictures with text. Copy the checkpoint's preprocessor_config.json and tokenizer too."
        )
    profile.configure(processor, params)
    return processor


def load_model(folder: Path, params: LoadingConfig) -> PreTrainedModel:
    """The checkpoint's model, from its safetensors files alone.

    Raises:
        BackboneError: weights are missing, damaged or of another architecture, or what
            quantisation or flash attention need is not here.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText

    weight_files(folder)
    _check_hardware(params)
    options: dict[str, Any] = {"dtype": params.dtype}
    if params.attention != "auto":
        options["attn_implementation"] = params.attention
    if params.quantization != "none":
        options["quantization_config"] = _quantised(params)
        options["device_map"] = {"": _device()}
    auto: Any = AutoModelForImageTextToText
    try:
        model, loaded = auto.from_pretrained(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        raise BackboneError(
            f"hf-vlm: the model in {folder} cannot be loaded ({type(error).__name__}: "
            f"{_first_line(error)}). Copy the checkpoint again, or look at backbone.params: dtype, "
            "quantization and attention must be such as the model and this machine know."
        ) from error
    lacking = sorted(loaded["missing_keys"])
    if lacking:
        raise BackboneError(
            f"hf-vlm: the weights in {folder} lack {len(lacking)} of the model's, the first is "
            f"{lacking[0]!r}. They are of another architecture, or not whole: copy the checkpoint "
            "again."
        )
    if params.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train(False)
    checked: PreTrainedModel = model
    return checked


def _check_hardware(params: LoadingConfig) -> None:
    """Refuse switches that need what is not here, before gigabytes are read.

    Raises:
        BackboneError: a package or the GPU is missing.
    """
    import torch

    wanted: list[tuple[str, str, str, str, str]] = []
    if params.quantization != "none":
        wanted.append(("quantization", params.quantization, "bitsandbytes", "bitsandbytes", "none"))
    if params.attention == "flash_attention_2":
        wanted.append(("attention", params.attention, "flash_attn", "flash-attn", "sdpa"))
    for key, value, module, package, way_out in wanted:
        where = f"backbone.params.{key}={value}"
        if importlib.util.find_spec(module) is None:
            raise BackboneError(
                f"hf-vlm: {where} needs the package {package}, which is not installed. Install it "
                f"(pip install {package}), or set backbone.params.{key}={way_out}."
            )
        if not torch.cuda.is_available():
            raise BackboneError(
                f"hf-vlm: {where} needs a CUDA GPU, and this process sees none. Run it where there "
                f"is one, or set backbone.params.{key}={way_out}."
            )


def _quantised(params: LoadingConfig) -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    make: Any = BitsAndBytesConfig
    if params.quantization == "8bit":
        return make(load_in_8bit=True)
    computing = torch.bfloat16 if params.dtype == "auto" else getattr(torch, params.dtype)
    return make(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=computing,
    )


def _device() -> int:
    import os

    return int(os.environ.get("LOCAL_RANK", "0"))


def give_rows(model: Any, new_ids: Sequence[int], num_rows: int, seed: int) -> None:
    """Give every new token a row: the known rows' mean, and a little seeded noise.

    Rows that stand ready behind the tokenizer's last id are used; the embeddings, and a head of its
    own, grow only where they do not suffice. What is tied stays tied.

    Args:
        model: changed in place.
        new_ids: ascending; all ids before the first are known.
        num_rows: one more than the tokenizer's largest id.
        seed: of the noise.
    """
    import torch

    if model.get_input_embeddings().weight.shape[0] < num_rows:
        with torch.random.fork_rng(devices=[]):
            model.resize_token_embeddings(num_rows, mean_resizing=False)
    if not new_ids:
        return
    tables = [model.get_input_embeddings().weight]
    head = model.get_output_embeddings()
    if head is not None and head.weight.data_ptr() != tables[0].data_ptr():
        tables.append(head.weight)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for table in tables:
            known = table[: min(new_ids)].float()
            noise = torch.randn(len(new_ids), table.shape[1], generator=generator)
            rows = known.mean(0).cpu() + _NOISE * known.std().cpu() * noise
            table[torch.tensor(list(new_ids), device=table.device)] = rows.to(table)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else "no message"
