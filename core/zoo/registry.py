"""Which components are installed: entry points → specs, with every problem kept and named.

Each entry point of the group `zoo` is loaded by itself: one that fails becomes a `Problem`, and the
others load. A built-in is never shadowed; two third parties that offer one name are told apart as
`distribution:name`. Load order decides nothing.

Environment: `ZOO_NO_PLUGINS=1` loads built-ins only; `ZOO_BLOCK=a,b` leaves out entry points or
distributions by name; `ZOO_STRICT=1` raises the first problem instead of keeping it;
`ZOO_PLUGIN_SECONDS=20` is how long a plugin may take to say what it offers.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import logging
import os
import re
import signal
import threading
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pluggy

from zoo import hookspecs
from zoo.errors import AmbiguousComponentError, ConfigError, PluginError, UnknownComponentError, did_you_mean, printable
from zoo.specs import KINDS, ComponentSpec, DatasetSpec, DecoderSpec, EncoderSpec, Kind, ObjectiveSpec

DISTRIBUTION = "autoencoder-zoo"
ENTRY_POINT_GROUP = "zoo"
MAX_COMPONENTS = 1000  # of a hook: more is a loop without an end

_SPEC_TYPES: dict[Kind, type[ComponentSpec]] = {
    "encoder": EncoderSpec,
    "decoder": DecoderSpec,
    "objective": ObjectiveSpec,
    "dataset": DatasetSpec,
}
_log = logging.getLogger("zoo")


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group `zoo`, and the distribution that it came with."""

    name: str
    module: str
    distribution: str
    version: str

    @property
    def built_in(self) -> bool:
        return self.distribution == DISTRIBUTION

    def __str__(self) -> str:
        return f"plugin '{self.name}' ({self.distribution} {self.version})"


@dataclass(frozen=True)
class Component:
    """One named encoder, decoder, objective or dataset, and the plugin that offers it."""

    spec: ComponentSpec
    plugin: Plugin

    @property
    def kind(self) -> Kind:
        return self.spec.kind

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def qualified_name(self) -> str:
        return f"{self.plugin.distribution}:{self.spec.name}"

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}'"

    def load(self) -> Any:
        """Import and return the target.

        Raises:
            PluginError: It cannot be imported.
        """
        module, _, attribute = self.spec.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"{self} of {self.plugin.distribution} {self.plugin.version} could not be imported "
                f"from {self.spec.target}: {_cause(error)}"
            ) from error


@dataclass(frozen=True)
class Problem:
    """A plugin that was not loaded, and why."""

    plugin: Plugin
    cause: str
    error: BaseException | None = None

    def __str__(self) -> str:
        return f"{self.plugin} was not loaded: {self.cause}"


class Registry:
    """The installed components, and the plugins that could not be loaded."""

    def __init__(self, plugins: Iterable[Plugin], components: Iterable[Component], problems: Iterable[Problem]) -> None:
        self.plugins = tuple(plugins)
        self.problems = tuple(problems)
        self._components = tuple(components)

    def components(self, kind: Kind | None = None) -> tuple[Component, ...]:
        """Return the components of a kind (or all), by kind and name, built-ins first."""
        chosen = [c for c in self._components if kind is None or c.kind == kind]
        return tuple(
            sorted(chosen, key=lambda c: (KINDS.index(c.kind), not c.plugin.built_in, c.name, c.qualified_name))
        )

    def get(self, kind: Kind, name: str) -> Component:
        """Return the component that `name` (or `distribution:name`) means.

        Raises:
            UnknownComponentError: There is none; the message names close matches and plugins that
                were not loaded.
            AmbiguousComponentError: Several third-party distributions offer the bare name.
        """
        offered = self.components(kind)
        matches = [c for c in offered if name in (c.name, c.qualified_name)]
        built_in = [c for c in matches if c.plugin.built_in]
        if len(built_in or matches) == 1:
            return (built_in or matches)[0]
        if matches:
            choices = " or ".join(f"'{c.qualified_name}'" for c in matches)
            raise AmbiguousComponentError(f"Several plugins offer {kind} '{name}': say {choices}.")
        raise UnknownComponentError(self._unknown(kind, name, offered))

    def has(self, kind: Kind, name: str) -> bool:
        """Say whether `name` means a component of this kind, or several."""
        return any(name in (c.name, c.qualified_name) for c in self.components(kind))

    def _unknown(self, kind: Kind, name: str, offered: tuple[Component, ...]) -> str:
        message = f"No {kind} '{printable(name)}'." + did_you_mean(name, [c.name for c in offered])
        message += f" Installed: {', '.join(c.name for c in offered) or 'none'}."
        if self.problems:
            problems = "; ".join(f"{p.plugin.distribution} {p.plugin.version} ({p.cause})" for p in self.problems)
            message += f" Not loaded: {problems}."
        return message


@functools.cache
def installed() -> Registry:
    """Return the installed components, found once a process; each problem is logged once."""
    blocked = {name.strip() for name in os.environ.get("ZOO_BLOCK", "").split(",") if name.strip()}
    found = discover(blocked, built_ins_only=_flag("ZOO_NO_PLUGINS"), strict=_flag("ZOO_STRICT"))
    for problem in found.problems:
        if problem.error is not None:
            _log.warning("zoo: %s", problem)
    known = {name for p in found.plugins for name in (p.name, p.distribution)}
    for name in sorted(blocked - known):
        _log.warning("zoo: ZOO_BLOCK names no installed plugin: '%s'.%s", printable(name), did_you_mean(name, known))
    return found


