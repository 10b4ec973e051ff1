"""`zoo plugins`: what was loaded, what was not, and why."""

from __future__ import annotations

import traceback
from typing import Any

import click

from zoo.cli.common import json_option, print_columns, print_json, with_example
from zoo.contract.registry import Component, Offer, Plugin, PretrainedModel, installed


@with_example("zoo plugins --verbose")
@click.command()
@click.option("--verbose", is_flag=True, help="Show the traceback of each plugin that was not loaded.")
@json_option
def plugins(verbose: bool, as_json: bool) -> None:
    """Show the installed plugins and what each offers."""
    registry = installed()
    not_loaded = {problem.plugin: problem for problem in registry.problems}
    offers: dict[Plugin, list[Offer[Any]]] = {plugin: [] for plugin in registry.plugins if plugin not in not_loaded}
    for offer in registry.offers():
        offers[offer.plugin].append(offer)
    if as_json:
        print_json(
            {
                "loaded": [_facts(plugin) | _names(offered) for plugin, offered in offers.items()],
                "not_loaded": [_facts(plugin) | {"cause": p.cause} for plugin, p in not_loaded.items()],
            }
        )
        return
    print_columns(
        [
            [p.name, f"{p.distribution} {p.version}", ", ".join(f"{o.spec.kind} {o.name}" for o in offered)]
            for p, offered in offers.items()
        ]
    )
    if not_loaded:
        click.echo("not loaded")
    for plugin, problem in not_loaded.items():
        click.echo(f"  {plugin.name}  {plugin.distribution} {plugin.version}  {problem.cause}")
        if verbose and problem.error:
            click.echo("".join(traceback.format_exception(problem.error)).rstrip())


def _facts(plugin: Plugin) -> dict[str, object]:
    return {
        "name": plugin.name,
        "module": plugin.module,
        "distribution": plugin.distribution,
        "version": plugin.version,
    }


def _names(offered: list[Offer[Any]]) -> dict[str, list[str]]:
    return {
        "components": [f"{offer.kind} {offer.name}" for offer in offered if isinstance(offer, Component)],
        "models": [offer.name for offer in offered if isinstance(offer, PretrainedModel)],
    }
