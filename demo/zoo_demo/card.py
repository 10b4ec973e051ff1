"""What a checkpoint says about its model, for the page: known without building it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from zoo.cli.common import json_values
from zoo.config import RunConfig, default_lr, flag_of, sum_text
from zoo.contract.options import REQUIRED, options_of
from zoo.contract.registry import installed
from zoo.contract.specs import KINDS, Kind
from zoo.errors import ZooError, command

if TYPE_CHECKING:
    from zoo.contract.registry import Component
    from zoo.model.checkpoint import Checkpoint

Card = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Where a model comes from, known before its file is opened.

    Attributes:
        title: What a person calls it: a pretrained model's name, or a run directory's.
        kind: `pretrained` or `run`.
        path: Its checkpoint.
        load: What a user gives to `zoo.load`.
        named: Whether the user asked for this very one: then a broken one ends the program.
        command: The command line that made it, where the plugin says so.
    """

    title: str
    kind: Literal["pretrained", "run"]
    path: Path
    load: str
    named: bool
    command: str | None = None


def card_of(id_: str, source: Source, checkpoint: Checkpoint) -> Card:
    """Return what a checkpoint says about its model, as JSON values."""
    metadata = checkpoint.metadata
    config = metadata.config
    parts = [part.model_dump(mode="json") for _, part in config.parts()]
    components = [
        record.model_dump() | {name: value for name, value in part.items() if name != "name"}
        for record, part in zip(metadata.components, parts, strict=True)
    ]
    card = {
        "id": id_,
        "title": source.title,
        "source": source.kind,
        "image_shape": metadata.image_shape,
        "latent_dim": config.latent_dim,
        "components": components,
        "test_metrics": [
            {"name": name, "text": installed().metric_text(name, value)}
            for name, value in (metadata.test_metrics or {}).items()
        ],
        "epoch": metadata.epoch,
        "versions": metadata.versions,
        "settings": config.model_dump(mode="json", exclude={str(kind) for kind in KINDS}),
        "command": source.command or _command(checkpoint),
        "history": metadata.history and [record.model_dump() for record in metadata.history],
        "sha256": _sha256(checkpoint.path),
        "load": f"zoo.load({json.dumps(source.load, ensure_ascii=False)})",
    }
    as_json: Card = json_values(card)
    return as_json


def _sha256(path: Path) -> str:
    """Return the checksum over config and weights that the file holds; reading it has verified it."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return str(file.metadata()["sha256"])


def _command(checkpoint: Checkpoint) -> str:
    """Return the command line that trains such a model: what differs from the defaults, and the components."""
    config = checkpoint.metadata.config
    words = ["zoo", "train"]
    for name, field in RunConfig.model_fields.items():
        value = getattr(config, name)
        if name in KINDS:
            words += [flag_of(name), sum_text(value) if name == "distortion" else value.name]
            words += _assignments(checkpoint, name)
        elif isinstance(value, bool):
            words += [flag_of(name)] * value
        elif value != (default_lr(config.scheduler) if name == "lr" else field.default):
            words += [flag_of(name), _option_text(value)]
    return command(*words)


def _assignments(checkpoint: Checkpoint, kind: Kind) -> Iterable[str]:
    """Yield `--set KIND.OPTION=VALUE` for each option that is not the default; a distortion's are set by its name."""
    parts = [part for each, part in checkpoint.metadata.config.parts() if each == kind]
    defaults: list[dict[str, Any]] = [{} for _ in parts]
    with contextlib.suppress(ZooError):  # without its plugin nobody knows them
        defaults = [_defaults(component) for component in checkpoint.components(kind)]
    for part, usual in zip(parts, defaults, strict=True):
        owner = f"{kind}.{part.name}" if kind == "distortion" else kind
        for name, value in part.options.items():
            if name not in usual or value != usual[name]:
                yield from ("--set", f"{owner}.{name}={_option_text(value)}")


def _defaults(component: Component) -> dict[str, Any]:
    """Return the default of each option that has one, as JSON values."""
    options = options_of(component.load())
    return {option.name: option.to_json(option.default) for option in options if option.default is not REQUIRED}


def _option_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_option_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
