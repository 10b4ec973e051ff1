"""Which components and models are installed: entry points → specs, with every problem kept and named.

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
import importlib.resources
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import pluggy

from zoo.contract import distributions, hookspecs
from zoo.contract.specs import (
    KINDS,
    ComponentSpec,
    DatasetSpec,
    DecoderSpec,
    DistortionSpec,
    EncoderSpec,
    Kind,
    MetricSpec,
    ModelSpec,
    ObjectiveSpec,
)
from zoo.errors import (
    AmbiguousComponentError,
    ConfigError,
    IncompatibleError,
    PluginError,
    UnknownComponentError,
    ZooError,
    did_you_mean,
    printable,
)

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

DISTRIBUTION = "autoencoder-zoo"
ENTRY_POINT_GROUP = "zoo"
MAX_SPECS = 1000  # A hook that yields more is treated as an endless loop.

Spec = ComponentSpec | ModelSpec
S = TypeVar("S", bound=Spec)
F = TypeVar("F", bound="Offer[Any]")

_HOOKS: dict[str, type[Spec]] = {
    f"zoo_{spec.kind}s": spec
    for spec in (EncoderSpec, DecoderSpec, ObjectiveSpec, DistortionSpec, DatasetSpec, MetricSpec, ModelSpec)
}
_AT_ONCE = 1e-6  # seconds: a timer of 0 would never go off
_UNREADABLE = ("unknown", "?")  # name and version of a distribution with damaged metadata
_OLDER_CONTRACTS = {(0, 1): "From 0.1 to 0.2"}  # the guide's section for plugins of each
_log = logging.getLogger("zoo")


class ConstructorError(PluginError):
    """A component's target raised what it must not raise, whatever it is given."""


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
class Offer(Generic[S]):
    """What a plugin offers under a name."""

    spec: S
    plugin: Plugin

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def qualified_name(self) -> str:
        return f"{self.plugin.distribution}:{self.spec.name}"

    def __str__(self) -> str:
        return f"{self.spec.kind} '{self.name}'"


