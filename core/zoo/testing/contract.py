"""Every component that a plugin registers, crossed with every check that applies to its kind."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from zoo.contract.options import parse_options
from zoo.contract.registry import Component, Registry, installed
from zoo.errors import ConfigError, UsageError, did_you_mean, printable
from zoo.testing.check import CHECKS, Check, NotApplicable, Outcome, Subject, run_check

# The modules with checks, in the order of a report: they fill CHECKS.
_MODULES = (
    *("declaration", "modules", "networks", "composition"),
    *("objectives", "distortions", "state", "adversaries", "datasets", "metrics"),
)
for _module in _MODULES:
    importlib.import_module(f"zoo.testing.{_module}")

T = TypeVar("T")
ByComponent = Mapping[str, Mapping[str, T]]  # by name, `patch`, or by kind and name, `encoder patch`


def find_components(name: str, registry: Registry | None = None) -> list[Component]:
    """Return the components of a distribution or plugin, or those of this (qualified) name.

    Raises:
        UsageError: There are none; plugins that were not loaded are named with the cause.
    """
    registry = registry or installed()
    components = registry.components()
    for matches in (
        [c for c in components if name in (c.plugin.distribution, c.plugin.name)],
        [c for c in components if name in (c.name, c.qualified_name)],
    ):
        if matches:
            return matches
    for problem in registry.problems:
        if name in (problem.plugin.distribution, problem.plugin.name):
            raise UsageError(str(problem)) from problem.error
    if name in {n for plugin in registry.plugins for n in (plugin.distribution, plugin.name)}:
        raise UsageError(f"'{name}' offers no component: there is nothing to check.")
    distributions = dict.fromkeys(c.plugin.distribution for c in components)
    names = dict.fromkeys(c.name for c in components)
    hint = did_you_mean(name, [*distributions, *(c.plugin.name for c in components), *names])
    raise UsageError(
        f"No installed plugin or component is named '{printable(name)}'.{hint} "
        f"Plugins: {', '.join(distributions)}. Components: {', '.join(names)}."
    )


def applicable_checks(component: Component) -> list[Check]:
    """Return the checks that apply to a component's kind."""
    return [check for check in CHECKS if component.kind in check.kinds]


def check_components(
    components: Sequence[Component], only: str | None = None, options: ByComponent[Any] | None = None
) -> Iterator[Outcome]:
    """Run every check that applies to each component, or only the one of a name.

    Args:
        components: What to check.
        only: The name of a check.
        options: Component → option → value, over the defaults; the components' names as in `contract_tests`.

    Raises:
        UsageError: There is no check of this name for these components, or `options` names an unknown component.
        ConfigError: An option is unknown, of the wrong type or out of bounds.
    """
    if only is not None:
        _refuse_unknown_check("--only", only, components)
    for subject in _subjects(components, options):
        for check in applicable_checks(subject.component):
            if only in (None, check.name):
                yield run_check(check, subject)


def contract_tests(
    name: str, expected_failures: ByComponent[str] | None = None, options: ByComponent[Any] | None = None
) -> type:
    """Return a test class for pytest: a test for each component of a plugin and each check.

    A component is named by its name, `patch`, which means all of this name, or by its kind and name,
    `encoder patch`; where both are given, the latter goes over the former.

    Args:
        name: The distribution (`zoo-patch`), plugin or component to test.
        expected_failures: Component → check → reason. Such a test must fail (a strict xfail); one
            that passes, or a name that is unknown, is a failure.
        options: Component → option → value, for a component that cannot be built or read by its
            defaults alone, such as a dataset that needs a path.

    Raises:
        UsageError: The plugin is not installed or was not loaded, or an expected failure or option
            names an unknown component or check.
        ConfigError: An option is unknown, of the wrong type or out of bounds.
    """
    import pytest

    components = find_components(name)
    expected = _by_component("expected_failures", components, expected_failures or {})
    for component_name, checks in (expected_failures or {}).items():
        for check_name in checks:
            meant = [c for c in components if component_name in _names(c)]
            _refuse_unknown_check("expected_failures", check_name, meant)
    parameters: list[Any] = []
    for subject in _subjects(components, options):
        component = subject.component
        for check in applicable_checks(component):
            reason = expected[component].get(check.name)
            marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason is not None else []
            name_of_test = f"{component.kind}-{component.name}-{check.name}"
            parameters.append(pytest.param(check, subject, id=name_of_test, marks=marks))

    class ContractTests:
        @pytest.mark.parametrize(("check", "subject"), parameters)
        def test(self, check: Check, subject: Subject) -> None:
            outcome = run_check(check, subject)
            if outcome.result == "not applicable":
                pytest.skip(f"not applicable: {outcome.message}")
            if outcome.result == "failed":
                pytest.fail("\n".join((f"{check.name}: {check.promise}", *outcome.explanation)), pytrace=False)

    return ContractTests


def _subjects(components: Sequence[Component], options: ByComponent[Any] | None) -> list[Subject]:
    """Return the components under test, their options checked: a wrong one is no flaw of the component."""
    given = _by_component("options", components, options or {})
    subjects = [Subject(component, given[component]) for component in components]
    for subject in subjects:
        if subject.options:
            _refuse_wrong_options(subject)
    return subjects


def _refuse_wrong_options(subject: Subject) -> None:
    try:
        parse_options(subject.kind, subject.declared_options, subject.options)
    except NotApplicable:  # what it declares cannot be read, which its checks tell
        return
    except ConfigError as error:
        raise ConfigError(f"{subject.component}: {error}") from error


def _by_component(what: str, components: Sequence[Component], given: ByComponent[T]) -> dict[Component, dict[str, T]]:
    """Return what is given for each component, by its name or by its kind and name."""
    known = dict.fromkeys(name for component in components for name in _names(component))
    for name in given:
        if name not in known:
            listed = ", ".join(kind_and_name for _, kind_and_name in map(_names, components))
            raise UsageError(f"{what}: no component '{name}'.{did_you_mean(name, known)} The components: {listed}.")
    return {
        component: {key: value for name in _names(component) for key, value in given.get(name, {}).items()}
        for component in components
    }


def _names(component: Component) -> tuple[str, str]:
    return component.name, f"{component.kind} {component.name}"


def _refuse_unknown_check(what: str, name: str, components: Sequence[Component]) -> None:
    known = dict.fromkeys(check.name for component in components for check in applicable_checks(component))
    if name in known:
        return
    if kinds := [f"{kind}s" for check in CHECKS if check.name == name for kind in check.kinds]:
        given = " or ".join(map(str, components))
        raise UsageError(f"{what}: '{name}' is a check of {' and '.join(kinds)}, not of {given}.")
    hint = did_you_mean(name, known) or f" The checks: {', '.join(known)}."
    raise UsageError(f"{what}: no check '{printable(name)}'.{hint}")
