"""What commands share."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import click

from zoo.cli.completion import run_or_model
from zoo.cli.streams import can_write
from zoo.contract.registry import installed
from zoo.contract.specs import KINDS
from zoo.errors import ConfigError, did_you_mean, printable

C = TypeVar("C", bound=click.Command)


def _options(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the texts of `--set KIND.OPTION=VALUE` by kind and option; the last one of an option counts."""
    options: dict[str, dict[str, str]] = {}
    for value in values:
        name, equals, text = value.partition("=")
        kind, dot, option = name.partition(".")
        if kind == "distortion":  # there may be several: its options are set by name
            distortion, dot, option = option.rpartition(".")
            kind = f"distortion.{distortion}"
            if equals and option and not distortion:
                example = f"distortion.mse.{printable(f'{option}={text}')}"
                raise ConfigError(
                    f"--set takes distortion.NAME.OPTION=VALUE, e.g. {example}, got '{printable(value)}'."
                )
        if not (equals and dot and option):
            raise ConfigError(f"--set takes {parameter.metavar}, e.g. dataset.root=photos, got '{printable(value)}'.")
        if kind.partition(".")[0] not in KINDS:
            what = f"'{printable(kind)}' is none of {', '.join(KINDS)}."
            raise ConfigError(f"--set {printable(value)}: {what}{did_you_mean(kind, KINDS)}")
        options.setdefault(kind, {})[option] = text
    return options


def _dataset_options(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    options = _options(context, parameter, values)
    for kind, given in options.items():
        if kind != "dataset":
            name, owner = printable(f"{kind}.{next(iter(given))}"), kind.partition(".")[0]
            raise ConfigError(
                f"--set {name}: only {parameter.metavar} can be set here; the {owner} is the checkpoint's."
            )
    return options.get("dataset", {})


run_argument = click.argument("run", metavar="RUN", shell_complete=run_or_model)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON; a number that is not finite is null.")
set_option = click.option(
    "--set", "options", metavar="KIND.OPTION=VALUE", multiple=True, callback=_options,
    help="A component's option, e.g. encoder.hidden=128; see `zoo info encoder mlp`.",
)  # fmt: skip
set_dataset_option = click.option(
    "--set", "dataset_options", metavar="dataset.OPTION=VALUE", multiple=True, callback=_dataset_options,
    help="An option of the dataset, e.g. dataset.root=photos where its files have moved.",
)  # fmt: skip


def with_example(*examples: str) -> Callable[[C], C]:
    """End a command's help with real examples, and give it `--debug`."""

    def decorate(command: C) -> C:
        command.epilog = "\b\nExample:\n" + "\n".join(f"  {example}" for example in examples)
        command.params.append(
            click.Option(
                ["--debug"], is_flag=True, is_eager=True, expose_value=False, callback=_debug,
                help="Show the whole traceback of an error.",
            )
        )  # fmt: skip
        return command

    return decorate


def print_json(value: Any) -> None:
    """Print a value as indented JSON, in ASCII where stdout's encoding lacks a character."""
    values = json_values(value)
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    click.echo(text if can_write(text) else json.dumps(values, indent=2, allow_nan=False))


def json_values(value: Any) -> Any:
    """Return a value that JSON can hold: a number that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {name: json_values(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_columns(rows: Sequence[Sequence[str]], indent: str = "") -> None:
    """Print rows with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo((indent + "  ".join(cells)).rstrip())


def metrics_text(metrics: Mapping[str, float]) -> str:
    """Return test metrics on one line."""
    return "  ".join(f"{name} {installed().metric_text(name, value)}" for name, value in metrics.items())


@contextlib.contextmanager
def waiting(message: str) -> Iterator[None]:
    """Show on a terminal that something slow is under way."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(message):
        yield


def _debug(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        os.environ["ZOO_DEBUG"] = "1"
