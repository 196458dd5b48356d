"""The plugin manager and its lazy catalogue: what can be named in a config, and who offers it."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

import pluggy
from pydantic import BaseModel

from t4spp import hookspecs
from t4spp.components import Component
from t4spp.errors import ConfigError, PluginError, nearest
from t4spp.manifest import WeightsEntry
from t4spp.validation import validate

logger = logging.getLogger(__name__)

Offered = TypeVar("Offered", Component, WeightsEntry)

GROUP = "t4spp"
"""The entry-point group that plugins register in."""
ENVIRONMENT = "T4SPP_PLUGINS"
"""Names the entry points to load, separated by commas; unset loads all of them."""
HOOKS: dict[str, str] = {
    "scheme": "t4spp_schemes",
    "backbone": "t4spp_backbones",
    "refiner": "t4spp_refiners",
    "recipe": "t4spp_recipes",
    "tracker": "t4spp_trackers",
}
"""The hook that offers each kind."""
WEIGHTS_HOOK = "t4spp_weights"
"""The hook that offers pretrained weights, which are no component: nothing builds them."""
KINDS: tuple[str, ...] = tuple(HOOKS)
"""The kinds of component."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One component and who offers it.

    Attributes:
        component: the lazy description.
        distribution: the installed distribution, or the path of a plugin file.
        plugin: the entry point's name, or the plugin file's stem.
        version: the distribution's version; empty for a plugin file.
    """

    component: Component
    distribution: str
    plugin: str
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class WeightsOffer:
    """One entry of a manifest of weights and who offers it; fields as :class:`Entry` has them."""

    entry: WeightsEntry
    distribution: str
    plugin: str
    version: str = ""


Named = TypeVar("Named", Entry, WeightsOffer)


@dataclass(frozen=True, kw_only=True)
class BrokenPlugin:
    """A plugin that could not be loaded. It offers nothing and harms nothing."""

    name: str
    distribution: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class _Plugin:
    """A loaded module, before its hooks are asked."""

    name: str
    distribution: str
    version: str
    module: object
    required: bool


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Everything that plugins offer, by kind and name. Nothing in it is built yet."""

    components: Mapping[str, Mapping[str, Entry]]
    broken: tuple[BrokenPlugin, ...] = ()
    weights: Mapping[str, WeightsOffer] = field(default_factory=dict)

    def names(self, kind: str) -> list[str]:
        """The names of a kind, sorted."""
        return sorted(self._of(kind))

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """``(kind, entry)`` of every component, by kind, then by name."""
        for kind in KINDS:
            for name in self.names(kind):
                yield kind, self._of(kind)[name]

    def get(self, kind: str, name: str) -> Component:
        """The description of a component.

        Raises:
            PluginError: nothing of that kind has that name.
        """
        found = self._of(kind)
        if name not in found:
            raise PluginError(self.unknown(kind, name))
        return found[name].component

    def default(self, kind: str) -> Component:
        """What commands take where none of a kind is named: the one that calls itself default.

        Raises:
            PluginError: none does, or several do.
        """
        found = [entry.component for entry in self._of(kind).values() if entry.component.default]
        if len(found) != 1:
            names = ", ".join(sorted(one.name for one in found)) or "none"
            raise PluginError(
                f"no {kind} is named, and the installed plugins offer no single default "
                f"({names}). Name one; valid: {', '.join(self.names(kind))}."
            )
        return found[0]

    def unknown(self, kind: str, name: str) -> str:
        """The message for a name that nobody offers."""
        return self._unknown(kind, name, self.names(kind))

    def unknown_weights(self, name: str) -> str:
        """The message for weights that nobody offers."""
        return self._unknown("weights", name, sorted(self.weights))

    def _unknown(self, kind: str, name: str, names: list[str]) -> str:
        listed = ", ".join(names) if names else "none"
        message = f"unknown {kind} {name!r}; valid: {listed}.{nearest(str(name), names)}"
        if os.environ.get(ENVIRONMENT) is not None:
            message += f" {ENVIRONMENT}={os.environ[ENVIRONMENT]} restricts what loads."
        if self.broken:
            broken = "; ".join(f"{plugin.name} ({plugin.reason})" for plugin in self.broken)
            message += f" Broken plugins, which may have offered it: {broken}."
        return message

    def validate(
        self, kind: str, name: str, params: Mapping[str, Any], where: str = ""
    ) -> BaseModel:
        """Check parameters by the component's own model.

        Args:
            kind: one of ``KINDS``.
            name: the component's name.
            params: its parameters, unchecked.
            where: what the parameters belong to, for messages: ``scheme.params``.

        Raises:
            PluginError: nothing of that kind has that name.
            ConfigError: parameters are unknown, missing or wrong; all of them are named.
        """
        component = self.get(kind, name)
        checked = validate(component.config, params, (where,) if where else ())
        if isinstance(checked, list):
            lines = [f"{kind} {name!r}: {fault.text()}" for fault in checked]
            raise ConfigError("\n".join(lines))
        return checked

    def build(self, kind: str, name: str, params: Mapping[str, Any], where: str = "") -> Any:
        """Check the parameters, then make the component. Heavy imports happen here.

        Raises:
            PluginError: unknown name, or a package that the component requires is missing.
            ConfigError: wrong parameters; all of them are named.
        """
        config = self.validate(kind, name, params, where)
        component = self.get(kind, name)
        missing = [module for module in component.requires if not _is_installed(module)]
        if missing:
            raise PluginError(
                f"{kind} {name!r} needs {', '.join(missing)}, which cannot be imported here. "
                f"Install it: pip install {' '.join(module.split('.')[0] for module in missing)}"
            )
        return component.build(config)

    def _of(self, kind: str) -> Mapping[str, Entry]:
        if kind not in KINDS:
            raise PluginError(
                f"unknown kind {kind!r}; valid: {', '.join(KINDS)}.{nearest(kind, KINDS)}"
            )
        return self.components.get(kind, {})


