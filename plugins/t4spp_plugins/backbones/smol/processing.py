"""smol's processor, for whoever uses the model with transformers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import (
    AutoImageProcessor,
    AutoProcessor,
    BatchFeature,
    ProcessorMixin,
    SamImageProcessor,
)

from t4spp_plugins.backbones.smol.configuration import NUM_IMAGE_TOKENS, SmolConfig
from t4spp_plugins.backbones.smol.parts import IMAGE

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|image|>\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A SmolLM2 chat without a system turn, the picture's tokens before the text."""


class SmolProcessor(ProcessorMixin):
    """SAM's way with pictures and SmolLM2's tokenizer."""

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep the two.

        Args:
            image_processor: transformers' ``SamImageProcessor``.
            tokenizer: knows the image token.
            chat_template: None takes :data:`CHAT_TEMPLATE`.
            **kwargs: of the base class.
        """
        super().__init__(
            image_processor, tokenizer, chat_template=chat_template or CHAT_TEMPLATE, **kwargs
        )

    def __call__(
        self, images: Any = None, text: str | Sequence[str] | None = None, **kwargs: Any
    ) -> BatchFeature:
        """Pictures and chats with one image token a picture, to the model's inputs.

        Args:
            images: a picture, or a list of them, one a chat.
            text: chats, each with ``<|image|>`` where its picture stands.
            **kwargs: of the tokenizer, for example ``return_tensors="pt"``.

        Raises:
            ValueError: the image tokens in ``text`` are not as many as the pictures.
        """
        chats = [text] if isinstance(text, str) else list(text or ())
        pictures: list[Any] = []
        if images is not None:
            pictures = list(images) if isinstance(images, (list, tuple)) else [images]
        named = sum(chat.count(IMAGE) for chat in chats)
        if named != len(pictures):
            raise ValueError(f"{named} image tokens in the text for {len(pictures)} pictures")
        kwargs.pop("padding_side", None)
        found = dict(
            self.tokenizer(
                [chat.replace(IMAGE, IMAGE * NUM_IMAGE_TOKENS) for chat in chats],
                add_special_tokens=False,
                **kwargs,
            )
        )
        if pictures:
            seen = self.image_processor(pictures, return_tensors="pt")
            found["pixel_values"] = seen["pixel_values"]
            found["image_sizes"] = seen["original_sizes"]
        return BatchFeature(found)


def make_processor(tokenizer: Any) -> SmolProcessor:
    """The processor of a tokenizer that knows the image token."""
    return SmolProcessor(SamImageProcessor(), tokenizer)


AutoImageProcessor.register(
    SmolConfig, image_processor_classes={"torchvision": SamImageProcessor}, exist_ok=True
)
AutoProcessor.register(SmolConfig, SmolProcessor, exist_ok=True)
