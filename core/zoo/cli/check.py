"""`zoo check`: the contract tests, without pytest."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import click

from zoo.cli.common import json_option, print_json, waiting, with_example

if TYPE_CHECKING:
    from zoo.testing import Outcome


@with_example("zoo check zoo-patch", "zoo check mlp --only output_shape")
@click.command()
@click.argument("name")
@click.option("--only", metavar="CHECK", help="Run one check.")
@json_option
def check(name: str, only: str | None, as_json: bool) -> None:
    """Run the contract tests of NAME.

    NAME is a distribution (zoo-patch), a plugin or a component. Exits with 1 if a check fails.
    """
    with waiting("Loading PyTorch…"):
        from zoo.testing import check_components, find_components

        components = find_components(name)
    outcomes = []
    for outcome in check_components(components, only):
        outcomes.append(outcome)
        if not as_json:
            _print(outcome)
    counts = Counter(outcome.result for outcome in outcomes)
    if as_json:
        print_json({"outcomes": [_facts(outcome) for outcome in outcomes], "counts": counts})
    else:
        click.echo(", ".join(f"{counts[result]} {result}" for result in ("passed", "failed", "not applicable")))
    sys.exit(1 if counts["failed"] else 0)


def _print(outcome: Outcome) -> None:
    component, check_ = outcome.component, outcome.check
    click.echo(f"{outcome.result:<14}  {component.kind:<9}  {component.name}  {check_.name}")
    if outcome.message:
        click.echo(f"    {outcome.message}")


def _facts(outcome: Outcome) -> dict[str, str]:
    component = outcome.component
    return {
        "kind": component.kind,
        "component": component.qualified_name,
        "check": outcome.check.name,
        "promise": outcome.check.promise,
        "result": outcome.result,
        "message": outcome.message,
    }
