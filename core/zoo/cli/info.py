"""`zoo info`: one component with its options, or one pretrained model with its metrics."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import click

from zoo.cli.common import json_option, metrics_text, print_columns, print_json, waiting, with_example
from zoo.cli.offers import KindChoice, Listed, facts_of
from zoo.registry import Component, PretrainedModel, installed
from zoo.specs import KINDS, DatasetSpec


class _KindBeforeName(KindChoice):
    """Where the kind was forgotten, says which command lines would do."""

    def refusal(self, value: str) -> str:
        kinds = dict.fromkeys(o.spec.kind for o in installed().offers() if value in (o.name, o.qualified_name))
        if not kinds:
            return super().refusal(value)
        return "Say which kind: " + " or ".join(f"zoo info {kind} {value}" for kind in kinds)


@with_example("zoo info encoder mlp", "zoo info model mnist-mlp")
@click.command()
@click.argument("kind", type=_KindBeforeName(), metavar="KIND")
@click.argument("name")
@json_option
def info(kind: Listed, name: str, as_json: bool) -> None:
    """Show a component and its options, or a model and its metrics.

    KIND is encoder, decoder, objective, dataset or model.
    """
    if kind == "model":
        _show_model(installed().model(name), as_json)
    else:
        _show_component(installed().get(kind, name), as_json)


def _show_component(component: Component, as_json: bool) -> None:
    with waiting("Loading PyTorch…"):
        from zoo.options import describe, options_of

        options = {option.name: option.schema() for option in options_of(component.load())}
    facts = facts_of(component) | {"target": component.spec.target}
    if isinstance(component.spec, DatasetSpec):
        spec = component.spec
        facts |= {"image_shape": spec.image_shape, "splits": dict(spec.splits) if spec.splits else None}
        facts |= {"licence": spec.licence, "credit": spec.credit}
    if as_json:
        print_json({**facts, "options": options})
        return
    _print_facts(facts)
    click.echo("options" if options else "no options")
    rows = [
        [f"--set {component.kind}.{option}=…", describe(schema), _default(schema), schema.get("description", "")]
        for option, schema in options.items()
    ]
    if rows:
        print_columns(rows, indent="  ")


def _show_model(model: PretrainedModel, as_json: bool) -> None:
    with waiting("Loading PyTorch…"):
        from zoo.checkpoint import read

        opened = read(model.path)
    metadata = opened.metadata
    counts = Counter[str]()
    for name, tensor in opened.tensors.items():
        counts[name.partition(".")[0]] += tensor.numel()
    facts = facts_of(model) | {
        "command": model.spec.command,
        "file": str(opened.path),
        "bytes": opened.path.stat().st_size,
        "image_shape": metadata.image_shape,
        "latent_dim": metadata.config.latent_dim,
        "weights": {kind: counts[kind] for kind in KINDS if counts[kind]},
        "epoch": metadata.epoch,
        "test_metrics": metadata.test_metrics,
    }
    components = [
        record.model_dump() | {"options": part.options}
        for record, (_, part) in zip(metadata.components, metadata.config.parts(), strict=True)
    ]
    if as_json:
        print_json({**facts, "components": components})
        return
    if metadata.test_metrics:
        facts["test_metrics"] = metrics_text(metadata.test_metrics)
    _print_facts(facts)
    click.echo("components")
    print_columns(
        [
            [part["kind"], part["name"], f"{part['distribution']} {part['version']}", json.dumps(part["options"])]
            for part in components
        ],
        indent="  ",
    )


def _print_facts(facts: dict[str, Any]) -> None:
    print_columns([[label, value if isinstance(value, str) else json.dumps(value)] for label, value in facts.items()])


def _default(schema: dict[str, Any]) -> str:
    if "default" not in schema:
        return "required"
    return "default none" if schema["default"] is None else f"default {json.dumps(schema['default'])}"
