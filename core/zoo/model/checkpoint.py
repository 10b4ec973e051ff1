"""Checkpoints: one `.safetensors` file that holds a model and all that is needed to rebuild it.

The file's record (see `tensor_file`) is a `Metadata`. Reading validates all of it before anything is
built, unpickles nothing, and imports nothing that the registry does not offer.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from torch import Tensor
from torch.overrides import TorchFunctionMode

from zoo.config import Components, RunConfig
from zoo.contract.distributions import find
from zoo.contract.options import count_values, explain
from zoo.contract.parts import DataFacts
from zoo.contract.registry import DISTRIBUTION, Component, ConstructorError, installed
from zoo.contract.specs import LONGEST_CLASS, MAX_CLASSES, Kind
from zoo.defaults import float32_on_cpu
from zoo.errors import (
    CheckpointError,
    MissingComponentError,
    PluginError,
    UnknownComponentError,
    UnknownModelError,
    command,
    printable,
    quoted,
)
from zoo.files import write_atomically
from zoo.model import tensor_file
from zoo.model.autoencoder import Autoencoder, build
from zoo.model.tensor_file import strict_json
from zoo.model.upgrades import upgrade

FORMAT_VERSION = 2
MAX_HISTORY = 10_000  # Number of epochs; a row takes about 120 bytes of the header.
MAX_HISTORY_VALUES = 80_000  # Number of losses in all rows.
MAX_HISTORY_BYTES = 3 * 2**20  # The history may take this much of the header, which has 4 MiB.
MAX_LOSSES = 90  # Number of losses in a row.
MAX_ROW_VALUES = 100  # A row with more values is refused before pydantic lists an error for each.
MAX_VALUES = 10_000 + MAX_CLASSES  # A record with more values beside its history is refused.
KIND = tensor_file.CHECKPOINT
MAX_BYTES_BESIDE_WEIGHTS = 32 * 2**20  # A model may allocate this much that its checkpoint does not hold.
MAX_TRAINING_ONLY_BYTES = 2**30  # Parts that only training needs, such as a perceptual network, may take this much.

T = TypeVar("T")

ShortText = Annotated[str, Field(min_length=1, max_length=100)]
ClassName = Annotated[str, Field(min_length=1, max_length=LONGEST_CLASS)]
Side = Annotated[int, Field(ge=1, le=65_536)]
DistributionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=100)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class ComponentRecord(_Record):
    """A component that a model was built from."""

    kind: Kind
    name: str
    distribution: DistributionName  # it becomes part of a pip command that users are told to type
    version: str


class EpochRecord(_Record):
    """A finished epoch.

    Attributes:
        epoch: Its number, from 1.
        losses: Its mean losses as metrics.csv names them, e.g. `train_loss` and `val_rate`.
        lr: The learning rate at its end.
    """

    epoch: Annotated[int, Field(ge=1)]
    losses: Annotated[dict[ShortText, FiniteFloat], Field(max_length=MAX_LOSSES)]
    lr: FiniteFloat

    @property
    def row(self) -> dict[str, float]:
        """The epoch by the columns of metrics.csv."""
        return {"epoch": self.epoch, **self.losses, "lr": self.lr}


class DataRecord(_Record):
    """What a model knows about its data, see `DataFacts`."""

    image_shape: tuple[Side, Side, Side]
    classes: Annotated[tuple[ClassName, ...], Field(max_length=MAX_CLASSES, fail_fast=True)] = ()
    train_count: Annotated[int, Field(ge=0)] = 0

    @property
    def facts(self) -> DataFacts:
        return DataFacts(self.image_shape, self.classes, self.train_count)


class Metadata(_Record):
    """What a checkpoint says about its model.

    Attributes:
        format_version: Version of this record and of the file around it.
        config: The run that trained the model, every option filled in.
        components: The components that the model was built from, in the order of `RunConfig.parts`.
        data: What the model knows about its data.
        value_range: Range of the pixels.
        epoch: Number of epochs that had been finished when these weights were kept.
        test_metrics: By name, on the dataset's test split; None until the run is finished.
        history: The epochs of the run, also those after these weights; None until it is finished.
        versions: Versions of autoencoder-zoo and torch.
    """

    format_version: Literal[2] = 2
    config: RunConfig
    components: Annotated[tuple[ComponentRecord, ...], Field(max_length=32)]
    data: DataRecord
    value_range: tuple[float, float] = (0.0, 1.0)
    epoch: Annotated[int, Field(ge=0)]
    test_metrics: dict[str, float] | None = None
    history: Annotated[tuple[EpochRecord, ...], Field(max_length=MAX_HISTORY, fail_fast=True)] | None = None
    versions: dict[str, str]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(C, H, W)`."""
        return self.data.image_shape


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's content, read and verified."""

    path: Path
    metadata: Metadata
    tensors: Mapping[str, Tensor]

    def component(self, kind: Kind) -> Component:
        """Return the installed component of a kind that the model needs; of distortions the first.

        Raises:
            MissingComponentError: It is not installed.
        """
        return self.components(kind)[0]

    def components(self, kind: Kind) -> tuple[Component, ...]:
        """Return the installed components of a kind that the model needs.

        Raises:
            MissingComponentError: One is not installed.
        """
        return tuple(_installed(record) for record in self.metadata.components if record.kind == kind)

    @float32_on_cpu()
    def build(self) -> Autoencoder:
        """Return the model in eval mode, its weights frozen (`requires_grad_` thaws them).

        Raises:
            MissingComponentError: A component that it needs is not installed.
            CheckpointError: The weights do not belong to the model that the config describes.
        """
        components = Components(
            self.component("encoder"),
            self.component("decoder"),
            self.component("objective"),
            self.components("distortion"),
        )
        config, data = self.metadata.config, self.metadata.data.facts
        try:
            limit = _CallLimit(10_000 + 100 * len(self.tensors))
            with torch.device("meta"), limit, warnings.catch_warnings(action="ignore"):
                outline = build(config, components, data)
        except Exception as error:  # a constructor may raise anything for sizes that nobody would choose
            if isinstance(error, PluginError) and not isinstance(error, ConstructorError):
                raise
            raise CheckpointError(f"{printable(self.path)} does not fit its own config: {printable(error)}") from error
        whole = _bytes_of(outline)
        outline.drop_training_only()
        self._compare(outline)
        if (dropped := whole - _bytes_of(outline)) > MAX_TRAINING_ONLY_BYTES:
            raise CheckpointError(f"{printable(self.path)} asks for {dropped} bytes that only training needs.")
        autoencoder = build(config, components, data)
        autoencoder.drop_training_only()
        autoencoder.load_state_dict(dict(self.tensors), strict=True)
        autoencoder.metadata, autoencoder.file = self.metadata, self.path.absolute()
        return autoencoder.eval().requires_grad_(False)

    def _compare(self, outline: Autoencoder) -> None:
        """Refuse weights whose names, shapes or types are not the model's, before it is allocated."""
        expected = outline.state_dict()
        if missing := sorted(expected.keys() - self.tensors.keys()):
            name = printable(missing[0])
            raise CheckpointError(f"{printable(self.path)} lacks the weight '{name}' ({len(missing)} missing).")
        if unexpected := sorted(self.tensors.keys() - expected.keys()):
            name = printable(unexpected[0])
            raise CheckpointError(
                f"{printable(self.path)} holds an unknown weight '{name}' ({len(unexpected)} unknown)."
            )
        for name, tensor in self.tensors.items():
            want, got = expected[name], tensor
            if want.shape != got.shape or want.dtype != got.dtype:
                raise CheckpointError(
                    f"Weight '{printable(name)}' in {printable(self.path)} must be {tuple(want.shape)} {want.dtype}, "
                    f"got {printable(tuple(got.shape))} {got.dtype}."
                )
        weights = sum(tensor.nbytes for tensor in self.tensors.values())
        allocated = _bytes_of(outline)
        if allocated > 2 * weights + MAX_BYTES_BESIDE_WEIGHTS:
            raise CheckpointError(f"{printable(self.path)} asks for {allocated} bytes for its {weights} of weights.")


