"""smol's sizes, as transformers keeps them."""

from __future__ import annotations

from typing import Any

from transformers import LlamaConfig, PreTrainedConfig

from t4spp_plugins.towers.mobile_sam import CELLS

SHUFFLE = 4
"""Cells of the tower that one image token joins, along each axis."""
SIDE = CELLS // SHUFFLE
"""Image tokens along each axis."""
NUM_IMAGE_TOKENS = SIDE * SIDE


class SmolConfig(PreTrainedConfig):
    """Sizes of :class:`SmolForConditionalGeneration`.

    Args:
        text_config: of the Llama that writes.
        image_token_id: the token that stands for a cell group of the picture.
        connector_width: hidden units of the connector.
    """

    model_type = "t4spp_smol"
    sub_configs = {"text_config": LlamaConfig}  # noqa: RUF012  # transformers' own notation

    def __init__(
        self,
        text_config: LlamaConfig | dict[str, Any] | None = None,
        image_token_id: int = 0,
        connector_width: int = 1152,
        **kwargs: Any,
    ) -> None:
        """Keep the sizes."""
        if not isinstance(text_config, LlamaConfig):
            text_config = LlamaConfig(**(text_config or {}))
        self.text_config = text_config
        self.image_token_id = image_token_id
        self.connector_width = connector_width
        kwargs["tie_word_embeddings"] = text_config.tie_word_embeddings
        super().__init__(**kwargs)
