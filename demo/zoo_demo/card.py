"""What a checkpoint says about its model, for the page: known without building it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from zoo.cli.common import json_values
from zoo.config import ComponentConfig, RunConfig, default_lr, flag_of
from zoo.errors import ZooError, command
from zoo.options import REQUIRED, options_of
from zoo.specs import KINDS

if TYPE_CHECKING:
    from zoo.checkpoint import Checkpoint

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
    settings = config.model_dump(mode="json")
    components = {
        kind: metadata.components[kind].model_dump() | {"options": settings.pop(kind)["options"]} for kind in KINDS
    }
    card = {
        "id": id_,
        "title": source.title,
        "source": source.kind,
        "image_shape": metadata.image_shape,
        "latent_dim": config.latent_dim,
        "components": components,
        "test_metrics": metadata.test_metrics,
        "epoch": metadata.epoch,
        "versions": metadata.versions,
        "settings": settings,
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
        if isinstance(value, ComponentConfig):
            words += [flag_of(name), value.name, *_assignments(checkpoint, name)]
        elif isinstance(value, bool):
            words += [flag_of(name)] * value
        elif value != (default_lr(config.scheduler) if name == "lr" else field.default):
            words += [flag_of(name), str(value)]
    return command(*words)


def _assignments(checkpoint: Checkpoint, kind: Any) -> Iterable[str]:
    """Yield `--set KIND.OPTION=VALUE` for each option that is not the default."""
    defaults = {}
    with contextlib.suppress(ZooError):  # without its plugin nobody knows them
        options = options_of(checkpoint.component(kind).load())
        defaults = {option.name: option.to_json(option.default) for option in options if option.default is not REQUIRED}
    for name, value in checkpoint.metadata.config.component(kind).options.items():
        if name not in defaults or value != defaults[name]:
            yield from ("--set", f"{kind}.{name}={_option_text(value)}")


def _option_text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_option_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
