"""Tiny checkpoints of every family of hf-vlm: random weights, tokenizers and processors made here.

Each is a folder as a user's checkpoint is one, loaded through the same door.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from t4spp.data.conversation import Conversation
from t4spp_plugins.backbones.hf_vlm.backbone import HfVlmBackbone
from t4spp_plugins.backbones.hf_vlm.config import HfVlmConfig

ANSWER = "Here it is.\n<seg>the dog<|loc1|><|loc22|><|loc333|><|loc999|><|bg4|><|fg12|></seg>"
CORPUS = [
    "Segment the dog. Please segment the cat on the left in this picture. USER: ASSISTANT: user",
    "Here it is. Sure, the mask of the dog is\n<seg>the dog *3| others *16\n</seg> assistant model",
]


def byte_level(
    special: Sequence[str],
    end: str = "<|im_end|>",
    padding: str = "<|endoftext|>",
    begin: str | None = None,
    named: dict[str, str] | None = None,
) -> Any:
    """A tokenizer of the GPT kind, as Qwen, InternVL, SmolVLM and DeepSeek have it."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    inner.train_from_iterator(CORPUS, trainer)
    return _fast(inner, special, end, padding, begin, named)


def sentencepiece(
    special: Sequence[str],
    end: str,
    padding: str,
    begin: str,
    *,
    prefix: bool,
    named: dict[str, str] | None = None,
) -> Any:
    """A tokenizer of the SentencePiece kind with bytes: Llama's with a prefix, Gemma's without."""
    words = Tokenizer(models.BPE())
    words.normalizer = normalizers.Replace(" ", "▁")
    words.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    words.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=140, show_progress=False))
    learnt = json.loads(words.to_str())["model"]
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *learnt["vocab"]]
    model = models.BPE(
        vocab={piece: number for number, piece in enumerate(pieces)},
        merges=[tuple(pair) for pair in learnt["merges"]],
        byte_fallback=True,
        fuse_unk=True,
        unk_token="<unk>",
    )
    inner = Tokenizer(model)
    blanks = normalizers.Replace(" ", "▁")
    inner.normalizer = blanks
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefix:
        inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), blanks])
        steps.append(decoders.Strip(" ", 1, 0))
    inner.decoder = decoders.Sequence(steps)
    return _fast(inner, special, end, padding, begin, named)


def _fast(
    inner: Tokenizer,
    special: Sequence[str],
    end: str,
    padding: str,
    begin: str | None,
    named: dict[str, str] | None,
) -> Any:
    from transformers import PreTrainedTokenizerFast

    make: Any = PreTrainedTokenizerFast
    options: dict[str, Any] = {} if begin is None else {"bos_token": begin}
    if named:
        options["extra_special_tokens"] = named
    tokenizer = make(tokenizer_object=inner, eos_token=end, pad_token=padding, **options)
    tokenizer.add_tokens(list(special), special_tokens=True)
    if begin is not None:
        number = tokenizer.convert_tokens_to_ids(begin)
        inner = tokenizer.backend_tokenizer
        inner.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A $B", special_tokens=[(begin, number)]
        )
    return tokenizer


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """A family's tiny checkpoint.

    Attributes:
        family: its name.
        make: from nothing to (model, processor).
        num_image_tokens: of pictures of the two sizes ``SIZES``.
    """

    family: str
    make: Callable[[], tuple[Any, Any]]
    num_image_tokens: tuple[int, int]


SIZES = ((40, 64), (48, 24))
"""(H, W) of pictures that the tests show."""


def text_sizes(tokenizer: Any, **more: Any) -> dict[str, Any]:
    """Of a language model with a few rows more than its tokenizer has tokens."""
    return {
        "vocab_size": len(tokenizer) + 7,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **more,
    }


def encoder() -> dict[str, Any]:
    """Of an encoder of CLIP's kind, 16 x 16 pixels in 16 patches."""
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 4,
    }


def chatml(picture: str) -> str:
    """A chat template of ChatML's shape."""
    return (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
        "{% for part in m['content'] %}"
        "{% if part['type'] == 'image' %}PICTURE{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ).replace("PICTURE", picture)


def qwen2_vl() -> tuple[Any, Any]:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor

    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
    config, parts = _qwen(Qwen2VLConfig, {**vision, "patch_size": 4})
    return Qwen2VLForConditionalGeneration(config), Qwen2VLProcessor(**parts)


def qwen2_5_vl() -> tuple[Any, Any]:
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
    )

    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "out_hidden_size": 32,
        "num_heads": 2,
        "window_size": 16,
        "fullatt_block_indexes": [1],
    }
    config, parts = _qwen(Qwen2_5_VLConfig, {**vision, "patch_size": 4})
    return Qwen2_5_VLForConditionalGeneration(config), Qwen2_5_VLProcessor(**parts)


def qwen3_vl() -> tuple[Any, Any]:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "out_hidden_size": 32,
        "num_heads": 2,
        "deepstack_visual_indexes": [0],
        "num_position_embeddings": 16,
    }
    config, parts = _qwen(Qwen3VLConfig, {**vision, "patch_size": 4}, tied=False, head_dim=16)
    return Qwen3VLForConditionalGeneration(config), Qwen3VLProcessor(**parts)


