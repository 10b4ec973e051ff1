"""What runs say of themselves: read quickly, without torch, and without building or verifying a model."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.config import flat_settings, read_config
from zoo.errors import CheckpointError, UnknownModelError, UsageError, ZooError, printable
from zoo.files import open_regular
from zoo.model import tensor_file
from zoo.training.runs import Run, is_in_training

_STATE = re.compile(r"epoch-([1-9][0-9]{0,8})\.safetensors")
MAX_HISTORY_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Summary:
    """What a run says of itself.

    Attributes:
        path: Its directory, or a checkpoint file that stands alone.
        state: `finished`, `in training`, `interrupted after epoch 3 of 10`, `no epoch finished`.
        settings: By the names that they are set by: `lr`, `encoder`, `encoder.hidden`.
        kept_epoch: The epoch whose weights are kept; None where there are none.
        test_metrics: By name; None until the run is finished.
        history: A row an epoch.
        modified: When something in it changed last, in seconds since 1970.
    """

    path: Path
    state: str
    settings: dict[str, Any]
    kept_epoch: int | None
    test_metrics: dict[str, float] | None
    history: list[dict[str, float]]
    modified: float


@dataclass(frozen=True)
class LeftOut:
    """Something in a directory of runs that is no run, or is damaged, and why."""

    path: Path
    reason: str


def summaries(directory: Path) -> tuple[list[Summary], list[LeftOut]]:
    """Return what the runs in a directory say, by name, and what in it was left out; a run is its own list.

    Raises:
        UsageError: There is no such directory.
    """
    if _is_run(directory):
        return [summary(directory)], []
    try:
        names = sorted((name for name in os.listdir(directory) if not name.startswith(".")), key=_natural)
    except OSError as error:
        raise UsageError(f"Cannot list runs in {printable(directory)}: {error.strerror}.") from error
    found: list[Summary] = []
    left_out: list[LeftOut] = []
    for path in (directory / name for name in names):
        try:
            found.append(summary(path))
        except ZooError as error:
            left_out.append(LeftOut(path, str(error)))
    return found, left_out


def summary(path: Path) -> Summary:
    """Return what one run directory or checkpoint file says.

    Raises:
        UnknownModelError: It is neither.
        ZooError: A file of it is damaged.
    """
    if _is_run(path):
        return _of_run(Run(path))
    if path.suffix != ".safetensors" or os.path.isdir(path):
        raise UnknownModelError(f"{printable(path)} is no run.")
    return _of_file(path)


def _is_run(path: Path) -> bool:
    return any(os.path.lexists(file) for file in (Run(path).config_file, Run(path).checkpoint))


def _of_run(run: Run) -> Summary:
    record = _record(run.checkpoint) if run.checkpoint.exists() else {}
    config = read_config(run.config_file) if run.config_file.exists() else record["config"]
    metrics = record.get("test_metrics")
    history = _rows(run.metrics_file) or record.get("history") or []
    finished = metrics is not None and record["config"] == config
    files = (run.config_file, run.checkpoint, run.metrics_file)
    return Summary(
        path=run.directory,
        state=_state(run, config, finished, len(history)),
        settings=flat_settings(config),
        kept_epoch=record.get("epoch"),
        test_metrics=metrics if finished else None,
        history=history,
        modified=max(_modified(file) for file in files),
    )


def _of_file(path: Path) -> Summary:
    record = _record(path)
    finished = record.get("test_metrics") is not None
    return Summary(
        path=path,
        state="finished" if finished else f"after epoch {record['epoch']}",
        settings=flat_settings(record["config"]),
        kept_epoch=record["epoch"],
        test_metrics=record.get("test_metrics"),
        history=record.get("history") or [],
        modified=_modified(path),
    )


def _state(run: Run, config: Mapping[str, Any], finished: bool, rows: int) -> str:
    if is_in_training(run):
        return "in training"
    if finished:
        return "finished"
    names = os.listdir(run.resume_directory) if run.resume_directory.is_dir() else []
    epoch = max((int(match[1]) for match in map(_STATE.fullmatch, names) if match), default=rows)
    return f"interrupted after epoch {epoch} of {config.get('epochs', '?')}" if epoch else "no epoch finished"


def _record(path: Path) -> dict[str, Any]:
    """Return a checkpoint's record, of which all that a summary needs has the right types."""
    record = tensor_file.read_record(tensor_file.CHECKPOINT, path)
    config, metrics, history = record.get("config"), record.get("test_metrics"), record.get("history")
    rows = [_flat_row(row) for row in history] if isinstance(history, list) else []
    sound = (
        isinstance(config, dict)
        and isinstance(record.get("epoch"), int)
        and (metrics is None or _are_numbers(metrics))
        and (history is None or isinstance(history, list))
        and all(map(_are_numbers, rows))
    )
    if not sound:
        raise CheckpointError(f"{printable(path)} holds invalid metadata.")
    return {**record, "history": rows}


def _flat_row(row: Any) -> Any:
    """Return a row of a checkpoint's history by the columns of metrics.csv; format 1 has it so."""
    losses = row.get("losses") if isinstance(row, dict) else None
    return {"epoch": row.get("epoch"), **losses, "lr": row.get("lr")} if isinstance(losses, dict) else row


def _are_numbers(values: Any) -> bool:
    return isinstance(values, dict) and all(isinstance(value, int | float) for value in values.values())


def _rows(path: Path) -> list[dict[str, float]]:
    """Return the rows of metrics.csv; none where it is missing."""
    if not os.path.lexists(path):
        return []
    try:
        with open_regular(path) as file:
            lines = file.read(MAX_HISTORY_BYTES).decode("utf-8").splitlines()
        rows = [{name: float(value) for name, value in row.items() if value != ""} for row in csv.DictReader(lines)]
    except OSError as error:
        raise CheckpointError(f"Cannot read {printable(path)}: {error.strerror}.") from error
    except (ValueError, TypeError, AttributeError, csv.Error) as error:  # a row of another length has None in it
        raise CheckpointError(f"{printable(path)} is damaged: it is not a table of numbers.") from error
    return rows


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return -math.inf


def _natural(name: str) -> list[tuple[str, int]]:
    """Return a key that sorts numbers in names by their value: run-2 before run-10."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", name)]