@dataclass(frozen=True)
class Component(Offer[ComponentSpec]):
    """One named encoder, decoder, objective, distortion, dataset or metric, and the plugin that offers it."""

    @property
    def kind(self) -> Kind:
        return self.spec.kind

    @property
    def option_prefix(self) -> str:
        """What stands before an option's name in `--set`: the kind, or `distortion.NAME`, as a run may have several."""
        return f"{self.kind}.{self.name}" if self.kind == "distortion" else self.kind

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

    def parse_options(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Return a value for each option, as the target takes them.

        Raises:
            ConfigError: An option is unknown, missing, of the wrong type or out of bounds.
            PluginError: The component cannot be imported, or declares an option that cannot be used.
        """
        from zoo.contract.options import options_of, parse_options

        return parse_options(self.kind, options_of(self.load()), given)

    def build(self, *arguments: Any, options: Mapping[str, object] | None = None) -> Any:
        """Call the target with its positional arguments and its options.

        Args:
            arguments: What the spec's `arguments` name.
            options: Values by name: Python values, JSON values or command-line text.

        Raises:
            ConfigError: As `parse_options`.
            IncompatibleError: The component refuses the arguments.
            PluginError: It cannot be imported, does not take the contract's arguments, or raises any other exception.
        """
        from zoo.contract.signatures import call_target, owned

        values = self.parse_options(options or {})
        named = dict(zip(self.spec.arguments, arguments, strict=True))
        try:
            return call_target(self, named, values)
        except (ValueError, IncompatibleError) as error:
            given = ", ".join(f"{name} {_said(value)}" for name, value in named.items())
            raise IncompatibleError(f"{self} cannot be built for {given}: {printable(error)}") from error
        except ZooError:
            raise
        except Exception as error:
            raise ConstructorError(f"{owned(self)} cannot be built: {_cause(error)}") from error


@dataclass(frozen=True)
class PretrainedModel(Offer[ModelSpec]):
    """One named checkpoint, and the plugin that it comes with."""

    @property
    def path(self) -> Path:
        """The checkpoint's file.

        Raises:
            PluginError: There is none, or its package cannot be imported.
        """
        package, _, file = self.spec.file.partition(":")
        try:
            path = importlib.resources.files(package).joinpath(*file.split("/"))
        except (Exception, SystemExit) as error:
            raise PluginError(f"{self} has no file {self.spec.file}: {_cause(error)}") from error
        if not (isinstance(path, Path) and path.is_file()):
            raise PluginError(f"{self} has no file {self.spec.file}")
        return path


@dataclass(frozen=True)
class Problem:
    """A plugin that was not loaded, and why."""

    plugin: Plugin
    cause: str
    error: BaseException | None = None

    def __str__(self) -> str:
        return f"{self.plugin} was not loaded: {self.cause}"


class Registry:
    """The installed components and models, and the plugins that could not be loaded."""

    def __init__(
        self,
        plugins: Iterable[Plugin],
        components: Iterable[Component],
        problems: Iterable[Problem],
        models: Iterable[PretrainedModel] = (),
    ) -> None:
        self.plugins = tuple(plugins)
        self.problems = tuple(problems)
        self._components = sorted(components, key=lambda c: ((*KINDS, "metric").index(c.kind), *_built_ins_first(c)))
        self._models = sorted(models, key=_built_ins_first)

    def components(self, kind: Kind | None = None) -> tuple[Component, ...]:
        """Return the components of a kind (or all), by kind and name, built-ins first."""
        return tuple(c for c in self._components if kind is None or c.kind == kind)

    def models(self) -> tuple[PretrainedModel, ...]:
        """Return the pretrained models by name, built-ins first."""
        return tuple(self._models)

    def offers(self) -> tuple[Offer[Any], ...]:
        """Return everything that has a name: the components, then the models."""
        return (*self._components, *self._models)

    def get(self, kind: Kind, name: str) -> Component:
        """Return the component that `name` (or `distribution:name`) means.

        Raises:
            UnknownComponentError: There is none; the message names close matches and plugins that
                were not loaded.
            AmbiguousComponentError: Several third-party distributions offer the bare name.
        """
        offered = self.components(kind)
        return _meant(kind, name, offered) or self._refuse(kind, name, offered, "Installed")

    def model(self, name: str, *, sought: str = "model") -> PretrainedModel:
        """Return the pretrained model that `name` (or `distribution:name`) means.

        Args:
            name: What the user typed.
            sought: What the error says there is none of: a file would do too where one is opened.

        Raises:
            UnknownComponentError: There is none.
            AmbiguousComponentError: Several third-party distributions offer the bare name.
        """
        return _meant("model", name, self.models()) or self._refuse(sought, name, self.models(), "Models")

    def default(self, kind: Kind) -> Component:
        """Return the component that is used where none of its kind is chosen: its spec says `default=True`.

        Raises:
            ConfigError: No component of this kind is a default.
        """
        for component in self.components(kind):  # built-ins first
            if component.spec.default:
                return component
        known = ", ".join(component.name for component in self.components(kind))
        raise ConfigError(f"No {kind} given: --{kind} NAME, one of: {known}.")

    def metric_text(self, name: str, value: float) -> str:
        """Return a metric's value as a reader needs it: with the digits that tell two models apart, and the unit."""
        for component in self.components("metric"):
            if component.name == name and isinstance(component.spec, MetricSpec):
                return component.spec.text(value)
        return f"{value:.5g}"  # The metric is not installed here.

    def has(self, kind: Kind, name: str) -> bool:
        """Say whether `name` means a component of this kind, or several."""
        return any(name in (c.name, c.qualified_name) for c in self.components(kind))

    def _refuse(self, sought: str, name: str, offered: Sequence[Offer[Any]], heading: str) -> NoReturn:
        names = [offer.name for offer in offered]
        message = (
            f"No {sought} '{printable(name)}'.{did_you_mean(name, names)} {heading}: {', '.join(names) or 'none'}."
        )
        if self.problems:
            problems = "; ".join(f"{p.plugin.distribution} {p.plugin.version} ({p.cause})" for p in self.problems)
            message += f" Not loaded: {problems}."
        raise UnknownComponentError(message)


def _meant(kind: str, name: str, offered: Sequence[F]) -> F | None:
    """Return the one that `name` means: a built-in before all others; None where nobody offers it."""
    matches = [offer for offer in offered if name in (offer.name, offer.qualified_name)]
    built_in = [offer for offer in matches if offer.plugin.built_in]
    if len(matches) > 1 and not built_in:
        choices = " or ".join(f"'{offer.qualified_name}'" for offer in matches)
        raise AmbiguousComponentError(f"Several plugins offer {kind} '{name}': say {choices}.")
    return next(iter(built_in or matches), None)


def _built_ins_first(offer: Offer[Any]) -> tuple[bool, str, str]:
    return (not offer.plugin.built_in, offer.name, offer.qualified_name)


@functools.cache
def installed() -> Registry:
    """Return what is installed, found once a process; each problem is logged once."""
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
    offers: list[Component | PretrainedModel] = []
    problems: list[Problem] = []
    taken: dict[tuple[str, str], Plugin] = {}
    seconds = _plugin_seconds()
    for entry_point in distributions.entry_points(ENTRY_POINT_GROUP):
        plugin = _plugin(entry_point)
        plugins.append(plugin)
        if reason := _reason_to_skip(plugin, blocked, built_ins_only):
            problems.append(Problem(plugin, reason))
            continue
        try:
            _check_version(entry_point)
            with _time_limit(seconds):
                offered = [_offer(spec, plugin) for spec in _specs(entry_point)]
            for offer in offered:
                if other := taken.get((offer.spec.kind, offer.qualified_name)):
                    raise PluginError(f"it offers {offer}, as plugin '{other.name}' of its distribution does")
            taken |= {(offer.spec.kind, offer.qualified_name): plugin for offer in offered}
            offers += offered
        except (Exception, SystemExit) as error:  # one that exits harms no other
            problems.append(Problem(plugin, _cause(error), error))
            if strict:
                raise PluginError(str(problems[-1])) from error
    components = [offer for offer in offers if isinstance(offer, Component)]
    models = [offer for offer in offers if isinstance(offer, PretrainedModel)]
    return Registry(plugins, components, problems, models)


def _specs(entry_point: importlib.metadata.EntryPoint) -> list[Spec]:
    """Import one plugin and return what its hooks yield, checked."""
    manager = pluggy.PluginManager("zoo")  # one a plugin: a broken one cannot touch the others
    manager.add_hookspecs(hookspecs)
    module = entry_point.load()
    manager.register(module)
    manager.check_pending()  # refuses a misspelt hook
    marked = {caller.name for caller in manager.get_hookcallers(module) or ()}
    if unmarked := [name for name in _HOOKS if name in vars(module) and name not in marked]:
        raise PluginError(f"is @hookimpl missing on {' and '.join(unmarked)}?")
    if not marked:
        raise PluginError("no hook found: it defines none of zoo's hooks")
    specs: list[Spec] = []
    for name in _HOOKS:
        for implementation in getattr(manager.hook, name).get_hookimpls():
            specs += _checked(name, implementation.function())  # pluggy's own call would drop a forgotten yield's None
    seen: set[tuple[str, str]] = set()
    for spec in specs:
        if (spec.kind, spec.name) in seen:
            raise PluginError(f"it offers {spec.kind} '{spec.name}' twice")
        seen.add((spec.kind, spec.name))
    return specs


def _checked(hook: str, yielded: Any) -> Iterator[Spec]:
    expected = _HOOKS[hook]
    if not isinstance(yielded, Iterable):
        raise PluginError(f"{hook} must yield {expected.__name__}, got {type(yielded).__name__}")
    for count, spec in enumerate(yielded):
        if count == MAX_SPECS:
            raise PluginError(f"{hook} yields more than {MAX_SPECS} specs")
        if not isinstance(spec, expected):
            raise PluginError(f"{hook} must yield {expected.__name__}, got {printable(repr(spec), 80)}")
        yield spec


def _offer(spec: Spec, plugin: Plugin) -> Component | PretrainedModel:
    if isinstance(spec, ComponentSpec):
        return Component(spec, plugin)
    model = PretrainedModel(spec, plugin)
    _ = model.path  # raises where there is no file
    return model


def _plugin(entry_point: importlib.metadata.EntryPoint) -> Plugin:
    identity = distributions.identity_of(entry_point.dist) if entry_point.dist else None
    return Plugin(entry_point.name, entry_point.value, *(identity or _UNREADABLE))


def _reason_to_skip(plugin: Plugin, blocked: Collection[str], built_ins_only: bool) -> str | None:
    if built_ins_only and not plugin.built_in:
        return "blocked by --no-plugins"
    if plugin.name in blocked or plugin.distribution in blocked:
        return "blocked by ZOO_BLOCK"
    if (plugin.distribution, plugin.version) == _UNREADABLE:
        return "the METADATA of its distribution cannot be read: install it again"
    return None


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise PluginError in the body after some seconds; only a main thread on Unix can be stopped so.

    A caller's own alarm goes on afterwards, less the time that the body took. One that came due
    meanwhile goes off at once.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or not hasattr(signal, "setitimer") or signal.getsignal(signal.SIGALRM) is None:
        yield  # None is a handler that was not installed from Python: it could not be put back
        return

    def stop(*_: object) -> None:
        raise PluginError(f"it takes more than {seconds:g} s to say what it offers")

    started = time.monotonic()
    handler = signal.signal(signal.SIGALRM, stop)
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if remaining:
            rest = remaining - (time.monotonic() - started)
            signal.setitimer(signal.ITIMER_REAL, max(rest, _AT_ONCE), interval)


def _check_version(entry_point: importlib.metadata.EntryPoint) -> None:
    """Refuse a plugin whose own metadata asks for another version of this package."""
    requirements = (entry_point.dist and entry_point.dist.requires) or []
    if not any("zoo" in requirement.lower() for requirement in requirements):
        return
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    installed = distributions.find(DISTRIBUTION).version
    for requirement in map(Requirement, requirements):
        if canonicalize_name(requirement.name) != DISTRIBUTION:
            continue
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and not requirement.specifier.contains(installed, prereleases=True):
            asks = f"it asks for {DISTRIBUTION}{requirement.specifier}, installed is {installed}"
            raise PluginError(asks + _advice(requirement.specifier, installed))


def _advice(asked: SpecifierSet, installed: str) -> str:
    """Return what to change in a plugin that was written for an older contract; nothing for a newer one."""
    from packaging.version import Version

    current = Version(installed).release[:2]
    for contract, section in _OLDER_CONTRACTS.items():
        if contract < current and asked.contains(f"{contract[0]}.{contract[1]}.0", prereleases=True):
            return (
                f': adapt it as "{section}" in plugins/README.md says, then ask for '
                f"{DISTRIBUTION}>={current[0]}.{current[1]}"
            )
    return ""


def _said(value: object) -> str:
    """Return an argument as a message names it: `1×28×28` for a shape."""
    return "×".join(map(str, value)) if isinstance(value, tuple) else printable(value, 80)


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
