"""The typed run config: YAML, one level of ``extends``, ``--set``; every error at once."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from t4spp.config_layers import Layers, read_layers
from t4spp.errors import ConfigError
from t4spp.plugins import Catalogue, load_catalogue
from t4spp.validation import Fault, report_faults, validate
from t4spp.yaml12 import dump_yaml


class ConfigModel(BaseModel):
    """Base of every config model: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )


class ComponentConfig(ConfigModel):
    """Names a component that a plugin offers."""

    name: str
    """As `t4spp plugins` lists it."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Checked by the plugin's own model."""


class AugmentConfig(ConfigModel):
    """How training pictures and their masks are changed; drawn anew every epoch."""

    mirror: float = Field(default=0.0, ge=0, le=1)
    """Share of samples mirrored left to right; of those that say left or right, see `sides`."""
    sides: Literal["keep", "swap"] = "keep"
    """Samples that say left or right: `keep` never mirrors them, `swap` does, and the words."""
    turn: float = Field(default=0.0, ge=0, le=1)
    """Share of samples turned by a quarter, a half or three; never one that names a direction. For
    pictures from above."""
    min_crop: float = Field(default=1.0, gt=0, le=1)
    """Crops keep at least this share of the picture's area; for prompts that name classes."""
    colour: float = Field(default=0.0, ge=0, lt=1)
    """Brightness, contrast and saturation change by at most this share."""


class PromptingConfig(ConfigModel):
    """What a question carries for a model that was never trained on the scheme."""

    explain: bool = False
    """Whether the first turn explains the scheme, with an example that it has written."""
    shots: int = Field(default=0, ge=0)
    """Answered examples before each question, drawn by seed from the training split."""


class MixturePartConfig(ConfigModel):
    """One dataset of a mixture."""

    recipe: ComponentConfig
    """The dataset."""
    name: str | None = Field(default=None, pattern=r"^[^/\s]+$")
    """Names the part in sample ids, tags and scores; null: as its recipe."""
    weight: float = Field(default=1.0, ge=0)
    """Its share of the training samples, as all weights together are 1; 0: it is only scored."""
    train_split: str | None = None
    """The recipe's split that is trained on; null: `data.train_split`."""
    eval_split: str | None = None
    """The recipe's split that is scored; null: `data.eval_split`."""
    evaluated: bool = True
    """Whether it is scored; false: it is only trained on."""
    max_train_samples: int | None = Field(default=None, ge=1)
    """Samples of its training split to use, from its start; null: all."""
    max_eval_samples: int | None = Field(default=None, ge=1)
    """Samples of its scored split to use, from its start; null: all."""

    @property
    def title(self) -> str:
        """Its name."""
        return self.name or self.recipe.name