def _bytes_of(autoencoder: Autoencoder) -> int:
    """Return how much memory a model's weights and buffers take."""
    return sum(tensor.nbytes for tensor in (*autoencoder.parameters(), *autoencoder.buffers()))


def _installed(record: ComponentRecord) -> Component:
    try:
        return installed().get(record.kind, f"{record.distribution}:{record.name}")
    except UnknownComponentError as error:
        package = f"{printable(record.distribution)} {printable(record.version)}"
        raise MissingComponentError(
            f"This checkpoint needs {record.kind} '{printable(record.name)}' from {package}: "
            f"{command('pip', 'install', record.distribution)}"
        ) from error


class _CallLimit(TorchFunctionMode):
    """Stops a model's constructor that makes far more tensors than the checkpoint holds."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.calls -= 1
        if self.calls < 0:
            raise CheckpointError("its config describes many more layers than it has weights")
        return func(*args, **(kwargs or {}))


def save(path: Path, autoencoder: Autoencoder, metadata: Metadata) -> None:
    """Write a checkpoint, atomically: the old file or the new one is there, whatever happens.

    Raises:
        CheckpointError: A weight is NaN or infinite.
        OSError: The file cannot be written.
    """
    # Clones, because safetensors refuses tensors that share memory, and tied weights do.
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in autoencoder.kept_state().items()}
    _check_finite(path, tensors)
    write_atomically(path, tensor_file.encode(KIND, metadata.model_dump_json(), tensors))


def load(path: str | os.PathLike[str]) -> Autoencoder:
    """Return the model of a run directory, a `.safetensors` file or a pretrained model's name, in eval mode.

    Its `encode`, `decode` and `reconstruct` are deterministic; `sample` draws from the prior where
    the objective has one.

    Args:
        path: A path, or a name that `zoo list model` shows; what exists as a path is that path.

    Raises:
        AmbiguousComponentError: Several plugins offer a model of this name.
        UnknownModelError: No run directory, file or pretrained model is there; it is a CheckpointError too.
        CheckpointError: The file is damaged or not one of ours, or no epoch of the run was finished.
        MissingComponentError: A component that it needs is not installed.
        PluginError: The model's plugin has lost its file.
    """
    return read(path).build()


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Read and verify the checkpoint that `load` would build; build nothing.

    Raises:
        AmbiguousComponentError: Several plugins offer a model of this name.
        UnknownModelError: No run directory, file or pretrained model is there; it is a CheckpointError too.
        CheckpointError: The file is damaged or not one of ours, or no epoch of the run was finished.
        PluginError: The model's plugin has lost its file.
    """
    path = _file_of(os.fspath(path))
    record, tensors = tensor_file.read(KIND, path)
    metadata = _metadata(printable(path), record)
    _check_finite(path, tensors)
    return Checkpoint(path, metadata, tensors)


