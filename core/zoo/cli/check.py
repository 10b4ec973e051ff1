"""`zoo check`: the contract tests, without pytest."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from zoo.cli.common import json_option, print_json, set_option, waiting, with_example
from zoo.cli.completion import checked_name
from zoo.errors import ConfigError, printable

if TYPE_CHECKING:
    from zoo.contract.registry import Component
    from zoo.testing import Outcome

WIDTH = 100  # Width of the lines that list checks.


@with_example(
    "zoo check zoo-patch",
    "zoo check mlp --only output_shape",
    "zoo check photos --set dataset.folder=/data/photos",
)
@click.command()
@click.argument("name", shell_complete=checked_name)
@click.option("--only", metavar="CHECK", help="Run one check.")
@set_option
@json_option
def check(name: str, only: str | None, options: dict[str, dict[str, str]], as_json: bool) -> None:
    """Run the contract tests of NAME.

    NAME is a distribution (zoo-patch), a plugin or a component. Exits with 1 if a check fails.
    """
    with waiting("Loading PyTorch…"):
        from zoo.testing import check_components, find_components

        components = find_components(name)
    outcomes = []
    for outcome in check_components(components, only, _by_component(name, components, options)):
        outcomes.append(outcome)
        if not as_json:
            _print_row(outcome, max(len(component.name) for component in components))
    counts = Counter(outcome.result for outcome in outcomes)
    if as_json:
        print_json({"outcomes": [_facts(outcome) for outcome in outcomes], "counts": counts})
    else:
        _print_not_applicable(outcomes)
        _print_failures(outcomes)
        click.echo("\n" + ", ".join(f"{counts[result]} {result}" for result in ("passed", "failed", "not applicable")))
    sys.exit(1 if counts["failed"] else 0)


def _by_component(
    name: str, components: Sequence[Component], options: dict[str, dict[str, str]]
) -> dict[str, dict[str, str]]:
    """Return the options of `--set` by the kind and name of the components that they are for."""
    prefixes = {component.option_prefix for component in components}
    for prefix, given in options.items():
        if prefix not in prefixes:
            raise ConfigError(f"--set {printable(prefix)}.{next(iter(given))}: '{name}' has no {printable(prefix)}.")
    return {f"{c.kind} {c.name}": options[c.option_prefix] for c in components if c.option_prefix in options}


def _print_row(outcome: Outcome, width: int) -> None:
    component = outcome.component
    click.echo(f"{outcome.result:<14}  {component.kind:<10}  {component.name:<{width}}  {outcome.check.name}")


def _print_not_applicable(outcomes: Sequence[Outcome]) -> None:
    """Print each reason once, over the checks that it holds for."""
    for same in _groups(outcomes, "not applicable"):
        click.echo(f"\nnot applicable to {same[0].component}: {same[0].message}")
        _print_names(same)


def _print_failures(outcomes: Sequence[Outcome]) -> None:
    """Print the failures, those with the same measurement once."""
    for first, *others in _groups(outcomes, "failed"):
        click.echo(f"\nfailed  {first.component}  {first.check.name}")
        for line in first.explanation:
            click.echo(f"  {line}")
        if others:
            click.echo("  the same in:")
            _print_names(others)


def _print_names(outcomes: Sequence[Outcome]) -> None:
    names = ", ".join(outcome.check.name for outcome in outcomes)
    click.echo(click.wrap_text(names, WIDTH, initial_indent="  ", subsequent_indent="  "))


def _groups(outcomes: Sequence[Outcome], result: str) -> list[list[Outcome]]:
    """Return the outcomes with this result, those of one component with one message together."""
    groups: dict[tuple[Component, str], list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.result == result:
            groups.setdefault((outcome.component, outcome.message), []).append(outcome)
    return list(groups.values())


def _facts(outcome: Outcome) -> dict[str, str]:
    component = outcome.component
    return {
        "kind": component.kind,
        "component": component.qualified_name,
        "check": outcome.check.name,
        "promise": outcome.check.promise,
        "result": outcome.result,
        "message": outcome.message,
        "usual_cause": outcome.cause,
        "again": outcome.again,
    }
