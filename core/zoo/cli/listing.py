"""`zoo list`: the installed components."""

from __future__ import annotations

import click

from zoo.cli.common import json_option, print_columns, print_json, with_example
from zoo.registry import installed
from zoo.specs import KINDS, Kind


@with_example("zoo list encoder")
@click.command("list")
@click.argument("kind", type=click.Choice(KINDS), required=False)
@json_option
def list_components(kind: Kind | None, as_json: bool) -> None:
    """List the installed components, of one KIND or all."""
    components = installed().components(kind)
    if as_json:
        print_json(
            [
                {
                    "kind": c.kind,
                    "name": c.name,
                    "summary": c.spec.summary,
                    "distribution": c.plugin.distribution,
                    "version": c.plugin.version,
                }
                for c in components
            ]
        )
        return
    rows = [[c.kind, c.name, c.spec.summary, f"{c.plugin.distribution} {c.plugin.version}"] for c in components]
    if rows:
        print_columns(rows)