class DataConfig(ConfigModel):
    """Which samples, and how they become conversations."""

    recipe: ComponentConfig | None = None
    """The dataset; null where there is a mixture."""
    mixture: tuple[MixturePartConfig, ...] = ()
    """Several datasets, drawn from by weight; instead of `recipe`."""
    train_split: str = "train"
    """The recipe's split that is trained on."""
    eval_split: str = "val"
    """The recipe's split that is scored."""
    max_train_samples: int | None = Field(default=None, ge=1)
    """Samples of the training split to use, from its start, or that of each part; null: all."""
    max_eval_samples: int | None = Field(default=None, ge=1)
    """Samples of the scored split to use, from its start, or that of each part; null: all."""
    templates: Literal["fixed", "varied"] = "varied"
    """`fixed` asks every question in the first wording, `varied` draws one by seed and sample."""
    max_length: int = Field(default=2048, ge=16)
    """Tokens of a whole conversation, image tokens counted; longer ones are counted, not cut."""
    companions: int = Field(default=0, ge=0)
    """Further prompts about its picture that are learnt with each sample, in one sequence."""
    augment: AugmentConfig = AugmentConfig()
    """Changes to training pictures."""
    prompting: PromptingConfig = PromptingConfig()
    """Explanations and examples in the prompt."""

    @property
    def recipes(self) -> tuple[tuple[str, ComponentConfig], ...]:
        """``(key path, component)`` of the dataset, or of each one of the mixture."""
        if self.recipe is not None:
            return (("data.recipe", self.recipe),)
        return tuple(
            (f"data.mixture.{place}.recipe", part.recipe) for place, part in enumerate(self.mixture)
        )

    @property
    def title(self) -> str:
        """What messages call the data: the recipe's name, or those of the parts."""
        return ", ".join([c.name for _, c in self.recipes] if self.recipe else self._titles())

    def _titles(self) -> list[str]:
        return [part.title for part in self.mixture]

    @model_validator(mode="after")
    def _recipe_or_mixture(self) -> Self:
        if self.recipe is not None and self.mixture:
            raise ValueError(
                "recipe and mixture are both given, and only one of them can say what the samples "
                "are: set data.recipe to null, or data.mixture to []"
            )
        if self.recipe is None and not self.mixture:
            raise ValueError("recipe is required, and missing; or name several in mixture")
        return self

    @model_validator(mode="after")
    def _parts_are_told_apart(self) -> Self:
        if not self.mixture:
            return self
        titles = self._titles()
        repeated = next((name for name in titles if titles.count(name) > 1), None)
        if repeated is not None:
            raise ValueError(
                f"mixture: {titles.count(repeated)} parts are called {repeated!r}; give each a "
                "name of its own, data.mixture.N.name"
            )
        if not any(part.weight for part in self.mixture):
            raise ValueError("mixture: every weight is 0; at least one part must be trained on")
        if not any(part.evaluated for part in self.mixture):
            raise ValueError("mixture: no part is evaluated; leave evaluated true in one at least")
        differ = any(
            (part.train_split or self.train_split) != (part.eval_split or self.eval_split)
            or part.weight == 0
            or not part.evaluated
            or part.max_train_samples != part.max_eval_samples
            for part in self.mixture
        )
        if self.train_split == self.eval_split and differ:
            raise ValueError(
                f"train_split and eval_split are both {self.train_split!r}, and parts of the "
                "mixture are not trained on and scored alike: name the two apart here, and each "
                "part's own splits there"
            )
        return self

    @model_validator(mode="after")
    def _companions_share_one_picture(self) -> Self:
        if self.companions and self.prompting.shots:
            raise ValueError(
                f"companions is {self.companions} and prompting.shots {self.prompting.shots}: "
                "companions stand behind one picture, and examples bring others. Set one of them "
                "to 0."
            )
        return self


class LoraConfig(ConfigModel):
    """Low-rank adaptation."""

    rank: int = Field(default=64, ge=1)
    """Columns of the low-rank factors."""
    alpha: float = Field(default=128, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Probability of dropping an input of the low-rank path."""
    targets: list[str] | str | None = None
    """Names, or one regular expression, of linear layers; null: the backbone's own choice."""


class TrainingConfig(ConfigModel):
    """The optimisation. The defaults are the paper's where it gives them."""

    mode: Literal["lora", "full", "none"] = "none"
    """What is trained; `none` scores the backbone as it is."""
    steps: int = Field(default=0, ge=0)
    """Optimiser steps."""
    target_tokens: int | None = Field(default=None, ge=1)
    """Answer tokens to train on, for budgets that schemes share: `steps` follows from what the
    first steps hold; null: `steps` as it is."""
    batch_size: int = Field(default=128, ge=1)
    """Conversations, or with companions sequences, an optimiser step, over all processes."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """As many of them a forward pass on one process; null: what the process gets, in one pass."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """`muon`: Muon for the linear layers' weights, AdamW for the rest; mode `full` only."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Peak learning rate; it warms up linearly and decays linearly to 0."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's running averages."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay."""
    warmup_ratio: float = Field(default=0.03, ge=0, le=1)
    """Share of the steps that the learning rate rises."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this 2-norm."""
    lora: LoraConfig = LoraConfig()
    """Used by mode `lora`."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Mixed precision; `auto`: bf16 where the device has it, else none."""
    save_every: int | None = Field(default=None, ge=1)
    """Steps between checkpoints; null: only the last step."""
    keep_last: int = Field(default=2, ge=1)
    """Checkpoints that are kept; older ones are removed once a newer one is complete."""
    evaluate_every: int | None = Field(default=None, ge=1)
    """Steps between evaluations during training; null: none."""
    eval_samples: int = Field(default=64, ge=1)
    """Samples that an evaluation during training scores."""
    log_every: int = Field(default=10, ge=1)
    """Steps between lines of `events.jsonl`."""
    num_workers: int = Field(default=0, ge=0)
    """Processes that load data, on each training process; 0: the training process itself."""
    init_from: Path | None = None
    """A run or checkpoint folder whose weights training starts from; null: the backbone's own."""

    @model_validator(mode="after")
    def _steps_fit_mode(self) -> Self:
        if self.mode != "none" and self.steps == 0 and self.target_tokens is None:
            raise ValueError(f"mode {self.mode} needs steps of 1 or more, or target_tokens")
        return self

    @model_validator(mode="after")
    def _muon_trains_whole_matrices(self) -> Self:
        if self.optimizer == "muon" and self.mode == "lora":
            raise ValueError(
                "optimizer muon takes whole matrices, mode lora trains factors of them; "
                "set optimizer adamw or mode full"
            )
        return self

    @model_validator(mode="after")
    def _micro_batches_fill_the_batch(self) -> Self:
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of "
                f"micro_batch_size {self.micro_batch_size}"
            )
        return self


