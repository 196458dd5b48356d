"""RefShapes: synthetic referring segmentation, generated on the fly, deterministic by seed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, overload

from t4spp.components import Recipe, Source
from t4spp.errors import RecipeError, nearest
from t4spp.types import Sample, Target
from t4spp_recipes.synthetic.params import SPLITS, UNSEEN_PAIRS, RefShapesParams
from t4spp_recipes.synthetic.phrases import Phrase, make_phrases
from t4spp_recipes.synthetic.scenes import Scene, make_scene

BLIND_PROMPT = "the object"
"""Every prompt, where ``prompt_blind`` hides the phrases."""


class RefShapes(Recipe):
    """Objects of colour, shape, size and relation on textured grounds.

    A sample is one phrase about one scene: by attribute ("the red ring"), size, position,
    relation, group ("all blue circles": several targets of one label) or without a target.
    The label is the phrase. Tags: ``kind:...`` of the phrase, ``unseen-pair`` where a target is
    of a colour-shape pair that no training scene holds, ``no-target``.
    """

    sources = (
        Source(url="generated", licence="CC0-1.0", note="made on the fly; nothing to download"),
    )

    def __init__(self, params: RefShapesParams) -> None:
        """Check the parameters; nothing is generated yet."""
        unknown = sorted(set(params.num_scenes) - set(SPLITS))
        if unknown:
            raise RecipeError(
                f"refshapes: num_scenes names the split {unknown[0]!r}; valid: "
                f"{', '.join(SPLITS)}.{nearest(unknown[0], SPLITS)}"
            )
        self.params = params

    @property
    def splits(self) -> tuple[str, ...]:
        """``train``, ``val`` and ``test``."""
        return tuple(SPLITS)

    def samples(self, split: str) -> Sequence[Sample]:
        """The split's samples, made when they are indexed."""
        if split not in SPLITS:
            raise RecipeError(
                f"refshapes has no split {split!r}; valid: {', '.join(SPLITS)}."
                f"{nearest(split, SPLITS)}"
            )
        return RefShapesSplit(self.params, split)


class RefShapesSplit(Sequence[Sample]):
    """The samples of one split; index ``scene * prompts_per_scene + prompt``."""

    def __init__(self, params: RefShapesParams, split: str) -> None:
        """Generate nothing yet."""
        self.params = params
        self.split = split
        self.unseen = split != "train"
        self._build_cache()

    def _build_cache(self) -> None:
        self._scene = lru_cache(maxsize=16)(self._make_scene)
        self._phrases = lru_cache(maxsize=16)(self._make_phrases)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the cache behind, so that worker processes start empty."""
        return {
            key: value for key, value in self.__dict__.items() if key not in ("_scene", "_phrases")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore with an empty cache."""
        self.__dict__.update(state)
        self._build_cache()

    def __len__(self) -> int:
        """Scenes times prompts."""
        return self.params.num_scenes.get(self.split, 0) * self.params.prompts_per_scene

    def _seed(self, *more: int) -> tuple[int, ...]:
        return (self.params.seed, SPLITS[self.split], *more)

    def _make_scene(self, index: int) -> Scene:
        return make_scene(self.params.scene_difficulty, self._seed(index), unseen=self.unseen)

    def scene(self, index: int) -> Scene:
        """The scene number ``index``, with its objects; what pretraining looks at."""
        return self._scene(index)

    def phrases(self, index: int) -> tuple[Phrase, ...]:
        """The phrases about the scene number ``index``."""
        return self._phrases(index)

    def _make_phrases(self, index: int) -> tuple[Phrase, ...]:
        return make_phrases(
            self._scene(index),
            self._seed(index),
            self.params.prompts_per_scene,
            no_target=self.params.no_target,
            unseen=self.unseen,
        )

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """One sample, or a list of them for a slice."""
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"refshapes {self.split}: {index} of {len(self)} samples")
        number, prompt = divmod(index % len(self), self.params.prompts_per_scene)
        scene = self._scene(number)
        phrase = self._phrases(number)[prompt]
        text = BLIND_PROMPT if self.params.prompt_blind else phrase.text
        named = [scene.objects[position] for position in phrase.objects]
        tags = [f"kind:{phrase.kind}"]
        if not named:
            tags.append("no-target")
        if any((thing.colour, thing.shape) in UNSEEN_PAIRS for thing in named):
            tags.append("unseen-pair")
        return Sample(
            id=f"{self.split}-{number:06d}-{prompt}",
            size=(scene.difficulty.size, scene.difficulty.size),
            prompt=text,
            targets=tuple(Target(label=text, mask=thing.mask) for thing in named),
            load_image=scene.render,
            labels=(text,),
            kind="partial",
            image_id=f"{self.split}-{number:06d}",
            tags=tuple(tags),
        )