def new_metadata(config: RunConfig, components: Sequence[Component], data: DataFacts, epoch: int) -> Metadata:
    """Return the metadata of weights that were just kept, with the versions of this environment.

    Args:
        config: The run.
        components: Those of the run, in the order of `RunConfig.parts`.
        data: What the model knows about its data.
        epoch: Number of finished epochs.
    """
    return Metadata(
        config=config,
        components=tuple(
            ComponentRecord(kind=c.kind, name=c.name, distribution=c.plugin.distribution, version=c.plugin.version)
            for c in components
        ),
        data=DataRecord(**dataclasses.asdict(data)),
        epoch=epoch,
        versions={DISTRIBUTION: find(DISTRIBUTION).version, "torch": torch.__version__},
    )


def history_of(rows: Sequence[Mapping[str, float]]) -> tuple[EpochRecord, ...]:
    """Return the rows of metrics.csv as a checkpoint keeps them.

    Of very many rows every n-th is kept, the last one included; of very many columns the first ones.
    """
    records = [_epoch_record(row) for row in _thinned(rows, MAX_HISTORY)]
    values = max([1, *(len(record.losses) for record in records)])
    size = max(
        (len(json.dumps(record.model_dump_json())) for record in records), default=1
    )  # escaped, as in the header
    return tuple(_thinned(records, min(MAX_HISTORY_VALUES // values, MAX_HISTORY_BYTES // size)))


def _thinned(rows: Sequence[T], most: int) -> Sequence[T]:
    """Return every n-th row, the last one included, so that at most so many are left."""
    step = max(1, math.ceil(len(rows) / most))
    return rows[(len(rows) - 1) % step :: step] if rows else rows


def _epoch_record(row: Mapping[str, float]) -> EpochRecord:
    losses = [(name, value) for name, value in row.items() if name.startswith(("train_", "val_"))]
    return EpochRecord(epoch=int(row["epoch"]), losses=dict(losses[:MAX_LOSSES]), lr=row["lr"])


def _file_of(path: str) -> Path:
    if not os.path.isdir(path):  # Path.is_dir would raise where a name is too long
        if os.path.basename(path) == "config.json" and os.path.exists(path):
            run = quoted(Path(path).parent)
            raise UnknownModelError(
                f"{printable(path)} is a run's config, no checkpoint. Give the run's directory: {run}"
            )
        bare = path == os.path.basename(path) and not path.endswith(".safetensors")
        return _file_of_model(path) if bare and not os.path.lexists(path) else Path(path)
    file = Path(path) / "model.safetensors"
    if not file.exists():
        raise _no_model(Path(path))
    return file


def _file_of_model(name: str) -> Path:
    try:
        return installed().model(name, sought="run directory, checkpoint or pretrained model").path
    except UnknownComponentError as error:
        raise UnknownModelError(str(error)) from error


def _no_model(directory: Path) -> CheckpointError:
    """Return the error that says why there is no model in a directory."""
    lacks = f"{printable(directory)} holds no model.safetensors:"
    if (directory / "config.json").exists():
        return CheckpointError(f"{lacks} no epoch of this run was finished.")
    newest_first = sorted(directory.glob("*/model.safetensors"), key=lambda file: -file.lstat().st_mtime)
    runs = [quoted(file.parent) for file in newest_first]
    if not runs:
        return UnknownModelError(f"{lacks} it is no run directory.")
    return UnknownModelError(f"{lacks} it holds runs, so say which: {', '.join(runs[:3])}{', …' if runs[3:] else '.'}")


def _metadata(name: str, text: str) -> Metadata:
    try:
        record = strict_json(KIND, text)
    except ValueError as error:
        raise CheckpointError(f"{name} is damaged: its metadata is no JSON object: {printable(error)}.") from error
    rows = record.get("history")
    crowded = isinstance(rows, list) and max(map(count_values, rows), default=0) > MAX_ROW_VALUES
    others = {name: value for name, value in record.items() if name != "history"}
    if crowded or count_values(others) > MAX_VALUES:
        raise CheckpointError(f"{name} holds invalid metadata: it has too many values.")
    version = record.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CheckpointError(f"{name} has format version {version}: pip install --upgrade {DISTRIBUTION}")
    try:
        if version != FORMAT_VERSION:
            text = json.dumps(upgrade(record))
        metadata = Metadata.model_validate_json(text)
    except ValidationError as error:
        location = printable(".".join(map(str, error.errors()[0]["loc"])))
        raise CheckpointError(f"{name} holds invalid metadata: {location}: {explain(error)}.") from error
    _check_components(name, metadata)
    return metadata


def _check_components(name: str, metadata: Metadata) -> None:
    parts = list(metadata.config.parts())
    if [kind for kind, _ in parts] != [record.kind for record in metadata.components]:
        kinds = ", ".join(kind for kind, _ in parts)
        raise CheckpointError(f"{name} holds invalid metadata: components must be those of its config: {kinds}.")
    for (kind, part), record in zip(parts, metadata.components, strict=True):
        # Both names are printed, and a component's name is safe to print.
        if part.name not in (record.name, f"{record.distribution}:{record.name}"):
            raise CheckpointError(f"{name} holds invalid metadata: its config has another {kind} than its components.")


def _check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        parts = tensor.flatten().chunk(1 + tensor.numel() // 2**20)  # the whole would take as much memory again
        if not all(bool(torch.isfinite(part).all()) for part in parts):
            raise CheckpointError(f"Weight '{printable(name)}' of {printable(path)} holds NaN or infinite values.")