class GenerationConfig(ConfigModel):
    """How answers are generated."""

    batch_size: int = Field(default=8, ge=1)
    """Prompts a batch on one process."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Tokens an answer that is a mask; null: the scheme's bound."""
    max_dialogue_tokens: int = Field(default=128, ge=1)
    """Tokens an answer in words; longer ones are cut, and counted."""
    temperature: float = Field(default=0.0, ge=0)
    """0 takes the likeliest token; above, tokens are drawn by seed."""
    candidates: int = Field(default=1, ge=1)
    """Answers drawn for each prompt; the one that agrees most with the others is kept."""
    constrained: bool = True
    """Whether answers are held to the scheme's grammar for the prompt's labels, token by token."""
    talks: bool = False
    """Whether constrained answers may say anything before the descriptor, as in a conversation."""
    copies: bool = False
    """Whether a constrained answer to a prompt that names no labels takes them from its words."""
    engine: Literal["auto", "fast", "generate"] = "auto"
    """`fast` writes several tokens a pass, `generate` is the model's own; `auto`: `fast` where
    answers are constrained."""
    drafts: int | None = Field(default=None, ge=0)
    """Tokens that `fast` guesses a pass; null: as many as pay off on the device; 0: none."""
    cache: Literal["dynamic", "static"] = "dynamic"
    """Whether the tensors of `fast`'s key-value cache grow, or keep one shape."""
    compile: bool = False
    """Whether `fast` compiles its passes with torch.compile; needs the static cache."""

    @model_validator(mode="after")
    def _compiled_passes_keep_their_shape(self) -> Self:
        if self.compile and self.cache != "static":
            raise ValueError(
                "compile is true, but a dynamic cache grows at every pass and each would be "
                "compiled anew: set generation.cache to static"
            )
        return self

    @model_validator(mode="after")
    def _candidates_differ(self) -> Self:
        if self.candidates == 2:
            raise ValueError(
                "candidates is 2, and two answers agree with each other alike: take 1, or 3 and "
                "more"
            )
        if self.candidates > 1 and self.temperature == 0:
            raise ValueError(
                f"candidates is {self.candidates}, but at temperature 0 all of them are one "
                "answer: set generation.temperature, for example to 1.0"
            )
        return self


ProtocolName = Literal[
    "native",
    "text4seg",
    "lisa",
    "grefcoco",
    "reasonseg",
    "rmsin",
    "segearth",
    "open-vocab",
    "rec",
    "contour",
    "instances",
    "masklets",
    "dialogue",
]
"""Every protocol, as :data:`t4spp.evaluation.protocols.catalogue.PROTOCOLS` has them."""


class EvaluationConfig(ConfigModel):
    """How answers are scored."""

    protocols: tuple[ProtocolName, ...] = ("native",)
    """Which protocols to report."""
    bootstrap: int = Field(default=1000, ge=0)
    """Resamples of images behind each 95 % interval; 0: no intervals."""
    space: bool = True
    """Whether windows of scenes are put together and scored by scene and by object as well."""
    object_iou: float = Field(default=0.5, gt=0, le=1)
    """IoU from which on a predicted and a true object are one, in map units."""
    least_area: float = Field(default=0.0, ge=0)
    """Square metres; smaller objects are neither missed nor invented."""
    layers: bool = True
    """Whether windows and objects are written as vector layers with what they scored."""
    workers: int | None = Field(default=None, ge=0)
    """Processes that share the scoring, where no refiner reads pixels; 0: the process itself; null:
    one a core, 8 at most, from 1000 samples on. Scores do not depend on it."""

    @field_validator("protocols")
    @classmethod
    def _some_protocol(cls, protocols: tuple[ProtocolName, ...]) -> tuple[Any, ...]:
        if not protocols:
            raise ValueError("name at least one protocol, for example [native]")
        return protocols


class TrackingConfig(ConfigModel):
    """Who follows the run besides `events.jsonl`, which is always written."""

    trackers: tuple[ComponentConfig, ...] = ()
    """Trackers, for example wandb."""


