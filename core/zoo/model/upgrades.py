"""Records of older checkpoints as they are written today.

A record comes from a file that may be damaged: what is not as expected is left as it is, and the
validation that follows refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Record = dict[str, Any]

BUILT_IN = "autoencoder-zoo"


def upgrade(record: Mapping[str, Any]) -> Record:
    """Return a record, as it was parsed from JSON, in the current format."""
    upgraded = dict(record)
    while step := _STEPS.get(_version(upgraded)):
        upgraded = step(upgraded)
    return upgraded


def _version(record: Record) -> int:
    version = record.get("format_version")
    return version if type(version) is int else 0


def _from_1_to_2(record: Record) -> Record:
    """Add the distortion, which was the mean squared error, and name the facts about the data."""
    upgraded = {name: value for name, value in record.items() if name not in ("image_shape", "components", "history")}
    upgraded["format_version"] = 2
    upgraded["data"] = {"image_shape": record.get("image_shape")}
    config = record.get("config")
    if isinstance(config, dict):
        upgraded["config"] = {"distortion": [{"name": "mse"}], **config}
    components = record.get("components")
    if isinstance(components, dict):
        mse = {"name": "mse", "distribution": BUILT_IN, "version": "0.2.0"}
        named = {kind: part for kind, part in components.items() if isinstance(part, dict)} | {"distortion": mse}
        order = ("encoder", "decoder", "objective", "distortion", "dataset")
        upgraded["components"] = [{"kind": kind, **named[kind]} for kind in order if kind in named] + [
            {"kind": kind, **part} for kind, part in named.items() if kind not in order
        ]
    rows = record.get("history")
    upgraded["history"] = [_row_from_1(row) for row in rows] if isinstance(rows, list) else rows
    return upgraded


def _row_from_1(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    losses = {name: value for name, value in row.items() if name in ("train_loss", "val_loss")}
    return {name: value for name, value in row.items() if name not in losses} | {"losses": losses}


_STEPS: dict[int, Callable[[Record], Record]] = {1: _from_1_to_2}
