"""Parameters of prompts about scenes, and the phrases that templates give. Light: pydantic only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from t4spp.errors import nearest
from t4spp.schemes.labels import sanitise_label

CLASS, CLASSES = "class", "classes"
"""Placeholders: a thing's class, and its plural."""

_PLACE = re.compile(r"\{([^{}]+)\}")


class PromptsConfig(BaseModel):
    """How prompts are made; the parameter ``prompts`` of recipes for scenes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: Literal["each", "together", "none"] = "each"
    """One prompt a class that the window shows; one a window that asks for every class; or none."""
    phrase: str = "{class}"
    """How a class is asked for (``each``): ``{class}`` is its name, ``{classes}`` the plural."""
    attributes: tuple[str, ...] = ()
    """Templates over the properties of vectors, as ``the {roof:material} roofs``: one prompt a
    value that the window shows. ``{class}`` and ``{classes}`` may stand in them, too."""
    words: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Property -> value -> the word for it in templates; an empty word makes the value unknown.
    Other values stand as they are, underscores as blanks."""
    plurals: dict[str, str] = Field(default_factory=dict)
    """Class -> its plural, where the rules of English do not give it."""
    relations: int = Field(default=0, ge=0, le=16)
    """Prompts a window about size and place ("the largest building", "the building left of the
    largest one"), at most; kinds take turns. Needs things one by one."""
    related: tuple[str, ...] | None = None
    """Classes that ``relations`` point at, for example those of compact things. None: all."""
    no_target_share: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of all prompts that ask for what the window does not show."""

    @field_validator("phrase")
    @classmethod
    def _phrase_names_the_class(cls, value: str) -> str:
        if set(_PLACE.findall(value)) not in ({CLASS}, {CLASSES}):
            raise ValueError(
                f"{value!r}: it needs {{class}} or {{classes}}, and nothing else in braces"
            )
        return value

    @field_validator("attributes")
    @classmethod
    def _templates_have_places(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for template in value:
            if not properties_of(template) or re.search(r"[{}]", _PLACE.sub("", template)):
                raise ValueError(
                    f"{template!r}: a template names properties in braces, as in "
                    "'the {roof:material} roofs'"
                )
        return value

    @model_validator(mode="after")
    def _asks_something(self) -> PromptsConfig:
        if self.classes == "none" and not self.attributes and not self.relations:
            raise ValueError("classes: none needs attributes or relations, or nothing is asked")
        if self.related is not None and not (self.relations and self.related):
            raise ValueError("related: it names the classes of relations, which are 0 or none")
        named = {name for template in self.attributes for name in properties_of(template)}
        unused = sorted(set(self.words) - named)
        if unused:
            raise ValueError(
                f"words: no template of attributes names the property {unused[0]!r}."
                f"{nearest(unused[0], named)}"
            )
        return self


def properties_of(template: str) -> tuple[str, ...]:
    """The properties that a template names, in order."""
    return tuple(name for name in _PLACE.findall(template) if name not in (CLASS, CLASSES))


def class_phrase(label: str, config: PromptsConfig) -> str:
    """How a class is asked for, as a label that a descriptor can carry."""
    phrase = config.phrase.replace("{class}", label)
    return sanitise_label(phrase.replace("{classes}", plural_of(label, config)))[0]


def plural_of(label: str, config: PromptsConfig) -> str:
    """The plural of a class: the config's, or by the rules of English."""
    if label in config.plurals:
        return config.plurals[label]
    if re.search(r"[^aeiou]y$", label):
        return f"{label[:-1]}ies"
    return f"{label}es" if re.search(r"(s|x|z|ch|sh)$", label) else f"{label}s"


def filled(
    template: str,
    label: str,
    properties: Mapping[str, Any],
    config: PromptsConfig,
    *,
    raw: bool = False,
) -> str | None:
    """A template about one thing, as a label unless ``raw``; None where a property is unknown."""
    words = {CLASS: label, CLASSES: plural_of(label, config)}
    for name in properties_of(template):
        value = properties.get(name)
        if not is_known(value):
            return None
        text = _text_of(value)
        word = config.words.get(name, {}).get(text, text.replace("_", " ")).strip()
        if not word:
            return None
        words[name] = word
    phrase = _PLACE.sub(lambda place: words[place.group(1)], template)
    return phrase if raw else sanitise_label(phrase)[0]


def is_known(value: Any) -> bool:
    """Whether a property says something: not null, not NaN, no empty text."""
    return value is not None and value == value and str(value).strip() != ""


def _text_of(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
