"""The resume state: all that an interrupted training needs to go on, kept without pickle.

RUN/resume/epoch-3.safetensors is what Lightning would pickle at the end of epoch 3: weights,
optimizer, schedules, averages, callbacks, loops. Tensors are the file's tensors; everything else
is its record (see `tensor_file`), a tree of JSON in which these objects stand for what JSON lacks:

    {"$tensor": "7"}                        the tensor named 7; with "order", dimensions as they lie in memory
    {"$tuple": […]}                         a tuple
    {"$dict": [[key, value], …]}            a dict whose keys are not plain texts
    {"$float": "inf"}                       a float that is not finite

Two states are kept, so that a damaged one costs an epoch and not the training.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from lightning_fabric.plugins import CheckpointIO
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from zoo.contract.options import explain
from zoo.contract.registry import DISTRIBUTION
from zoo.errors import CheckpointError, printable
from zoo.files import write_atomically
from zoo.model import tensor_file
from zoo.model.tensor_file import FileKind, strict_json
from zoo.training.runs import is_first_process

KIND = FileKind("resume state", "autoencoder_zoo_resume", max_bytes=64 * 2**30, max_header_bytes=32 * 2**20)
FORMAT_VERSION = 1
KEPT = 2
FACTS = "autoencoder_zoo"  # their name in what Lightning keeps

_NAME = re.compile(r"epoch-([1-9][0-9]{0,8})\.safetensors")
_STORABLE = {
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8,
}  # fmt: skip
_log = logging.getLogger("zoo")


class Facts(BaseModel):
    """What a resume state says about its training.

    Attributes:
        format_version: Of the file.
        epoch: How many epochs are finished.
        epochs: How many the training was to have.
        stopped: Whether early stopping has ended it.
        stack: What decides the last bits of a result: versions, device, threads, processes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format_version: Literal[1] = 1
    epoch: Annotated[int, Field(ge=1)]
    epochs: Annotated[int, Field(ge=1)]
    stopped: bool
    stack: dict[str, str]

    def is_over(self, epochs: int) -> bool:
        """Say whether nothing is left to train if the training is to have this many epochs now."""
        return self.epoch >= epochs or (self.stopped and self.epochs == epochs)


@dataclass(frozen=True)
class ResumeState:
    """A resume state that was read and verified: where it is, and what it says."""

    path: Path
    facts: Facts


