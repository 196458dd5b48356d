"""How nano's conversations are written: token ids, and the picture's pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image as Pictures

from t4spp.types import Image
from t4spp_plugins.backbones.collating import ChatFormat, plain_ids
from t4spp_plugins.backbones.nano.model import IMAGE_SIZE, NUM_IMAGE_TOKENS
from t4spp_plugins.backbones.nano.vocabulary import ASSISTANT, CONTROL_TOKENS, END, IMAGE, USER


def to_pixels(image: Image) -> torch.Tensor:
    """uint8[H, W, 3] -> float32[3, 128, 128] in -1..1, stretched bilinearly with antialiasing."""
    if image.shape[:2] != (IMAGE_SIZE, IMAGE_SIZE):
        picture = Pictures.fromarray(image).resize(
            (IMAGE_SIZE, IMAGE_SIZE), Pictures.Resampling.BILINEAR
        )
        image = np.asarray(picture)
    return torch.from_numpy(image.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)


def chat_format(tokenizer: Any, *, looks: bool = False) -> ChatFormat:
    """``{image tokens}<|user|>{question}<|assistant|>{answer}<|end|>``.

    Args:
        tokenizer: nano's, which has learnt the scheme's tokens.
        looks: whether the model is told which image tokens show what is asked for.
    """
    user, assistant, end, image = tokenizer.convert_tokens_to_ids([USER, ASSISTANT, END, IMAGE])
    return ChatFormat(
        picture=[image] * NUM_IMAGE_TOKENS,
        before=[user],
        between=[assistant],
        after=[end],
        padding=int(tokenizer.pad_token_id),
        ids=lambda text: plain_ids(tokenizer, text, CONTROL_TOKENS),
        tensors=lambda image: {"pixel_values": to_pixels(image)},
        side=round(NUM_IMAGE_TOKENS**0.5) if looks else None,
    )
