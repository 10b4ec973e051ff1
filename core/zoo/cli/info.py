"""`zoo info`: one component, with its options."""

from __future__ import annotations

import json
from typing import Any

import click

from zoo.cli.common import json_option, print_columns, print_json, waiting, with_example
from zoo.registry import installed
from zoo.specs import KINDS, DatasetSpec, Kind


@with_example("zoo info encoder mlp")
@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@json_option
def info(kind: Kind, name: str, as_json: bool) -> None:
    """Show a component and its options."""
    component = installed().get(kind, name)
    with waiting("Loading PyTorch…"):
        from zoo.options import describe, options_of

        options = {option.name: option.schema() for option in options_of(component.load())}
    facts: dict[str, Any] = {
        "kind": component.kind,
        "name": component.name,
        "summary": component.spec.summary,
        "distribution": component.plugin.distribution,
        "version": component.plugin.version,
        "target": component.spec.target,
    }
    if isinstance(component.spec, DatasetSpec):
        spec = component.spec
        facts |= {"image_shape": spec.image_shape, "splits": dict(spec.splits)}
        facts |= {"licence": spec.licence, "credit": spec.credit}
    if as_json:
        print_json({**facts, "options": options})
        return
    print_columns([[label, value if isinstance(value, str) else json.dumps(value)] for label, value in facts.items()])
    click.echo("options" if options else "no options")
    rows = [
        [f"--set {kind}.{option}=…", describe(schema), _default(schema), schema.get("description", "")]
        for option, schema in options.items()
    ]
    if rows:
        print_columns(rows, indent="  ")


def _default(schema: dict[str, Any]) -> str:
    return f"default {json.dumps(schema['default'])}" if "default" in schema else "required"