class RunConfig(ConfigModel):
    """One experiment."""

    name: str = Field(min_length=1)
    """Names the run, and its folder where none is given."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Everything random follows from it: data order, templates, initial weights, intervals."""
    scheme: ComponentConfig
    """How masks are written."""
    backbone: ComponentConfig
    """The multimodal language model."""
    refiner: ComponentConfig = ComponentConfig(name="none")
    """What sharpens decoded masks."""
    data: DataConfig
    """The samples."""
    training: TrainingConfig = TrainingConfig()
    """The optimisation."""
    generation: GenerationConfig = GenerationConfig()
    """The answers."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """The scores."""
    tracking: TrackingConfig = TrackingConfig()
    """The followers."""


def load_config(
    path: str | Path, overrides: Sequence[str] = (), catalogue: Catalogue | None = None
) -> RunConfig:
    """Read, merge and check a run's config.

    Args:
        path: a YAML file; paths inside it are relative to the working folder, except
            ``extends``, which is relative to the file.
        overrides: ``a.b.c=value`` each, the value in YAML; later ones win.
        catalogue: what components may be named; None loads the installed plugins.

    Returns:
        The config, with every component's parameters filled in with their defaults.

    Raises:
        ConfigError: naming every unknown key, wrong value and unknown component at once.
    """
    return resolve_config(read_layers(Path(path), overrides), catalogue)


def resolve_config(layers: Layers, catalogue: Catalogue | None = None) -> RunConfig:
    """Check merged layers; see :func:`load_config`."""
    catalogue = load_catalogue() if catalogue is None else catalogue
    data = copy.deepcopy(layers.data)
    data.setdefault("refiner", {"name": "none"})
    checked = validate(RunConfig, data)
    faults = list(checked) if isinstance(checked, list) else []
    broken_paths = {fault.path for fault in faults}
    for kind, where, raw in _raw_components(data):
        if not isinstance(raw, dict) or not isinstance(raw.get("name"), str):
            continue
        params = raw.get("params", {})
        if raw["name"] not in catalogue.components.get(kind, {}):
            message = catalogue.unknown(kind, raw["name"])
            faults.append(Fault(path=(*where, "name"), message=message))
        elif isinstance(params, dict) and (*where, "params") not in broken_paths:
            component = catalogue.get(kind, raw["name"])
            filled = validate(component.config, params, (*where, "params"))
            if isinstance(filled, list):
                faults.extend(filled)
            else:
                raw["params"] = _with_defaults(component.config, filled, params)
    if faults:
        raise ConfigError(report_faults([layers.locate(fault) for fault in faults]))
    resolved = validate(RunConfig, data)
    assert isinstance(resolved, RunConfig)
    return resolved


def dump_config(config: RunConfig) -> str:
    """The config as YAML that :func:`load_config` reads back equal."""
    return dump_yaml(config.model_dump(mode="json"))


def config_hash(config: RunConfig) -> str:
    """16 hexadecimal digits that change with any value of the config."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def components_of(config: RunConfig) -> Iterator[tuple[str, str, ComponentConfig]]:
    """``(kind, key path, component)`` of every component that the config names."""
    yield "scheme", "scheme", config.scheme
    yield "backbone", "backbone", config.backbone
    yield "refiner", "refiner", config.refiner
    for where, recipe in config.data.recipes:
        yield "recipe", where, recipe
    for position, tracker in enumerate(config.tracking.trackers):
        yield "tracker", f"tracking.trackers.{position}", tracker


def _raw_components(data: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str | int, ...], Any]]:
    for kind in ("scheme", "backbone", "refiner"):
        yield kind, (kind,), data.get(kind)
    section = data.get("data")
    if isinstance(section, dict):
        yield "recipe", ("data", "recipe"), section.get("recipe")
        parts = section.get("mixture")
        for position, part in enumerate(parts if isinstance(parts, list) else ()):
            if isinstance(part, dict):
                where = ("data", "mixture", position, "recipe")
                yield "recipe", where, part.get("recipe")
    section = data.get("tracking")
    trackers = section.get("trackers") if isinstance(section, dict) else None
    if isinstance(trackers, list):
        for position, tracker in enumerate(trackers):
            yield "tracker", ("tracking", "trackers", position), tracker


def _with_defaults(
    model: type[BaseModel], filled: BaseModel, given: dict[str, Any]
) -> dict[str, Any]:
    """All parameters written out, unless the model would read them differently."""
    written = filled.model_dump(mode="json")
    return written if validate(model, written) == filled else given
