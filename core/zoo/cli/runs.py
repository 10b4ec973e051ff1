"""`zoo runs`: a table of the runs in a directory."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from zoo.cli.common import json_option, metrics_text, print_columns, print_json, with_example
from zoo.contract.specs import KINDS
from zoo.errors import command, printable, quoted
from zoo.training.runs import RUNS

HEADINGS = ("run", "components", "settings that differ", "test", "state", "age")
UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


@with_example("zoo runs", "zoo runs experiments --json")
@click.command()
@click.argument("directory", metavar="[DIR]", type=click.Path(file_okay=False, path_type=Path), default=RUNS)
@json_option
def runs(directory: Path, as_json: bool) -> None:
    """Show the runs in DIR: what each trained, metrics and state.

    DIR is runs by default. A file that is damaged or no run gets a line after the table.
    """
    from zoo.training.summaries import summaries

    found, left_out = summaries(directory)
    differing = _differing([summary.settings for summary in found])
    if as_json:
        facts = [
            {
                "path": str(summary.path),
                "state": summary.state,
                "settings": summary.settings,
                "differing": {name: summary.settings[name] for name in differing if name in summary.settings},
                "epoch": summary.kept_epoch,
                "test_metrics": summary.test_metrics,
                "modified": datetime.fromtimestamp(summary.modified, UTC).isoformat(timespec="seconds"),
            }
            for summary in found
        ]
        print_json({"runs": facts, "left_out": [{"path": str(o.path), "reason": o.reason} for o in left_out]})
        return
    rows = [
        (
            quoted(summary.path),
            " ".join(printable(summary.settings.get(kind, "?"), 40) for kind in KINDS),
            "  ".join(assignment(name, summary.settings[name]) for name in differing if name in summary.settings),
            metrics_text(summary.test_metrics or {}),
            summary.state,
            _age(summary.modified),
        )
        for summary in found
    ]
    if rows:
        print_columns([HEADINGS, *rows])
    else:
        first = command("zoo", "train", "--encoder", "mlp", "--dataset", "mnist")
        click.echo(f"no runs in {printable(directory)}; {first} makes one in runs")
    for other in left_out:
        click.echo(f"left out  {printable(other.reason)}")


def assignment(name: str, value: Any) -> str:
    """Return a setting as `name=value`."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return printable(f"{name}={text}", 60)


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the settings, components apart, that have several values among the runs that have them."""
    names = dict.fromkeys(name for each in settings for name in each if name not in KINDS)
    return [
        name for name in names if len({json.dumps(each[name], sort_keys=True) for each in settings if name in each}) > 1
    ]


def _age(modified: float) -> str:
    seconds = max(0, int(time.time() - modified))
    unit, length = next(((unit, length) for unit, length in UNITS if seconds >= length), UNITS[-1])
    return f"{seconds // length} {unit}"
