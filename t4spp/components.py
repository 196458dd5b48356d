"""What plugins describe and what they build: Component, Backbone, Refiner, Recipe, Tracker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from t4spp.errors import RecipeError
from t4spp.types import Decoded, Image, Sample

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from t4spp.data.conversation import Conversation
    from t4spp.geo.view import SceneView
    from t4spp.schemes.base import Scheme


@dataclass(frozen=True, kw_only=True)
class ReferenceModel:
    """A well-known architecture that a backbone serves, for ``t4spp bench memory``.

    Attributes:
        name: as people call it.
        config: the content of its ``config.json``, as far as it decides shapes.
        lora_targets: the linear layers that LoRA adapts, as :meth:`Backbone.lora_targets` has them.
        trained_whole: modules that are trained whole, as :meth:`Backbone.trained_whole` has them.
    """

    name: str
    config: Mapping[str, Any]
    lora_targets: Sequence[str] | str = "all-linear"
    trained_whole: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Component:
    """A lazy description of something a plugin offers. Heavy imports happen inside ``build``.

    Attributes:
        name: how a config names it.
        config: pydantic model of its ``params`` (``extra="forbid"``, frozen).
        build: called with one validated ``config`` instance; returns the scheme, backbone, ...
        summary: one line for ``t4spp plugins``.
        requires: import names that must be installed, checked before ``build``.
        sources: of a recipe, where its data come from and under which licence, so that
            ``t4spp data list`` can tell without building it.
        references: of a backbone, well-known architectures that it serves.
        default: whether commands take it where its kind is needed and none is named; at most one
            of a kind.
    """

    name: str
    config: type[BaseModel]
    build: Callable[[Any], Any]
    summary: str = ""
    requires: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    references: Callable[[], Sequence[ReferenceModel]] | None = None
    default: bool = False


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a dataset comes from."""

    url: str
    licence: str
    sha256: str | None = None
    note: str = ""


class Recipe(ABC):
    """A dataset: sized, indexable splits that never hold all images in memory."""

    sources: ClassVar[tuple[Source, ...]] = ()

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The names that ``samples`` accepts."""

    @abstractmethod
    def samples(self, split: str) -> Sequence[Sample]:
        """The samples of a split; ``len`` and indexing are cheap, pixels are read lazily.

        Raises:
            RecipeError: unknown split, or files are missing.
        """

    def verify(self) -> list[str]:
        """What is missing or damaged on disk, one message each; empty when all is well."""
        return []

    def counters(self) -> Mapping[str, int]:
        """How many of what were dropped, changed or sanitised while reading; empty when none."""
        return {}

    def label_ids(self) -> Mapping[str, Sequence[int]]:
        """The ids that each label has in the dataset's own class-id masks; empty without such.

        Class-id masks that another system wrote are read by them.
        """
        return {}

    def scene_objects(self, scene: str, label: str) -> Sequence[Any] | None:
        """The true objects of a label in a scene, where they are known better than as masks.

        Evaluation in space compares objects with them, and draws its truth from them on the
        scene's own pixels, whatever resolution the samples have.

        Args:
            scene: path of the scene, as :class:`t4spp.types.GeoRef` has it.
            label: that samples were asked for.

        Returns:
            shapely polygons in the scene's CRS; None where the samples' masks are all there is.
        """
        return None

    def write(self, folder: Path) -> Sequence[Path]:
        """Write the dataset that this recipe generates into an existing folder, as files.

        Returns:
            The files that are meant to be opened, in order; others may stand beside them.

        Raises:
            RecipeError: the recipe generates no files, or the folder cannot take them.
        """
        raise RecipeError(
            f"{type(self).__name__} generates no files, so that there is nothing to write."
        )

    def scene_view(self) -> SceneView | None:
        """How scenes become pictures (bands, scaling, windows); None where pictures are no scenes.

        ``t4spp predict`` reads a scene of any size by the view of the run's recipe, so that the
        model sees what it was trained on.
        """
        return None


@dataclass(kw_only=True)
class ModelInputs:
    """One batch.

    Attributes:
        tensors: keyword arguments of the model's ``forward`` (``input_ids`` int64[B, L],
            ``attention_mask``, of packs bool[B, 1, L, L] and with ``position_ids``,
            ``pixel_values``, and ``labels`` int64[B, L] with -100 outside
            answers when training).
        num_answer_tokens: answer tokens in ``labels`` over the batch; 0 for generation.
        too_long: ids of conversations that did not fit ``max_length`` and are not in the batch.
        unpacked: ids of companions that would have made their sequence longer than that.
    """

    tensors: dict[str, torch.Tensor]
    num_answer_tokens: int = 0
    too_long: tuple[str, ...] = ()
    unpacked: tuple[str, ...] = ()


class Backbone(ABC):
    """A multimodal language model behind one interface."""

    model: PreTrainedModel | None = None
    """None for a backbone that answers by itself (``answer``) and cannot be trained."""
    tokenizer: PreTrainedTokenizerBase | None = None
    native_box_format: str | None = None
    """How the model writes a box by itself, in a few English words that go on "writes a box as";
    the prompt that explains a scheme with boxes tells them apart. None where it has no format."""
    end_ids: tuple[int, ...] = ()
    """Tokens that end an answer, besides those that tokenizer and generation config name."""
    answer_joint: str = ""
    """What stands between a prompt and an answer's first word, and is the model's to write: a blank
    where a chat template ends in ``ASSISTANT:``. The grammar of answers begins with it."""
    untrained_tokens: tuple[str, ...] = ()
    """The scheme's tokens that ``load`` added: no training has seen their rows yet."""
    packs: ClassVar[bool] = False
    """Whether ``collate_packs`` is there."""

    @abstractmethod
    def load(self, scheme_tokens: Sequence[str]) -> None:
        """Make ``model`` and ``tokenizer``; the tokenizer learns ``scheme_tokens`` in order.

        Raises:
            BackboneError: weights are missing or damaged.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies the base weights and the architecture; a checkpoint records it."""

    def collate(
        self,
        conversations: Sequence[Conversation],
        *,
        training: bool,
        max_length: int | None = None,
    ) -> ModelInputs:
        """Batch conversations. Generation pads left and leaves the answers out.

        A conversation longer than ``max_length`` tokens (image tokens counted) goes to
        ``too_long``; it is never cut.
        """
        raise TypeError(f"{type(self).__name__} has no model to collate for")

    def collate_packs(
        self, packs: Sequence[Sequence[Conversation]], *, max_length: int | None = None
    ) -> ModelInputs:
        """Batch conversations to train on, those about one picture in one sequence behind it.

        The conversations of a pack do not see each other: losses and gradients are those of
        separate sequences, dropout apart. A pack's first conversation goes to ``too_long`` as in
        ``collate``; others that do not fit into ``max_length`` behind it go to ``unpacked``.
        """
        raise TypeError(f"{type(self).__name__} collates every conversation apart")

    def lora_targets(self) -> list[str] | str:
        """Names, or one regular expression, of the linear layers that LoRA adapts."""
        return "all-linear"

    def trained_whole(self) -> tuple[str, ...]:
        """Names of modules that training with LoRA trains whole and saves with the adapter."""
        return ()

    def before_training(self, samples: Sequence[Sample], *, seed: int, is_main: bool) -> None:  # noqa: B027
        """Ready parts that begin from random weights, on the training samples; here nothing.

        Called once on every process, with the model on its device, before a training that starts
        from the backbone's own weights; not for one that resumes or has ``training.init_from``.

        Args:
            samples: of the training split.
            seed: the run's; processes that get the same must make the same weights.
            is_main: whether this process may show progress.

        Raises:
            RecipeError: a picture is missing or damaged.
        """

    def frozen_weights(self) -> str | None:
        """One regular expression of how the names of weights begin that full training leaves."""
        return None

    def num_image_tokens(self, size: tuple[int, int]) -> int:
        """Tokens that a picture of (H, W) pixels takes in the prompt."""
        return 0

    def save_processor(self, folder: Path) -> None:
        """Write what reads text and pictures beside an exported model; here the tokenizer alone.

        A backbone whose model comes with a processor of transformers overrides this and saves it,
        with the tokenizer that has learnt the scheme's tokens.
        """
        if self.tokenizer is None:
            raise TypeError(f"{type(self).__name__} has no tokenizer to save")
        self.tokenizer.save_pretrained(str(folder))

    def answer(self, samples: Sequence[Sample], scheme: Scheme) -> list[str]:
        """Answers of a backbone without a model (``model is None``), one whole answer a sample."""
        raise TypeError(f"{type(self).__name__} answers through its model")


