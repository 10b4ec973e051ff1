"""What a dataset's target gives becomes tensors, or an error that says which item is wrong and what is expected."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, TensorDataset

from zoo.errors import PluginError, ZooError, printable

_PAIR = "a pair (image, label), with the label 0 for all images where there are none"
_LABEL = "a whole number"
_AXES = {1: "(N,)", 3: "(C, H, W)"}


def tensors_of(
    source: Any, where: str, count: int | None, image_shape: tuple[int, int, int] | None, factors: int = 0
) -> tuple[Tensor, Tensor]:
    """Return a split's images, uint8 `(N, C, H, W)`, and labels, int64 `(N,)`, or `(N, factors)`.

    A `TensorDataset` of images and labels is taken as it is; any other map-style dataset is read item by item.

    Args:
        source: What the dataset's target gave.
        where: The dataset and the split, for errors.
        count: How many images the split is declared to hold; None where options or files decide.
        image_shape: `(C, H, W)`, as declared; None where options or files decide.
        factors: The number of factors that are declared; 0 where labels are classes.

    Raises:
        PluginError: It is not what is declared; where an item is wrong, the error names it.
        ZooError: The dataset raised it while an item was read.
    """
    if isinstance(source, TensorDataset) and len(source.tensors) == 2:
        images, labels = source.tensors
    else:
        images, labels = _read_all(source, where, count, image_shape, factors)
    expected = (len(images) if count is None else count, *(image_shape or images.shape[1:]))
    if images.ndim != 4 or not len(images):
        raise PluginError(f"{where}, must hold uint8 images (N, C, H, W), got {images.dtype} {tuple(images.shape)}.")
    if tuple(images.shape) != expected or images.dtype != torch.uint8 or len(labels) != len(images):
        raise PluginError(
            f"{where}, must hold uint8 images {expected} with a label each, "
            f"got {images.dtype} {tuple(images.shape)} with {len(labels)} labels."
        )
    if factors and (tuple(labels.shape) != (len(images), factors) or not _is_whole(labels.dtype)):
        raise PluginError(
            f"{where}, must hold a whole number for each factor of each image, shape {(len(images), factors)}, "
            f"got {labels.dtype} {tuple(labels.shape)}."
        )
    if not factors and (labels.ndim != 1 or not _is_whole(labels.dtype)):
        raise PluginError(
            f"{where}, must hold a whole number as the label of each image, shape ({len(images)},), "
            f"got {labels.dtype} {tuple(labels.shape)}.{_remedy_of_labels(labels.ndim == 2 and labels.shape[1] > 1)}"
        )
    return images, labels.long()


def is_map_style(source: Any) -> bool:
    """Say whether a dataset has a length, and items by their indices."""
    if isinstance(source, IterableDataset | Mapping | str):
        return False
    return hasattr(source, "__len__") and hasattr(source, "__getitem__")


def require_map_style(source: Any, where: str) -> None:
    """Raise `PluginError` for a dataset that is not map-style."""
    if not is_map_style(source):
        kind = "an IterableDataset" if isinstance(source, IterableDataset) else "no map-style dataset"
        raise PluginError(
            f"{where}, is {kind} ({type(source).__name__}), expected one with __len__ and __getitem__, "
            "e.g. torch.utils.data.TensorDataset(images, labels)."
        )


def item_of(source: Any, index: int, where: str) -> tuple[Any, Any]:
    """Return an item's image and label, unchecked.

    Raises:
        PluginError: Reading it raised an exception, or it is no pair.
        ZooError: The dataset raised it.
    """
    try:
        item = source[index]
    except ZooError:
        raise
    except Exception as error:
        raise PluginError(f"{where}, item {index}, cannot be read: {described(error)}.") from error
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    raise PluginError(f"{where}, item {index}, is {_found(item)}, expected {_PAIR}.")


def described(error: BaseException) -> str:
    """Return an exception's type and text, without the full stop at its end."""
    text = printable(" ".join(str(error).split())).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _read_all(
    source: Any, where: str, count: int | None, image_shape: tuple[int, int, int] | None, factors: int
) -> tuple[Tensor, Tensor]:
    require_map_style(source, where)
    if len(source) == 0:
        raise PluginError(f"{where}, is empty.")
    if count is not None and len(source) != count:
        raise PluginError(f"{where}, holds {len(source)} items, its spec declares {count}.")
    images, labels = [], []
    for index in range(len(source)):
        image, label = item_of(source, index, where)
        images.append(_image(image, f"{where}, item {index}", image_shape or _shape_of(image)))
        image_shape = image_shape or _shape_of(images[0])
        place = f"{where}, item {index}"
        labels.append(_factors(label, place, factors) if factors else _label(label, place))
    return torch.stack(images), torch.tensor(labels)


