"""`zoo info`: a run or a model and what was kept of it, or a component with its options."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from zoo.cli import completion
from zoo.cli.common import json_option, metrics_text, print_columns, print_json, waiting, with_example
from zoo.cli.offers import LISTED, KindChoice, facts_of
from zoo.errors import UsageError, command, printable, quoted
from zoo.registry import Component, PretrainedModel, installed
from zoo.specs import KINDS, DatasetSpec, Kind

if TYPE_CHECKING:
    from zoo.checkpoint import Checkpoint


class _KindBeforeName(KindChoice):
    """Where the kind was forgotten, says which command lines would do."""

    def refusal(self, value: str) -> str:
        kinds = dict.fromkeys(o.spec.kind for o in installed().offers() if value in (o.name, o.qualified_name))
        if not kinds:
            return super().refusal(value)
        return "Say which kind: " + " or ".join(command("zoo", "info", kind, value) for kind in kinds)


@with_example("zoo info runs/mnist-mlp-1", "zoo info mnist-mlp", "zoo info encoder mlp")
@click.command()
@click.argument("run_or_kind", metavar="RUN|KIND", shell_complete=completion.run_or_kind)
@click.argument("name", metavar="[NAME]", required=False, shell_complete=completion.name_of_kind)
@json_option
@click.pass_context
def info(context: click.Context, run_or_kind: str, name: str | None, as_json: bool) -> None:
    """Show a run or a model, or a component and its options.

    RUN is a run directory, a .safetensors file or a pretrained model's name: which epoch was kept,
    the settings that are not the defaults, metrics and history. KIND is encoder, decoder, objective,
    distortion, dataset, metric or model, with the NAME of one.
    """
    if name is None and not _is_kind(run_or_kind):
        _show_run_or_model(run_or_kind, as_json)
        return
    kind = _KindBeforeName().convert(run_or_kind, None, context)
    if name is None:
        names = ", ".join(dict.fromkeys(offer.name for offer in installed().offers() if offer.spec.kind == kind))
        raise click.UsageError(f"Missing argument 'NAME': zoo info {quoted(kind)} NAME, one of: {names}.", context)
    if kind == "model":
        _show_model(installed().model(name), as_json)
    else:
        _show_component(installed().get(cast(Kind, kind), name), as_json)


def _is_kind(text: str) -> bool:
    return text.removesuffix("s") in LISTED


def _show_run_or_model(run: str, as_json: bool) -> None:
    offers = [offer for offer in installed().offers() if run in (offer.name, offer.qualified_name)]
    if os.path.lexists(run) or not offers:
        _show_run(run, as_json)
    elif any(isinstance(offer, PretrainedModel) for offer in offers):
        _show_model(installed().model(run), as_json)
    else:
        raise UsageError(_KindBeforeName().refusal(run))


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
    prefix = component.option_prefix
    rows = [
        [f"--set {prefix}.{option}=…", describe(schema), _default(schema), schema.get("description", "")]
        for option, schema in options.items()
    ]
    if rows:
        print_columns(rows, indent="  ")


def _show_model(model: PretrainedModel, as_json: bool) -> None:
    with waiting("Loading PyTorch…"):
        from zoo.checkpoint import read

        opened = read(model.path)
    history = [record.row for record in opened.metadata.history or ()]
    _show_checkpoint(facts_of(model) | {"command": model.spec.command}, opened, history, as_json)


def _show_run(run: str, as_json: bool) -> None:
    """Show a run directory or a checkpoint file, verified; a run of which no epoch was finished has its settings."""
    from zoo.summaries import summary

    path = Path(run)
    is_run = os.path.isdir(path) and os.path.lexists(path / "config.json")
    found = summary(path) if is_run else None
    facts: dict[str, Any] = {"run": quoted(path), "state": found.state} if found else {}
    if found and found.kept_epoch is None:
        changed = _changed(found.settings)
        if as_json:
            print_json({**facts, "settings": found.settings, "changed": changed, "history": found.history})
            return
        _print_facts(facts)
        _print_settings(changed)
        return
    with waiting("Loading PyTorch…"):
        from zoo.checkpoint import read

        opened = read(run)
    history = found.history if found else [record.row for record in opened.metadata.history or ()]
    _show_checkpoint(facts, opened, history, as_json)


def _show_checkpoint(
    facts: dict[str, Any], opened: Checkpoint, history: Sequence[Mapping[str, float]], as_json: bool
) -> None:
    metadata = opened.metadata
    counts = Counter[str]()
    for name, tensor in opened.tensors.items():
        counts[name.partition(".")[0]] += tensor.numel()
    from zoo.config import flat_settings

    settings = flat_settings(metadata.config.model_dump(mode="json"))
    changed = _changed(settings)
    facts = facts | {
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
        print_json(
            {**facts, "components": components, "settings": settings, "changed": changed, "history": list(history)}
        )
        return
    if metadata.test_metrics:
        facts["test_metrics"] = metrics_text(metadata.test_metrics)
    _print_facts(facts)
    _print_settings(changed)
    _print_history(history, metadata.epoch)
    click.echo("components")
    print_columns(
        [
            [part["kind"], part["name"], f"{part['distribution']} {part['version']}", json.dumps(part["options"])]
            for part in components
        ],
        indent="  ",
    )


def _changed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that are not the defaults; components are shown with all of their options."""
    from zoo.config import RunConfig

    defaults = {
        name: _as_json(field.get_default())
        for name, field in RunConfig.model_fields.items()
        if name not in KINDS and not field.is_required()
    }
    return {name: settings[name] for name, value in defaults.items() if name in settings and settings[name] != value}


def _as_json(value: Any) -> Any:
    """Return a setting as a config.json holds it: a tuple becomes a list."""
    return list(value) if isinstance(value, tuple) else value


def _print_settings(changed: Mapping[str, Any]) -> None:
    click.echo("settings that are not the defaults" if changed else "all settings are the defaults")
    if changed:
        print_columns([[name, printable(json.dumps(value))] for name, value in changed.items()], indent="  ")


def _print_history(history: Sequence[Mapping[str, float]], kept: int) -> None:
    """Print the epoch whose weights are kept, and the last one."""
    if not history:
        return
    rows = [("kept", row) for row in history if row.get("epoch") == kept] + [("last", history[-1])]
    click.echo("history")
    names = [str(name) for name in history[-1]]
    cells = [[label, *(f"{row.get(name, math.nan):.6g}" for name in names)] for label, row in rows]
    print_columns([["", *names], *cells], indent="  ")


def _print_facts(facts: dict[str, Any]) -> None:
    print_columns([[label, value if isinstance(value, str) else json.dumps(value)] for label, value in facts.items()])


def _default(schema: dict[str, Any]) -> str:
    if "default" not in schema:
        return "required"
    return "default none" if schema["default"] is None else f"default {json.dumps(schema['default'])}"
