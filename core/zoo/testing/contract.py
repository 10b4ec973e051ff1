"""Every component that a plugin registers, crossed with every check that applies to its kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoo.errors import UsageError, did_you_mean
from zoo.registry import Component, Registry, installed
from zoo.testing import datasets, declaration, networks, objectives  # noqa: F401 - they fill CHECKS
from zoo.testing.check import CHECKS, Check, Outcome, Subject, run_check

ExpectedFailures = Mapping[str, Mapping[str, str]]


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
    known = {known for c in components for known in (c.plugin.distribution, c.plugin.name, c.name)}
    raise UsageError(f"No installed plugin or component is named '{name}'.{did_you_mean(name, known)}")


def applicable_checks(component: Component) -> list[Check]:
    """Return the checks that apply to a component's kind."""
    return [check for check in CHECKS if component.kind in check.kinds]


def check_components(components: Sequence[Component], only: str | None = None) -> Iterator[Outcome]:
    """Run every check that applies to each component, or only the one of a name.

    Raises:
        UsageError: There is no check of this name.
    """
    if only is not None and only not in {check.name for check in CHECKS}:
        raise UsageError(f"No check '{only}'.{did_you_mean(only, [check.name for check in CHECKS])}")
    for component in components:
        subject = Subject(component)
        for check in applicable_checks(component):
            if only in (None, check.name):
                yield run_check(check, subject)


def contract_tests(
    name: str,
    expected_failures: ExpectedFailures | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> type:
    """Return a test class for pytest: a test for each component of a plugin and each check.

    Args:
        name: The distribution (`zoo-patch`), plugin or component to test.
        expected_failures: Component → check → reason. Such a test must fail (a strict xfail); one
            that passes, or a name that is unknown, is a failure.
        options: Component → option → value, for a component that cannot be built or read by its
            defaults alone, such as a dataset that needs a path.

    Raises:
        UsageError: The plugin is not installed or was not loaded, or an expected failure names an
            unknown component or check.
    """
    import pytest

    components = find_components(name)
    expected = {c: dict(checks) for c, checks in (expected_failures or {}).items()}
    _refuse_unknown(components, expected)
    parameters: list[Any] = []
    for component in components:
        subject = Subject(component, (options or {}).get(component.name, {}))
        for check in applicable_checks(component):
            reason = expected.get(component.name, {}).get(check.name)
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
                pytest.fail(f"{check.name}: {check.promise}\n{outcome.message}", pytrace=False)

    return ContractTests


def _refuse_unknown(components: Sequence[Component], expected: Mapping[str, Mapping[str, str]]) -> None:
    for component_name, checks in expected.items():
        matching = [c for c in components if c.name == component_name]
        if not matching:
            known = sorted({c.name for c in components})
            hint = did_you_mean(component_name, known)
            raise UsageError(
                f"expected_failures: no component '{component_name}'.{hint} The components: {', '.join(known)}."
            )
        known = [check.name for c in matching for check in applicable_checks(c)]
        for check in checks:
            if check not in known:
                raise UsageError(f"expected_failures: no check '{check}'.{did_you_mean(check, known)}")