def _shape_of(image: Any) -> tuple[int, int, int]:
    """Return the shape of the first image, which the others must have; the example's where it is no image."""
    shape = tuple(getattr(image, "shape", ()))
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (1, 28, 28)


def _image(image: Any, where: str, image_shape: tuple[int, int, int]) -> Tensor:
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        image = torch.tensor(np.ascontiguousarray(image))  # a copy: torch warns of arrays that are read-only
    shape = image_shape
    if isinstance(image, Tensor) and image.dtype == torch.uint8 and tuple(image.shape) == shape:
        return image
    raise PluginError(
        f"{where}, has {_found(image)} as its image, expected a torch.uint8 tensor of the shape {shape}."
        f"{_remedy_of_image(image, shape)}"
    )


def _remedy_of_image(image: Any, image_shape: tuple[int, int, int]) -> str:
    if _is_pil(image):
        return " Pass transform=torchvision.transforms.PILToTensor() to the dataset."
    if isinstance(image, Tensor) and image.is_floating_point():
        return " Pixels are bytes, 0 to 255: torchvision's PILToTensor gives them, ToTensor gives floats."
    channels, *size = image_shape
    if isinstance(image, Tensor | np.ndarray) and tuple(image.shape) in {(*size, channels), (*size,)}:
        return " Channels come first, also where there is one."
    return ""


def _label(label: Any, where: str) -> int:
    if isinstance(label, Tensor | np.ndarray) and label.ndim == 0:
        label = label[()].item()
    if isinstance(label, int | np.integer | np.bool_) and -(2**63) <= int(label) < 2**63:
        return int(label)
    many = isinstance(label, Tensor | np.ndarray | list | tuple) and len(label) > 1
    text = " Give each class a number." if isinstance(label, str) else _remedy_of_labels(many)
    raise PluginError(f"{where}, has {_found(label)} as its label, expected {_LABEL}.{text}")


def _factors(values: Any, where: str, count: int) -> list[int]:
    """Return an item's value of each factor."""
    many = isinstance(values, Tensor | np.ndarray | list | tuple) and getattr(values, "ndim", 1) == 1
    if many and len(values) == count:
        return [_label(value, where) for value in values]
    expected = f"a whole number for each of {count} factors"
    raise PluginError(f"{where}, has {_found(values)} as its label, expected {expected}.")


def _remedy_of_labels(one_hot: bool) -> str:
    return " For one-hot labels, give the index of the class: labels.argmax(-1)." if one_hot else ""


def _is_whole(dtype: torch.dtype) -> bool:
    return not (dtype.is_floating_point or dtype.is_complex)


def _is_pil(value: Any) -> bool:
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(value, pil.Image)


def _found(value: Any) -> str:
    """Return in a few words what a value is."""
    if isinstance(value, Tensor | np.ndarray):
        kind = "tensor" if isinstance(value, Tensor) else "array"
        return f"a {value.dtype} {kind} of the shape {tuple(value.shape)}"
    if _is_pil(value):
        return f"a PIL image (mode {value.mode}, {value.width}×{value.height})"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with the keys {printable(', '.join(map(repr, value)), 80) or 'none'}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, str | int | float | complex | np.number | None):
        return f"the {type(value).__name__} {printable(repr(value), 60)}" if value is not None else "None"
    return f"an object of the type {type(value).__name__}"
