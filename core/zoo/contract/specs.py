"""What a plugin says about what it offers: small frozen records that import nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

Kind = Literal["encoder", "decoder", "objective", "distortion", "dataset", "metric"]
KINDS: tuple[Kind, ...] = ("encoder", "decoder", "objective", "distortion", "dataset")  # of which a run is composed
Field = Literal["images", "reconstructions", "latents", "labels"]
FIELDS: tuple[Field, ...] = ("images", "reconstructions", "latents", "labels")

LONGEST_NAME = 64
LONGEST_CLASS = 100  # Number of characters of a class's name; checkpoints hold them.
MAX_CLASSES = 10_000
_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_FILE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:(\w[\w.-]*/)*\w[\w.-]*\.safetensors")


@dataclass(frozen=True, kw_only=True)
class ComponentSpec:
    """What every component declares.

    Attributes:
        name: What users type, e.g. `conv`: lower-case letters and digits, with `-`, `_` or `.`
            between them.
        target: Where the component is, as text, so that listing it imports nothing:
            `package.module:attribute`. The attribute's keyword-only arguments are its options.
        summary: One line for `zoo list`.
        default: Whether it is used where none of its kind is chosen. The built-in components decide;
            a third party's default counts where no built-in is one.

    Raises:
        ValueError: A field is malformed; the message names it.
    """

    kind: ClassVar[Kind]
    arguments: ClassVar[tuple[str, ...]]  # the target's positional arguments
    name: str
    target: str
    summary: str
    default: bool = False

    def __post_init__(self) -> None:
        _require_text(name=self.name, target=self.target, summary=self.summary)
        _require_name(self.name)
        if not _TARGET.fullmatch(self.target):
            raise ValueError(f"target {self.target!r} of '{self.name}' must read 'package.module:attribute'")
        _require_line("summary", self.summary, self.name)


@dataclass(frozen=True, kw_only=True)
class EncoderSpec(ComponentSpec):
    """An encoder. The target is called as `target(image_shape, out_features, **options)`.

    It gives an `nn.Module` from images `(N, C, H, W)`, float in [0, 1], to features
    `(N, out_features)`. One that gives maps `(N, out_features, h, w)` has the attribute
    `features_shape`: `(out_features, h, w)`. An image shape or a size that it cannot work with it
    refuses by `ValueError`. In eval mode its output is deterministic, and independent of the other
    images in the batch.

    What it may declare, as class attributes, and what it may define:

    - `takes_mask = True`: `forward(images, mask)` takes a mask, bool `(N, 1, H, W)`, True where a
      pixel is hidden.
    - `frozen = True`: it has weights that are not trained (`requires_grad` is False). A module all
      of whose weights are frozen may stay in eval mode in training.
    - `start(batch, parts)`: called once in a new training, as `zoo.Objective.start`.
    """

    kind: ClassVar[Kind] = "encoder"
    arguments: ClassVar[tuple[str, ...]] = ("image_shape", "out_features")


@dataclass(frozen=True, kw_only=True)
class DecoderSpec(ComponentSpec):
    """A decoder. The target is called as `target(latent_shape, output_shape, **options)`.

    It gives an `nn.Module` from latents `(N, *latent_shape)` to output `(N, *output_shape)`, which
    need not be bounded: the distortion makes an image of it. One that takes vectors alone, or maps
    alone, refuses the others by `ValueError`. It may declare `frozen = True`, as an encoder.
    """

    kind: ClassVar[Kind] = "decoder"
    arguments: ClassVar[tuple[str, ...]] = ("latent_shape", "output_shape")


@dataclass(frozen=True, kw_only=True)
class ObjectiveSpec(ComponentSpec):
    """An objective. The target is called as `target(latent_dim, data, **options)`.

    It gives a `zoo.Objective`: what the latent is and what training minimises. `data` is a
    `zoo.DataFacts`.
    """

    kind: ClassVar[Kind] = "objective"
    arguments: ClassVar[tuple[str, ...]] = ("latent_dim", "data")


@dataclass(frozen=True, kw_only=True)
class DistortionSpec(ComponentSpec):
    """A distortion: a reconstruction loss. The target is called as `target(image_shape, **options)`.

    It gives a `zoo.Distortion`: how a decoder's output becomes an image, and how far the image is
    from the original.
    """

    kind: ClassVar[Kind] = "distortion"
    arguments: ClassVar[tuple[str, ...]] = ("image_shape",)


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(ComponentSpec):
    """A dataset. The target is called as `target(split, **options)`.

    It gives a map-style `torch.utils.data.Dataset` of `(image, label)`: the image uint8
    `(C, H, W)`, the label an int. A `TensorDataset` of images `(N, C, H, W)` and labels `(N,)` is
    taken as it is, without reading it item by item.

    Attributes:
        image_shape: `(channels, height, width)`; None where options or files decide.
        splits: How many images each split holds; `train` and `test` at least. None where options or
            files decide. Validation images are cut from `train` by the core.
        licence: The data's licence, e.g. an SPDX identifier.
        credit: Whom to credit for the data.
        classes: Names of the labels 0, 1, …; where it is empty, the labels' numbers are their names.
        factors: Names of the factors that the images were made from, and how many values each has. The
            label of an image then holds a value of each, from 0: labels are `(N, K)`.
    """

    kind: ClassVar[Kind] = "dataset"
    arguments: ClassVar[tuple[str, ...]] = ("split",)
    image_shape: tuple[int, int, int] | None = None
    splits: Mapping[str, int] | None = field(default=None, hash=False)
    licence: str
    credit: str
    classes: tuple[str, ...] = ()
    factors: Mapping[str, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        shape = self.image_shape
        if shape is not None and not (
            isinstance(shape, tuple) and len(shape) == 3 and all(_positive_int(n) for n in shape)
        ):
            raise ValueError(f"image_shape of '{self.name}' must be (channels, height, width), got {shape!r}")
        sizes = self.splits if isinstance(self.splits, Mapping) else {}
        declared = {"train", "test"} <= set(sizes) and all(map(_positive_int, sizes.values()))
        if self.splits is not None and not declared:
            raise ValueError(f"splits of '{self.name}' must give the sizes of 'train' and 'test', got {self.splits!r}")
        if not all(isinstance(text, str) and text.strip() for text in (self.licence, self.credit)):
            raise ValueError(f"dataset '{self.name}' must state its licence and whom to credit")
        named = isinstance(self.classes, tuple) and all(
            isinstance(name, str) and 0 < len(name) <= LONGEST_CLASS for name in self.classes
        )
        if not named or len(set(self.classes)) != len(self.classes):
            raise ValueError(
                f"classes of '{self.name}' must be a tuple of different names of up to {LONGEST_CLASS} characters, "
                f"got {self.classes!r}"
            )
        if len(self.classes) > MAX_CLASSES:
            raise ValueError(f"classes of '{self.name}' must be {MAX_CLASSES} or fewer, got {len(self.classes)}")
        sized = isinstance(self.factors, Mapping) and all(map(_positive_int, self.factors.values()))
        if not sized or (self.factors and self.classes):
            raise ValueError(f"factors of '{self.name}' must give sizes by name, without classes, got {self.factors!r}")


@dataclass(frozen=True, kw_only=True)
class MetricSpec(ComponentSpec):
    """A metric. The target is called as `target(image_shape, **options)`.

    It gives an object with `update(**fields)`, which is called for each batch with the fields that
    `needs` names, and `compute()`, which returns a number. A `torchmetrics.Metric` is one, and merges
    over processes. One that cannot judge images of this shape raises `ValueError`, and is left out.
    Every metric with `default=True` is computed, a third party's too.

    Attributes:
        digits: How many digits after the point tell two models apart.
        better: Which values are better.
        unit: The unit, e.g. `dB`; empty where there is none.
        needs: The arguments of `update`: `images` and `reconstructions` `(N, C, H, W)`, `latents`
            `(N, *latent_shape)`, `labels` int64 `(N,)`.
    """

    kind: ClassVar[Kind] = "metric"
    arguments: ClassVar[tuple[str, ...]] = ("image_shape",)
    digits: int
    better: Literal["lower", "higher"]
    unit: str = ""
    needs: tuple[Field, ...] = ("images", "reconstructions")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.digits, int) or not 0 <= self.digits <= 9:
            raise ValueError(f"digits of '{self.name}' must be 0 to 9, got {self.digits!r}")
        if self.better not in ("lower", "higher"):
            raise ValueError(f"better of '{self.name}' must be 'lower' or 'higher', got {self.better!r}")
        if not isinstance(self.needs, tuple) or not self.needs or not set(self.needs) <= set(FIELDS):
            raise ValueError(f"needs of '{self.name}' must be some of {', '.join(FIELDS)}, got {self.needs!r}")
        if not isinstance(self.unit, str) or not (self.unit == "" or self.unit.isprintable()):
            raise ValueError(f"unit of '{self.name}' must be text, got {self.unit!r}")

    def text(self, value: float) -> str:
        """Return a value with its digits and unit, e.g. `14.27 dB`."""
        return f"{value:.{self.digits}f} {self.unit}".rstrip()


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A pretrained model: a checkpoint that comes with the plugin. It is no component: it has no options.

    Attributes:
        name: What users type, e.g. `zoo eval mnist-mlp`; formed as a component's name.
        file: Where the checkpoint is, as text: `package:file.safetensors`, a file of the package's.
        summary: One line for `zoo list`.
        command: The command line that made it, as it was typed.

    Raises:
        ValueError: A field is malformed; the message names it.
    """

    kind: ClassVar[Literal["model"]] = "model"
    name: str
    file: str
    summary: str
    command: str

    def __post_init__(self) -> None:
        _require_text(name=self.name, file=self.file, summary=self.summary, command=self.command)
        _require_name(self.name)
        if self.name.endswith(".safetensors"):
            raise ValueError(f"name {self.name!r} must not end in '.safetensors': it would read as a file")
        if not _FILE.fullmatch(self.file):
            raise ValueError(f"file {self.file!r} of '{self.name}' must read 'package:file.safetensors'")
        _require_line("summary", self.summary, self.name)
        _require_line("command", self.command, self.name)


def _require_text(**fields: object) -> None:
    for label, value in fields.items():
        if not isinstance(value, str):
            raise ValueError(f"{label} must be text, got {type(value).__name__}")


def is_name(text: str) -> bool:
    """Say whether a component or a model can be named so."""
    return bool(_NAME.fullmatch(text)) and len(text) <= LONGEST_NAME


def _require_name(name: str) -> None:
    if not is_name(name):
        raise ValueError(f"name {name!r} must be lower-case letters and digits, joined by '-', '_' or '.'")


def _require_line(label: str, text: str, name: str) -> None:
    if not text.strip() or not text.isprintable():
        raise ValueError(f"{label} of '{name}' must be one line of text")


def _positive_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
