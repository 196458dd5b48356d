"""SAM, SAM-HQ and SAM 2 by transformers, from a folder or the hub.

Ke et al., "Segment Anything in High Quality" (arXiv 2306.01567); Ravi et al., "SAM 2: Segment
Anything in Images and Videos" (arXiv 2408.00714). SAM 2 sees pictures stretched to a square, the
others see them padded.

Legend: N regions; h, w, C of a level of features.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from t4spp.errors import WeightsError, nearest
from t4spp.features import FeatureCache
from t4spp.types import Image
from t4spp_plugins.refiners.configs import HfSamConfig
from t4spp_plugins.refiners.frames import Frame
from t4spp_plugins.refiners.prompted import PromptedRefiner
from t4spp_plugins.refiners.prompting import Prompts, SamModel

CLASSES = {
    "sam": "SamModel",
    "sam_hq": "SamHQModel",
    "sam2": "Sam2Model",
    "sam2_video": "Sam2Model",
}
"""By the config's ``model_type``; the published SAM 2 checkpoints are whole video models."""

_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
_PICTURES_IN_MEMORY = 4


def build_hf_sam_refiner(config: HfSamConfig) -> PromptedRefiner:
    """The refiner ``hf-sam``.

    Raises:
        WeightsError: there is no such checkpoint, or it holds another model.
    """
    return PromptedRefiner(HfSam(load_hf_sam(config.checkpoint)), config)


def load_hf_sam(checkpoint: str) -> Any:
    """A SAM of transformers, from safetensors only.

    Raises:
        WeightsError: there is no such checkpoint, it holds another model, or tensors are missing.
    """
    import transformers
    from safetensors import SafetensorError

    try:
        config = transformers.AutoConfig.from_pretrained(checkpoint)
        if config.model_type not in CLASSES:
            raise WeightsError(
                f"refiner hf-sam: {checkpoint} is a model of type {config.model_type!r}; valid: "
                f"{', '.join(CLASSES)}.{nearest(config.model_type, CLASSES)}"
            )
        kind = getattr(transformers, CLASSES[config.model_type])
        model, loaded = kind.from_pretrained(
            checkpoint, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"refiner hf-sam: {checkpoint!r} cannot be loaded: {first} Name in "
            "refiner.params.checkpoint a folder that transformers saved with safetensors, or a "
            "model of its hub, which must be reachable or in its cache."
        ) from error
    missing = sorted(loaded["missing_keys"])
    if missing:
        raise WeightsError(
            f"refiner hf-sam: {checkpoint} lacks {len(missing)} tensors of {kind.__name__}, the "
            f"first is {missing[0]!r}. Name a whole checkpoint of SAM, SAM-HQ or SAM 2."
        )
    return model


class HfSam(SamModel):
    """One of transformers' SAMs, on the GPU where there is one."""

    def __init__(self, model: Any) -> None:
        """Keep the model, frozen; it moves to the device when it is first used."""
        self.model = model.requires_grad_(False).eval()
        self.kind: str = CLASSES[model.config.model_type]
        prompts = model.config.prompt_encoder_config
        self._side = int(prompts.image_size)
        self._low = 4 * (self._side // int(prompts.patch_size))
        self._levels = {"SamModel": 1, "SamHQModel": 2, "Sam2Model": 3}[self.kind]
        self._cache = FeatureCache(num_in_memory=_PICTURES_IN_MEMORY * self._levels)
        self._device: torch.device | None = None

    def frame(self, size: tuple[int, int]) -> Frame:
        """Stretched for SAM 2, padded for the others."""
        return Frame(size=size, side=self._side, low=self._low, stretched=self.kind == "Sam2Model")

    def encode(self, image: Image) -> tuple[Tensor, ...]:
        """SAM: [1, C, h, w]; SAM-HQ: that and an early layer's [1, h, w, C]; SAM 2: 3 levels."""
        device = self._settle()
        fresh: list[Tensor] = []

        def level(number: int) -> Tensor:
            if not fresh:
                fresh.extend(self._encode(image))
            return fresh[number]

        return tuple(
            self._cache.get(image, f"level-{number}", partial(level, number)).to(device)
            for number in range(self._levels)
        )

    @torch.inference_mode()
    def _encode(self, image: Image) -> list[Tensor]:
        pixels = self._pixels(image)[None].to(self._settle())
        if self.kind == "SamModel":
            return [self.model.get_image_embeddings(pixels)]
        if self.kind == "Sam2Model":
            return list(self.model.get_image_embeddings(pixels))
        features, early = self.model.get_image_embeddings(pixels)
        return [features, early[0]]

    def _pixels(self, image: Image) -> Tensor:
        """uint8[H, W, 3] as the encoder takes it, float32[3, side, side]."""
        frame = self.frame((image.shape[0], image.shape[1]))
        rows, columns = frame.inner
        picture = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
        laid = functional.interpolate(picture, (rows, columns), mode="bilinear", antialias=True)
        normal = (laid[0].float() / 255 - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(
            _DEVIATION
        )[:, None, None]
        return functional.pad(normal, (0, self._side - columns, 0, self._side - rows))

    @torch.inference_mode()
    def decode(self, encoded: tuple[Tensor, ...], prompts: Prompts) -> tuple[Tensor, Tensor]:
        """One call for all prompts; see :class:`SamModel`.

        Each region stands as a picture of its own: transformers' decoders take one mask prompt a
        picture.
        """
        device = self._settle()
        num = len(prompts.kinds)
        features = [level.expand(num, -1, -1, -1) for level in encoded]
        given: dict[str, Any] = {"image_embeddings": features[0]}
        if self.kind == "Sam2Model":
            given["image_embeddings"] = features
        elif self.kind == "SamHQModel":
            given["intermediate_embeddings"] = features[1:]
        # The models add half a pixel to every coordinate.
        boxes = prompts.boxes
        found = self.model(
            **given,
            input_points=(prompts.points - 0.5)[:, None].to(device),
            input_labels=prompts.kinds[:, None].to(device),
            input_boxes=None if boxes is None else (boxes - 0.5)[:, None].to(device),
            input_masks=prompts.masks.to(device),
            multimask_output=False,
        )
        return found.pred_masks[:, 0, 0].float().cpu(), found.iou_scores[:, 0, 0].float().cpu()

    def _settle(self) -> torch.device:
        if self._device is None:
            self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            self.model.to(self._device)
        return self._device