def discover(blocked: Collection[str] = (), *, built_ins_only: bool = False, strict: bool = False) -> Registry:
    """Load every entry point of the group `zoo`, each by itself.

    Raises:
        PluginError: With `strict`, for the first plugin that could not be loaded.
    """
    plugins: list[Plugin] = []
    components: list[Component] = []
    problems: list[Problem] = []
    taken: dict[tuple[Kind, str], Plugin] = {}
    seconds = _plugin_seconds()
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        plugin = _plugin(entry_point)
        plugins.append(plugin)
        if reason := _blocked(plugin, blocked, built_ins_only):
            problems.append(Problem(plugin, reason))
            continue
        try:
            _check_version(entry_point)
            with _time_limit(seconds):
                offered = [Component(spec, plugin) for spec in _specs(entry_point)]
            for component in offered:
                if other := taken.get((component.kind, component.qualified_name)):
                    raise PluginError(f"it offers {component}, as plugin '{other.name}' of its distribution does")
            taken |= {(c.kind, c.qualified_name): plugin for c in offered}
            components += offered
        except (Exception, SystemExit) as error:  # one that exits harms no other
            problems.append(Problem(plugin, _cause(error), error))
            if strict:
                raise PluginError(str(problems[-1])) from error
    return Registry(plugins, components, problems)


def _specs(entry_point: importlib.metadata.EntryPoint) -> list[ComponentSpec]:
    """Import one plugin and return what its hooks yield, checked."""
    manager = pluggy.PluginManager("zoo")  # one a plugin: a broken one cannot touch the others
    manager.add_hookspecs(hookspecs)
    module = entry_point.load()
    manager.register(module)
    manager.check_pending()  # refuses a misspelt hook
    marked = {caller.name for caller in manager.get_hookcallers(module) or ()}
    if unmarked := [name for kind in KINDS if (name := f"zoo_{kind}s") in vars(module) and name not in marked]:
        raise PluginError(f"is @hookimpl missing on {' and '.join(unmarked)}?")
    if not marked:
        raise PluginError("no hook found: it defines none of zoo's hooks")
    specs: list[ComponentSpec] = []
    for kind in KINDS:
        for implementation in getattr(manager.hook, f"zoo_{kind}s").get_hookimpls():
            specs += _checked(kind, implementation.function())  # pluggy's own call would drop a forgotten yield's None
    seen: set[tuple[Kind, str]] = set()
    for spec in specs:
        if (spec.kind, spec.name) in seen:
            raise PluginError(f"it offers {spec.kind} '{spec.name}' twice")
        seen.add((spec.kind, spec.name))
    return specs


def _checked(kind: Kind, yielded: Any) -> Iterator[ComponentSpec]:
    expected = _SPEC_TYPES[kind]
    if not isinstance(yielded, Iterable):
        raise PluginError(f"zoo_{kind}s must yield {expected.__name__}, got {type(yielded).__name__}")
    for count, spec in enumerate(yielded):
        if count == MAX_COMPONENTS:
            raise PluginError(f"zoo_{kind}s yields more than {MAX_COMPONENTS} specs")
        if not isinstance(spec, expected):
            raise PluginError(f"zoo_{kind}s must yield {expected.__name__}, got {printable(repr(spec), 80)}")
        yield spec


def _plugin(entry_point: importlib.metadata.EntryPoint) -> Plugin:
    distribution = entry_point.dist
    name = (distribution and distribution.name) or "unknown"  # damaged metadata has None
    version = (distribution and distribution.version) or "?"
    return Plugin(entry_point.name, entry_point.value, re.sub(r"[-_.]+", "-", name).lower(), version)


def _blocked(plugin: Plugin, blocked: Collection[str], built_ins_only: bool) -> str | None:
    if built_ins_only and not plugin.built_in:
        return "blocked by --no-plugins"
    if plugin.name in blocked or plugin.distribution in blocked:
        return "blocked by ZOO_BLOCK"
    return None


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise PluginError in the body after some seconds; only a main thread on Unix can be stopped so."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise PluginError(f"it takes more than {seconds:g} s to say what it offers")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _check_version(entry_point: importlib.metadata.EntryPoint) -> None:
    """Refuse a plugin whose own metadata asks for another version of this package."""
    requirements = (entry_point.dist and entry_point.dist.requires) or []
    if not any("zoo" in requirement.lower() for requirement in requirements):
        return
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    installed = importlib.metadata.version(DISTRIBUTION)
    for requirement in map(Requirement, requirements):
        if canonicalize_name(requirement.name) != DISTRIBUTION:
            continue
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and not requirement.specifier.contains(installed, prereleases=True):
            raise PluginError(f"it asks for {DISTRIBUTION}{requirement.specifier}, installed is {installed}")


def _cause(error: BaseException) -> str:
    text = printable(" ".join(str(error).split()))
    return text if isinstance(error, PluginError) else f"{type(error).__name__}: {text}"


def _plugin_seconds() -> float:
    text = os.environ.get("ZOO_PLUGIN_SECONDS", "20")
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text) or not float(text):
        raise ConfigError(f"ZOO_PLUGIN_SECONDS must be a number of seconds over 0, got '{printable(text)}'.")
    return float(text)


def _flag(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")