class SafetensorsIO(CheckpointIO):
    """What Lightning writes and reads resume states with, in place of pickle."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write_atomically(Path(path), encode(checkpoint))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        _, content = read(Path(path))
        return content

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink()


def path_of(directory: Path, epoch: int) -> Path:
    """Return the file of the state after an epoch."""
    return directory / f"epoch-{epoch}.safetensors"


def latest(directory: Path) -> ResumeState | None:
    """Return the newest state in a directory; None where no epoch was finished.

    Where the newest is damaged, the one before is taken, and a line on stderr says so.

    Raises:
        CheckpointError: There are states, and all of them are damaged.
    """
    problems: list[CheckpointError] = []
    for _, path in reversed(_states(directory)):
        try:
            facts, _ = read(path)
        except CheckpointError as error:
            problems.append(error)
            continue
        if problems and is_first_process():
            _log.warning("zoo: %s Going on from the state before it, after epoch %s.", problems[0], facts.epoch)
        return ResumeState(path, facts)
    if problems:
        raise CheckpointError(f"Nothing to go on from: {problems[0]}")
    return None


def prune(directory: Path) -> None:
    """Remove all states but the newest two."""
    for _, path in _states(directory)[:-KEPT]:
        path.unlink()


def read(path: Path) -> tuple[Facts, dict[str, Any]]:
    """Return a resume state's facts, and all of its content as Lightning gave it.

    Raises:
        CheckpointError: It is missing, damaged, or none.
    """
    record, tensors = tensor_file.read(KIND, path)
    name = printable(path)
    try:
        content = _decode(strict_json(KIND, record), tensors)
        given = content[FACTS]
        version = given["format_version"]
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise CheckpointError(f"{name} has format version {version}: pip install --upgrade {DISTRIBUTION}")
        facts = Facts.model_validate(given)
    except ValidationError as error:
        raise CheckpointError(f"{name} holds invalid facts: {explain(error)}.") from error
    except (KeyError, TypeError, ValueError, RuntimeError, RecursionError) as error:
        raise CheckpointError(f"{name} is damaged: its record is not a resume state's.") from error
    return facts, content


def require_fit(content: Mapping[str, Any], module: nn.Module, trained: Sequence[Sequence[Tensor]]) -> None:
    """Refuse a state whose tensors are not those of this module and its optimizers.

    Args:
        content: As Lightning gave it.
        module: What is trained.
        trained: The weights of each optimizer.

    Raises:
        CheckpointError: A weight is missing or unknown, or a tensor has another shape or type.
    """
    weights = module.state_dict()
    try:
        for part in {"state_dict", "current_model_state"} & content.keys():
            kept = content[part]
            _require_alike({name: (weights.get(name), kept.get(name)) for name in weights.keys() | kept.keys()})
        for theirs, state in zip(trained, content["optimizer_states"], strict=True):
            for index, moments in state["state"].items():  # an optimizer would write beyond the end of a shorter one
                like = dict.fromkeys(("exp_avg", "exp_avg_sq", "momentum_buffer"), theirs[index])
                like["step"] = torch.zeros(())
                present = {name: tensor for name, tensor in moments.items() if tensor is not None}
                _require_alike({f"{index}.{name}": (like.get(name), tensor) for name, tensor in present.items()})
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"The resume state does not fit the model ({printable(error)}): has a component changed since?"
        ) from error


def encode(content: Mapping[str, Any]) -> bytes:
    """Return a resume state's bytes.

    Raises:
        CheckpointError: The content holds what cannot be kept; the message says where.
    """
    tensors = _Tensors()
    record = json.dumps(_encode(dict(content), "", tensors), allow_nan=False)
    return tensor_file.encode(KIND, record, tensors.copies())


class _Tensors:
    """Numbers tensors; one that several names share gets one number."""

    def __init__(self) -> None:
        self._numbered: dict[tuple[Any, ...], tuple[str, Tensor]] = {}

    def name_of(self, tensor: Tensor) -> str:
        identity = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        name, _ = self._numbered.setdefault(identity, (str(len(self._numbered)), tensor))
        return name

    def copies(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in self._numbered.values()}


def _encode(value: Any, path: str, tensors: _Tensors) -> Any:
    if isinstance(value, Tensor):
        return _encode_tensor(value, path, tensors)
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if type(value) in (list, tuple):
        items = [_encode(item, f"{path}[{index}]", tensors) for index, item in enumerate(value)]
        return items if type(value) is list else {"$tuple": items}
    if type(value) in (dict, OrderedDict) and all(type(key) in (str, int) for key in value):
        pairs = [(key, _encode(item, f"{path}[{key!r}]", tensors)) for key, item in value.items()]
        plain = all(type(key) is str and not key.startswith("$") for key in value)
        return dict(pairs) if plain else {"$dict": pairs}
    raise _cannot_be_kept(path, type(value).__name__)


def _encode_tensor(tensor: Tensor, path: str, tensors: _Tensors) -> dict[str, Any]:
    if tensor.layout != torch.strided or tensor.dtype not in _STORABLE:
        raise _cannot_be_kept(path, f"{tensor.layout} tensor of {tensor.dtype}")
    entry: dict[str, Any] = {"$tensor": tensors.name_of(tensor)}
    if not tensor.is_contiguous():
        order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
        if tensor.permute(order).is_contiguous():  # e.g. channels last: Adam takes its moments to lie as their weights
            entry["order"] = order
    return entry


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    match value:
        case {"$tensor": name}:
            return _lay(tensors[name], value.get("order"))
        case {"$tuple": items}:
            return tuple(_decode(items, tensors))
        case {"$float": text}:
            return float(text)
        case dict():
            return {key: _decode(item, tensors) for key, item in value.get("$dict", value.items())}
        case list():
            return [_decode(item, tensors) for item in value]
    return value


def _lay(tensor: Tensor, order: list[int] | None) -> Tensor:
    if order is None:
        return tensor
    return tensor.permute(order).contiguous().permute(sorted(range(len(order)), key=order.__getitem__))


def _require_alike(pairs: Mapping[str, tuple[Tensor | None, Tensor | None]]) -> None:
    for name, (wanted, got) in pairs.items():
        if wanted is None or got is None or (wanted.shape, wanted.dtype) != (got.shape, got.dtype):
            raise ValueError(name)


def _cannot_be_kept(path: str, kind: str) -> CheckpointError:
    return CheckpointError(f"The training's state cannot be kept: {printable(path)} holds a {kind}.")


def _states(directory: Path) -> list[tuple[int, Path]]:
    """Return the states in a directory by epoch, the oldest first."""
    names = [(_NAME.fullmatch(name), name) for name in (os.listdir(directory) if directory.is_dir() else [])]
    return sorted((int(match[1]), directory / name) for match, name in names if match)