def _qwen(
    make: Any, vision: dict[str, Any], tied: bool = True, **text: Any
) -> tuple[Any, dict[str, Any]]:
    """The config and the parts of the processor of a Qwen with tokens of 8 x 8 pixels."""
    from transformers import Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    start, end, image, video = (
        "<|vision_start|>",
        "<|vision_end|>",
        "<|image_pad|>",
        "<|video_pad|>",
    )
    tokenizer = byte_level(["<|im_start|>", start, end, image, video, "<|box_start|>"])
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
    config = make(
        text_config=text_sizes(tokenizer, rope_parameters=rope, **text),
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids(image),
        video_token_id=tokenizer.convert_tokens_to_ids(video),
        vision_start_token_id=tokenizer.convert_tokens_to_ids(start),
        vision_end_token_id=tokenizer.convert_tokens_to_ids(end),
        tie_word_embeddings=tied,
    )
    size = {"shortest_edge": 16 * 16, "longest_edge": 48 * 48}
    parts = {
        "image_processor": Qwen2VLImageProcessor(patch_size=4, size=size),
        "tokenizer": tokenizer,
        "video_processor": Qwen2VLVideoProcessor(patch_size=4, size=size),
        "chat_template": chatml(f"{start}{image}{end}"),
    }
    return config, parts


def internvl3() -> tuple[Any, Any]:
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
    )

    context = "<IMG_CONTEXT>"
    named = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": context,
        "video_token": "<video>",
    }
    tokenizer = byte_level(["<|im_start|>", "<box>"], named=named)
    config = InternVLConfig(
        vision_config={**encoder(), "image_size": [16, 16], "patch_size": [4, 4]},
        text_config=text_sizes(tokenizer, model_type="qwen2"),
        image_token_id=tokenizer.convert_tokens_to_ids(context),
        image_seq_length=4,
        tie_word_embeddings=True,
    )
    size = {"height": 16, "width": 16}
    processor = InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=size, max_patches=6),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(size=size),
        image_seq_length=4,
        chat_template=chatml(f"{context}\n"),
    )
    return InternVLForConditionalGeneration(config), processor


def llava_1_5() -> tuple[Any, Any]:
    from transformers import (
        CLIPImageProcessor,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = sentencepiece(["<image>"], "</s>", "<pad>", "<s>", prefix=True)
    config = LlavaConfig(
        vision_config={**encoder(), "model_type": "clip_vision_model", "projection_dim": 32},
        text_config=text_sizes(tokenizer, model_type="llama"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        tie_word_embeddings=False,
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
        ),
        tokenizer=tokenizer,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=(
            "{% for m in messages %}{{ m['role'].upper() }}: {% for part in m['content'] %}"
            "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }} {% endif %}"
            "{% endfor %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
        ),
    )
    return LlavaForConditionalGeneration(config), processor


def llava_onevision() -> tuple[Any, Any]:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
    )

    tokenizer = byte_level(["<|im_start|>", "<image>", "<video>"])
    grids = [[16, 16], [16, 32], [32, 16], [32, 32], [16, 48], [48, 16], [48, 48]]
    config = LlavaOnevisionConfig(
        vision_config={**encoder(), "model_type": "siglip_vision_model", "vision_use_head": False},
        text_config=text_sizes(tokenizer, model_type="qwen2"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grids,
        tie_word_embeddings=True,
    )
    size = {"height": 16, "width": 16}
    processor = LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=grids),
        tokenizer=tokenizer,
        video_processor=LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=chatml("<image>\n"),
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def deepseek_vl() -> tuple[Any, Any]:
    from transformers import (
        DeepseekVLConfig,
        DeepseekVLForConditionalGeneration,
        DeepseekVLImageProcessor,
        DeepseekVLProcessor,
    )

    end, image = "<｜end▁of▁sentence｜>", "<image_placeholder>"
    tokenizer = byte_level(
        [], end, "<｜▁pad▁｜>", "<｜begin▁of▁sentence｜>", named={"image_token": image}
    )
    config = DeepseekVLConfig(
        vision_config=encoder(),
        text_config=text_sizes(tokenizer, model_type="llama"),
        image_token_id=tokenizer.convert_tokens_to_ids(image),
        tie_word_embeddings=False,
    )
    processor = DeepseekVLProcessor(
        image_processor=DeepseekVLImageProcessor(size={"height": 16, "width": 16}, min_size=4),
        tokenizer=tokenizer,
        num_image_tokens=16,
        chat_template=(
            "{% for m in messages %}{{ m['role'] | capitalize }}: {% for part in m['content'] %}"
            "{% if part['type'] == 'image' %}<image_placeholder>{% else %}{{ part['text'] }}"
            "{% endif %}{% endfor %}{% if m['role'] == 'user' %}\n\n{% else %}END{% endif %}"
            "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
        ).replace("END", end),
    )
    return DeepseekVLForConditionalGeneration(config), processor


