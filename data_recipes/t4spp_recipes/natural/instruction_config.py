"""Parameters of ``visual-instructions``. Imported by the registration: pydantic only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from t4spp.components import Component, Source

if TYPE_CHECKING:
    from t4spp_recipes.natural.visual_instructions import VisualInstructions

Layout = Literal["llava", "qa", "vqav2", "pope"]

INSTRUCTION_SOURCES = (
    Source(
        url="https://huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K",
        licence="CC BY 4.0; answers made by GPT-4, under OpenAI's terms; pictures under their own",
        note="llava_v1_5_mix665k.json; pictures of COCO, GQA, OCR-VQA, TextVQA, Visual Genome",
    ),
    Source(
        url="https://visualqa.org/download.html",
        licence="annotations CC BY 4.0; pictures are COCO's",
        note="v2_OpenEnded_mscoco_*_questions.json with v2_mscoco_*_annotations.json",
    ),
    Source(
        url="https://github.com/AoiDragon/POPE",
        licence="MIT; pictures are COCO's val2014",
        note="output/coco/coco_pope_{random,popular,adversarial}.json",
    ),
)


class VisualInstructionsConfig(BaseModel):
    """Parameters of ``visual-instructions``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    annotations: Path | dict[str, Path]
    """JSON or JSON lines with the answers; or one file a split: ``{train: ..., val: ...}``."""
    questions: Path | dict[str, Path] | None = None
    """VQAv2's questions, which stand in a file of their own; or one a split."""
    images: Path | dict[str, Path]
    """Folder of the pictures, in any sub-folder; or one a split."""
    layout: Literal["auto"] | Layout = "auto"
    """How the file is laid out; ``auto`` tells by its keys."""
    turns: Literal["all", "first"] = "all"
    """Of a conversation: each question a sample behind the turns before it, or the first alone."""
    instruction: str = ""
    """Stands behind every question: "Answer the question using a single word or phrase."."""
    missing_pictures: Literal["fail", "skip"] = "fail"
    """A picture that is not under ``images``: fail when it is asked for, or skip and count."""
    val_share: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of pictures whose questions are split off as ``val``; the others are ``train``."""
    seed: int = 0
    """Of ``val_share``."""

    @model_validator(mode="after")
    def _fits_together(self) -> VisualInstructionsConfig:
        several = isinstance(self.annotations, dict)
        if several and not self.annotations:
            raise ValueError("annotations: name at least one split, {train: FILE, val: FILE}")
        if several and self.val_share:
            raise ValueError("val_share: the splits are given by annotations already; set it to 0")
        for name in ("images", "questions"):
            given = getattr(self, name)
            if isinstance(given, dict) and not several:
                raise ValueError(f"{name}: one a split needs annotations a split as well")
        if self.questions is not None and self.layout not in ("auto", "vqav2"):
            raise ValueError(
                f"questions: only VQAv2 has a file of questions, and layout is {self.layout}"
            )
        if isinstance(self.questions, Path) and several:
            raise ValueError("questions: give one a split, as annotations")
        if self.layout == "vqav2" and self.questions is None:
            raise ValueError("questions: VQAv2's questions stand in a file of their own; name it")
        return self


def _build(config: VisualInstructionsConfig) -> VisualInstructions:
    from t4spp_recipes.natural.visual_instructions import VisualInstructions

    return VisualInstructions(config)


VISUAL_INSTRUCTIONS = Component(
    name="visual-instructions",
    config=VisualInstructionsConfig,
    build=_build,
    summary="questions and answers in words: LLaVA's JSON, VQAv2, POPE, JSON lines",
    requires=("PIL",),
    sources=INSTRUCTION_SOURCES,
)