def load_catalogue(
    plugin_files: Sequence[str | Path] = (), only: Sequence[str] | None = None
) -> Catalogue:
    """Load the installed plugins and ask each for what it offers.

    Args:
        plugin_files: Python files to load as plugins besides the installed ones.
        only: entry-point names (or ``distribution:name``) to load; None takes the environment's
            ``T4SPP_PLUGINS``, and all of them where that is unset.

    Raises:
        PluginError: two plugins offer one name, a hook is misspelt, ``only`` names no installed
            plugin, or a plugin file cannot be loaded.
    """
    broken: list[BrokenPlugin] = []
    plugins = [*_installed(_selection(only), broken), *map(_from_file, plugin_files)]
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    components: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
    weights: dict[str, WeightsOffer] = {}
    for plugin in plugins:
        _check_hook_names(plugin)
        try:
            manager.register(plugin.module, name=f"{plugin.distribution}:{plugin.name}")
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(f"plugin {_described(plugin)}: {error}") from error
        entries, offers = _offered(manager, plugin, broken)
        for kind, entry in entries:
            _add(components[kind], kind, entry.component.name, entry)
        for offer in offers:
            _add(weights, "weights", offer.entry.name, offer)
    return Catalogue(components=components, broken=tuple(broken), weights=weights)


def _selection(only: Sequence[str] | None) -> list[str] | None:
    if only is not None:
        return list(only)
    value = os.environ.get(ENVIRONMENT)
    if value is None:
        return None
    return [name.strip() for name in value.split(",") if name.strip()]


def _installed(only: list[str] | None, broken: list[BrokenPlugin]) -> list[_Plugin]:
    points = sorted(entry_points(group=GROUP), key=lambda point: (_owner(point), point.name))
    if only is not None:
        known = {name for point in points for name in _names(point)}
        for name in only:
            if name not in known:
                plain = sorted({point.name for point in points})
                raise PluginError(
                    f"{ENVIRONMENT} names {name!r}, which is no installed plugin; "
                    f"valid: {', '.join(plain) or 'none'}.{nearest(name, plain)}"
                )
        points = [point for point in points if not _names(point).isdisjoint(only)]
    loaded = []
    for point in points:
        try:
            module = point.load()
        except (Exception, SystemExit) as error:  # importing may raise anything
            logger.debug("plugin %s cannot be imported", point.name, exc_info=True)
            broken.append(
                BrokenPlugin(name=point.name, distribution=_owner(point), reason=_reason(error))
            )
            continue
        version = point.dist.version if point.dist is not None else ""
        loaded.append(
            _Plugin(
                name=point.name,
                distribution=_owner(point),
                version=version,
                module=module,
                required=False,
            )
        )
    return loaded