def smolvlm() -> tuple[Any, Any]:
    from transformers import (
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessor,
        SmolVLMProcessor,
        SmolVLMVideoProcessor,
    )

    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)]
    special = ["<|im_start|>", "<fake_token_around_image>", "<image>", "<global-img>", *tiles]
    tokenizer = byte_level(special, end="<end_of_utterance>", padding="<|im_end|>")
    config = SmolVLMConfig(
        vision_config=encoder(),
        text_config=text_sizes(tokenizer, model_type="llama"),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        tie_word_embeddings=True,
    )
    side = {"longest_edge": 16}
    processor = SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(size={"longest_edge": 48}, max_image_size=side),
        tokenizer=tokenizer,
        video_processor=SmolVLMVideoProcessor(size=side, max_image_size=side),
        image_seq_len=4,
        chat_template=(
            "<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}: "
            "{% for part in m['content'] %}"
            "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
            "{% endfor %}<end_of_utterance>\n{% endfor %}"
            "{% if add_generation_prompt %}Assistant:{% endif %}"
        ),
    )
    return SmolVLMForConditionalGeneration(config), processor


def paligemma2() -> tuple[Any, Any]:
    from transformers import (
        PaliGemmaConfig,
        PaliGemmaForConditionalGeneration,
        PaliGemmaProcessor,
        SiglipImageProcessor,
    )

    tokenizer = sentencepiece([], "<eos>", "<pad>", "<bos>", prefix=False)
    images = SiglipImageProcessor(size={"height": 16, "width": 16})
    images.image_seq_length = 16
    processor = PaliGemmaProcessor(image_processor=images, tokenizer=tokenizer)
    config = PaliGemmaConfig(
        vision_config={**encoder(), "projection_dim": 32, "vision_use_head": False},
        text_config=text_sizes(tokenizer, model_type="gemma2", head_dim=16),
        projection_dim=32,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=True,
    )
    return PaliGemmaForConditionalGeneration(config), processor


def gemma3() -> tuple[Any, Any]:
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessor,
        Gemma3Processor,
    )

    begin, end, image = "<start_of_image>", "<end_of_image>", "<image_soft_token>"
    named = {"boi_token": begin, "eoi_token": end, "image_token": image}
    turns = ["<start_of_turn>", "<end_of_turn>"]
    tokenizer = sentencepiece(turns, "<eos>", "<pad>", "<bos>", prefix=False, named=named)
    config = Gemma3Config(
        vision_config={**encoder(), "vision_use_head": False},
        text_config=text_sizes(tokenizer, head_dim=16, sliding_window=512),
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.convert_tokens_to_ids(begin),
        eoi_token_index=tokenizer.convert_tokens_to_ids(end),
        image_token_index=tokenizer.convert_tokens_to_ids(image),
        tie_word_embeddings=True,
    )
    processor = Gemma3Processor(
        image_processor=Gemma3ImageProcessor(size={"height": 16, "width": 16}),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template=(
            "<bos>{% for m in messages %}<start_of_turn>"
            "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
            "{% for part in m['content'] %}"
            "{% if part['type'] == 'image' %}<start_of_image>{% else %}{{ part['text'] | trim }}"
            "{% endif %}{% endfor %}<end_of_turn>\n{% endfor %}"
            "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
        ),
    )
    model = Gemma3ForConditionalGeneration(config)
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)
    return model, processor


FAMILIES = {
    tiny.family: tiny
    for tiny in (
        Tiny(family="deepseek-vl", make=deepseek_vl, num_image_tokens=(16, 16)),
        Tiny(family="gemma3", make=gemma3, num_image_tokens=(4, 4)),
        Tiny(family="internvl3", make=internvl3, num_image_tokens=(28, 12)),
        Tiny(family="llava-1.5", make=llava_1_5, num_image_tokens=(16, 16)),
        Tiny(family="llava-onevision", make=llava_onevision, num_image_tokens=(120, 100)),
        Tiny(family="paligemma2", make=paligemma2, num_image_tokens=(16, 16)),
        Tiny(family="qwen2-vl", make=qwen2_vl, num_image_tokens=(28, 18)),
        Tiny(family="qwen2.5-vl", make=qwen2_5_vl, num_image_tokens=(28, 18)),
        Tiny(family="qwen3-vl", make=qwen3_vl, num_image_tokens=(28, 18)),
        Tiny(family="smolvlm", make=smolvlm, num_image_tokens=(28, 28)),
    )
}


def write_checkpoint(tiny: Tiny, folder: Path) -> Path:
    """Save a tiny checkpoint as transformers saves one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, processor = tiny.make()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def loaded(folder: Path, tokens: Sequence[str] = (), **params: Any) -> HfVlmBackbone:
    backbone = HfVlmBackbone(HfVlmConfig(checkpoint=str(folder), **params))
    backbone.load(tokens)
    return backbone


def talk(
    question: str = "Segment the dog.",
    answer: str | None = ANSWER,
    size: tuple[int, int] = (40, 64),
    seed: int = 0,
    name: str = "a",
    **more: Any,
) -> Conversation:
    picture = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Conversation(
        id=name, question=question, answer=answer, size=size, load_image=lambda: picture, **more
    )
