"""What commands share."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click

C = TypeVar("C", bound=click.Command)

run_argument = click.argument("run", metavar="RUN")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


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
    """Print a value as indented JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_columns(rows: Sequence[Sequence[str]], indent: str = "") -> None:
    """Print rows with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo((indent + "  ".join(cells)).rstrip())


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
