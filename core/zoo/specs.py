"""What a plugin says about its components: small frozen records that import nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

Kind = Literal["encoder", "decoder", "objective", "dataset"]
KINDS: tuple[Kind, ...] = ("encoder", "decoder", "objective", "dataset")

_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True, kw_only=True)
class ComponentSpec:
    """What every component declares.

    Attributes:
        name: What users type, e.g. `conv`: lower-case letters and digits, with `-`, `_` or `.`
            between them.
        target: Where the component is, as text, so that listing it imports nothing:
            `package.module:attribute`. The attribute's keyword-only arguments are its options.
        summary: One line for `zoo list`.

    Raises:
        ValueError: A field is malformed; the message names it.
    """

    kind: ClassVar[Kind]
    name: str
    target: str
    summary: str

    def __post_init__(self) -> None:
        for label, value in (("name", self.name), ("target", self.target), ("summary", self.summary)):
            if not isinstance(value, str):
                raise ValueError(f"{label} must be text, got {type(value).__name__}")
        if not _NAME.fullmatch(self.name) or len(self.name) > 64:
            raise ValueError(f"name {self.name!r} must be lower-case letters and digits, joined by '-', '_' or '.'")
        if not _TARGET.fullmatch(self.target):
            raise ValueError(f"target {self.target!r} of '{self.name}' must read 'package.module:attribute'")
        if not self.summary.strip() or not self.summary.isprintable():
            raise ValueError(f"summary of '{self.name}' must be one line of text")


@dataclass(frozen=True, kw_only=True)
class EncoderSpec(ComponentSpec):
    """An encoder. The target is called as `target(image_shape, out_features, **options)`.

    It gives an `nn.Module` from images `(N, C, H, W)`, float in [0, 1], to features
    `(N, out_features)`.
    """

    kind: ClassVar[Kind] = "encoder"


@dataclass(frozen=True, kw_only=True)
class DecoderSpec(ComponentSpec):
    """A decoder. The target is called as `target(latent_dim, image_shape, **options)`.

    It gives an `nn.Module` from latents `(N, latent_dim)` to a reconstruction `(N, C, H, W)`.
    """

    kind: ClassVar[Kind] = "decoder"


@dataclass(frozen=True, kw_only=True)
class ObjectiveSpec(ComponentSpec):
    """An objective. The target is called as `target(latent_dim, **options)`.

    It gives a `zoo.Objective`: what the latent is and what training minimises.
    """

    kind: ClassVar[Kind] = "objective"


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(ComponentSpec):
    """A dataset. The target is called as `target(split, **options)`.

    It gives a map-style `torch.utils.data.Dataset` of `(image, label)`: the image uint8
    `(C, H, W)`, the label an int. A `TensorDataset` of images `(N, C, H, W)` and labels `(N,)` is
    taken as it is, without reading it item by item.

    Attributes:
        image_shape: `(channels, height, width)`.
        splits: How many images each split holds; `train` and `test` at least. Validation images
            are cut from `train` by the core.
        licence: The data's licence, e.g. an SPDX identifier.
        credit: Whom to credit for the data.
    """

    kind: ClassVar[Kind] = "dataset"
    image_shape: tuple[int, int, int]
    splits: Mapping[str, int] = field(hash=False)
    licence: str
    credit: str

    def __post_init__(self) -> None:
        super().__post_init__()
        shape = self.image_shape
        if not (isinstance(shape, tuple) and len(shape) == 3 and all(_positive_int(n) for n in shape)):
            raise ValueError(f"image_shape of '{self.name}' must be (channels, height, width), got {shape!r}")
        sizes = self.splits if isinstance(self.splits, Mapping) else {}
        if not {"train", "test"} <= set(sizes) or not all(map(_positive_int, sizes.values())):
            raise ValueError(f"splits of '{self.name}' must give the sizes of 'train' and 'test', got {self.splits!r}")
        if not all(isinstance(text, str) and text.strip() for text in (self.licence, self.credit)):
            raise ValueError(f"dataset '{self.name}' must state its licence and whom to credit")


def _positive_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