class Refiner(ABC):
    """Turns coarse regions into fine ones."""

    reads_pixels: ClassVar[bool] = True
    """False: ``image`` is not looked at, and may be an array of the right size without content."""

    @abstractmethod
    def refine(self, image: Image, decoded: Decoded) -> Decoded:
        """Return ``decoded`` with better masks; status and problems are kept."""

    def counters(self) -> Mapping[str, int]:
        """How many regions became what since the refiner was built; empty when it counts none."""
        return {}

    def choices(self) -> Mapping[str, Sequence[Any]]:
        """Params worth choosing by measurement, each with the values to try; empty when none."""
        return {}

    def refine_under(self, image: Image, decoded: Decoded, configs: Sequence[Any]) -> list[Decoded]:
        """As ``refine`` under each of several configs of this refiner; counts nothing.

        Only a refiner with ``choices`` has it.
        """
        raise TypeError(f"{type(self).__name__} has nothing to choose")


@dataclass(kw_only=True)
class TrackedRun:
    """What a tracker is told at the start of a run.

    Attributes:
        name: of the run.
        folder: the run's.
        config: resolved.
        tags: of the run.
        resumed: whether it goes on with what the folder holds; otherwise nothing that a tracker
            left there belongs to it.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    tags: tuple[str, ...] = field(default=())
    resumed: bool = False


class Tracker(ABC):
    """Follows a run. Every method is called on the main process only."""

    @abstractmethod
    def start(self, run: TrackedRun) -> None:
        """Begin."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Losses, learning rate, speeds at an optimiser step."""

    def scores(self, split: str, metrics: Mapping[str, Any]) -> None:  # noqa: B027
        """The content of ``metrics.json`` after an evaluation."""

    def overlays(self, step: int, overlays: Sequence[Any]) -> None:  # noqa: B027
        """Pictures with masks: :class:`t4spp.report.gallery.Overlay` items."""

    def predictions(self, path: Path) -> None:  # noqa: B027
        """The predictions' JSON Lines file."""

    def artifact(self, name: str, kind: str, path: Path) -> None:  # noqa: B027
        """A file or folder worth keeping, for example the adapter."""

    @abstractmethod
    def finish(self) -> None:
        """End; also called after an error."""
