"""What the adapter must know about a family of models, and cannot read from its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from t4spp.errors import BackboneError
from t4spp_plugins.backbones.hf_vlm.config import LoadingConfig, PartName


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a model.

    Attributes:
        prefix: regular expression of how the names of its modules and weights begin.
        layers: regular expression of the rest of the names of its linear layers, which LoRA
            adapts; None where it has none.
        whole: names of modules that are trained whole besides LoRA, for want of linear layers.
    """

    prefix: str
    layers: str | None
    whole: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One question, and its answer where it is told.

    Attributes:
        question: the user's words.
        answer: the assistant's; None for the question that is asked.
        pictured: whether a picture stands before the question.
    """

    question: str
    answer: str | None = None
    pictured: bool = True


_LANGUAGE_LAYERS = r"layers\.\d+\.(self_attn|mlp)\.\w+_proj"
"""The linear layers of Llama, Qwen and Gemma below the model's own name."""
_TOWER_LAYERS = (
    r"(.*\.)?encoder\.layers?\.\d+\.(self_attn|attention|mlp)\.(\w+_proj|projection_layer|fc[12])"
)
"""The linear layers of CLIP's, SigLIP's and InternViT's encoders."""


def parts(
    connector: Part,
    *,
    vision: Part | None = None,
    tower: str = "vision_tower",
    language: str = "language_model",
) -> dict[PartName, Part]:
    """The parts of a model, with the names that most of them have.

    Args:
        connector: as it is.
        vision: as it is; None: an encoder of CLIP's kind.
        tower: the name of that encoder below ``model``.
        language: the language model's name below ``model``; its head is called ``lm_head``.
    """
    text = Part(prefix=rf"(model\.{language}\.|lm_head\.)", layers=_LANGUAGE_LAYERS)
    encoder = vision or Part(prefix=rf"model\.{tower}\.", layers=_TOWER_LAYERS)
    return {"vision": encoder, "connector": connector, "language": text}


PROJECTOR = Part(prefix=r"model\.multi_modal_projector\.", layers=r"linear_[12]")
"""The connector of LLaVA and those after it."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A family of models.

    A family that differs in more than values overrides a method; nothing here is imported from
    transformers, so that profiles are light to list.

    Attributes:
        name: how a config names it.
        model_types: the ``model_type`` of the ``config.json`` that it serves.
        checkpoint: hub name of the default checkpoint.
        parts: of the model.
        box_format: how the family writes boxes by itself; None where it has no format.
        several_images: whether a prompt may hold several pictures.
        converses: whether a prompt may hold several turns.
        end: the token that ends an answer; None: the tokenizer's end token.
        answer_type: what ``token_type_ids`` say of an answer's tokens.
        requires: import names of packages that its processor needs beyond transformers'.
    """

    name: str
    model_types: tuple[str, ...]
    checkpoint: str
    parts: Mapping[PartName, Part] = field(repr=False)
    box_format: str | None = None
    several_images: bool = True
    converses: bool = True
    end: str | None = None
    answer_type: int = 0
    requires: tuple[str, ...] = ()

    sizing: ClassVar[tuple[str, ...]] = ()
    """The parameters of ``LoadingConfig`` about picture sizes that the family takes."""

    def configure(self, processor: Any, params: LoadingConfig) -> None:
        """Set the processor to the parameters about picture sizes.

        Args:
            processor: as the checkpoint describes it; changed in place.
            params: whose ``min_pixels``, ``max_pixels`` and ``max_tiles`` are None unless they
                are in ``sizing``.
        """

    def match(self, model: Any, processor: Any) -> None:
        """Tell the model what it must know of the processor's settings; changes its config."""

    def num_image_tokens(self, processor: Any, size: tuple[int, int]) -> int:
        """Positions of the prompt that hold the features of a lone picture of (H, W) pixels."""
        raise NotImplementedError

    def prompt(self, processor: Any, turns: Sequence[Turn]) -> str:
        """The text that the model reads before it answers the last turn.

        A turn that shows a picture has its placeholder before the question.
        """
        return self._rendered(processor, turns, asks=True)

    def opening(self, processor: Any) -> tuple[str, str]:
        """What stands between a question and its answer, as (end of the prompt, joint).

        A prompt ends in the first; the joint stands between it and an answer that follows, and
        the model writes it with the answer's first token.
        """
        asked = self._rendered(processor, [Turn(question="?")], asks=True)
        bare = self._rendered(processor, [Turn(question="?")], asks=False)
        told = self._rendered(processor, [Turn(question="?", answer=_MARK)], asks=False)
        tail = asked[len(bare) :] if asked.startswith(bare) else ""
        joint = told[len(asked) : told.find(_MARK)] if told.startswith(asked) else ""
        return tail, joint

    def check_sizing(self, params: LoadingConfig) -> None:
        """Refuse parameters about picture sizes that mean nothing to the family.

        Raises:
            BackboneError: one of them is set.
        """
        for name in ("min_pixels", "max_pixels", "max_tiles"):
            if getattr(params, name) is not None and name not in self.sizing:
                takes = ", ".join(self.sizing) or "none: its pictures have one size"
                raise BackboneError(
                    f"backbone.params.{name}={getattr(params, name)}: the family {self.name} does "
                    f"not take it. Of the parameters about picture sizes it takes: {takes}."
                )

    def _rendered(self, processor: Any, turns: Sequence[Turn], *, asks: bool) -> str:
        messages: list[dict[str, Any]] = []
        for turn in turns:
            question = [{"type": "text", "text": turn.question}]
            if turn.pictured:
                question.insert(0, {"type": "image"})
            messages.append({"role": "user", "content": question})
            if turn.answer is not None:
                answer = [{"type": "text", "text": turn.answer}]
                messages.append({"role": "assistant", "content": answer})
        return str(
            processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=asks)
        )


_MARK = "\ue000answer\ue001"