def _from_file(file: str | Path) -> _Plugin:
    path = Path(file).resolve()
    if not path.is_file():
        raise PluginError(
            f"--plugin-file {file}: no such file. Name a Python file with a plugin's hooks."
        )
    name = f"t4spp_plugin_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"--plugin-file {file}: not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # importing may raise anything
        del sys.modules[name]
        raise PluginError(f"--plugin-file {file} cannot be loaded: {_reason(error)}") from error
    return _Plugin(name=path.stem, distribution=str(file), version="", module=module, required=True)


def _check_hook_names(plugin: _Plugin) -> None:
    hooks = [*HOOKS.values(), WEIGHTS_HOOK]
    for name in dir(plugin.module):
        member = getattr(plugin.module, name, None)
        if not inspect.isroutine(member):
            continue
        marks = getattr(member, f"{GROUP}_impl", None)
        hook = (marks or {}).get("specname") or name
        if marks is None and not name.startswith("t4spp_"):
            continue
        if hook not in hooks:
            raise PluginError(
                f"plugin {_described(plugin)}: {hook!r} is no hook; valid: {', '.join(hooks)}."
                f"{nearest(hook, hooks)}{_way_out(plugin)}"
            )
        if marks is None:
            raise PluginError(
                f"plugin {_described(plugin)}: {name!r} is not marked with "
                f"@t4spp.hookspecs.hookimpl, so it would be ignored.{_way_out(plugin)}"
            )


def _way_out(plugin: _Plugin) -> str:
    if plugin.required:
        return ""
    return f" To go on without it, name the plugins to load in {ENVIRONMENT}."


def _offered(
    manager: pluggy.PluginManager, plugin: _Plugin, broken: list[BrokenPlugin]
) -> tuple[list[tuple[str, Entry]], list[WeightsOffer]]:
    """What one plugin's hooks return; a plugin whose hook fails offers nothing."""
    found = []
    offers = []
    whose = {
        "distribution": plugin.distribution,
        "plugin": plugin.name,
        "version": plugin.version,
    }
    try:
        for kind, hook in HOOKS.items():
            for component in _returned(manager, plugin, hook, Component):
                found.append((kind, Entry(component=component, **whose)))
        for weights in _returned(manager, plugin, WEIGHTS_HOOK, WeightsEntry):
            offers.append(WeightsOffer(entry=weights, **whose))
    except Exception as error:
        if plugin.required:
            raise PluginError(f"plugin {_described(plugin)}: {_reason(error)}") from error
        broken.append(
            BrokenPlugin(name=plugin.name, distribution=plugin.distribution, reason=_reason(error))
        )
        return [], []
    return found, offers


def _returned(
    manager: pluggy.PluginManager, plugin: _Plugin, hook: str, expected: type[Offered]
) -> Iterator[Offered]:
    """What the plugin's own implementations of a hook return, each checked for its type."""
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        if implementation.plugin is not plugin.module:
            continue
        returned = implementation.function()
        if not isinstance(returned, list | tuple):
            raise PluginError(
                f"{hook} returned {type(returned).__name__}, expected a list of {expected.__name__}"
            )
        for item in returned:
            if not isinstance(item, expected):
                raise PluginError(
                    f"{hook} offers {item!r}, expected {expected.__module__}.{expected.__name__}"
                )
            yield item


def _add(entries: dict[str, Named], kind: str, name: str, entry: Named) -> None:
    other = entries.get(name)
    if other is not None:
        raise PluginError(
            f"two plugins offer the {kind} {name!r}: {other.distribution} (plugin {other.plugin}) "
            f"and {entry.distribution} (plugin {entry.plugin}). Uninstall one, or name the "
            f"plugins to load in {ENVIRONMENT}."
        )
    entries[name] = entry


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown distribution"


def _names(point: EntryPoint) -> set[str]:
    return {point.name, f"{_owner(point)}:{point.name}"}


def _described(plugin: _Plugin) -> str:
    if plugin.required:
        return plugin.distribution
    return f"{plugin.name!r} of {plugin.distribution}"


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
