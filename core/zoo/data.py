"""Images in memory, splits, seeded order, loaders.

A loader gives out spans: many batches of uint8 images together, in order. Fetching costs the same for one as for
all of them, and the pixels become floats batch by batch, when each is used.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset, TensorDataset, random_split

from zoo.config import component_options, flag_of, setting
from zoo.errors import ConfigError, PluginError
from zoo.registry import Component
from zoo.specs import DatasetSpec

EVALUATION_BATCH_SIZE = 256
SPAN_BYTES = 8 * 2**20  # of images that are fetched together
Span = tuple[Tensor, Tensor]


class ImageDataset(Dataset[Span]):
    """Images held in memory as uint8, with their labels.

    A loader asks for a whole span at once (`__getitems__`), which costs one indexed copy and not
    one call an image. Images on a device are fetched there.

    Args:
        images: uint8 `(N, C, H, W)`.
        labels: int64 `(N,)`.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Span:
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: list[int]) -> Span:
        chosen = torch.tensor(indices, device=self.images.device)
        return self.images.index_select(0, chosen), self.labels.index_select(0, chosen)


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 pixels 0 to 255 into floats in [0, 1], as torchvision's `ToTensor` does."""
    return images.to(torch.float32).div_(255)


def load_split(component: Component, options: Mapping[str, Any], split: str) -> ImageDataset:
    """Read one split of a dataset into memory.

    Raises:
        ConfigError: The dataset declares no such split, or an option is wrong.
        DatasetError: Its files cannot be had.
        PluginError: What it gives is not what its spec declares.
    """
    spec = component.spec
    assert isinstance(spec, DatasetSpec)
    if split not in spec.splits:
        raise ConfigError(f"{component} has no split '{split}'. Its splits: {', '.join(spec.splits)}.")
    source = component.load()(split, **component_options(component, options))
    if isinstance(source, TensorDataset) and len(source.tensors) == 2:
        images, labels = source.tensors
    else:
        items = [source[index] for index in range(len(source))]
        images = torch.stack([torch.as_tensor(image) for image, _ in items])
        labels = torch.tensor([int(label) for _, label in items])
    expected = (spec.splits[split], *spec.image_shape)
    if tuple(images.shape) != expected or images.dtype != torch.uint8 or len(labels) != len(images):
        raise PluginError(
            f"{component}, split '{split}', must hold uint8 images {expected} with a label each, "
            f"got {images.dtype} {tuple(images.shape)} with {len(labels)} labels."
        )
    return ImageDataset(images, labels.long())


def split_validation(dataset: ImageDataset, fraction: float, seed: int) -> tuple[Subset[Span], Subset[Span]]:
    """Cut validation images off the training images, by the seed alone.

    Raises:
        ConfigError: Either part would be empty.
    """
    validation = round(len(dataset) * fraction)
    if not 0 < validation < len(dataset):
        raise ConfigError(_empty_part(len(dataset), fraction))
    generator = torch.Generator().manual_seed(derive_seed(seed, "validation"))
    train, held_out = random_split(dataset, [len(dataset) - validation, validation], generator=generator)
    return train, held_out


def training_loader(
    dataset: Dataset[Span], batch_size: int, seed: int, world_size: int = 1, rank: int = 0
) -> DataLoader[Span]:
    """Return the loader of one process; together the processes see batches of `batch_size`.

    A span holds whole batches of this process, but for an epoch's last, which may be smaller. The
    order is a function of (seed, epoch): `loader.sampler.set_epoch`, which Lightning calls. At most
    `world_size - 1` images are left out of an epoch so that every process has the same number.

    Raises:
        ConfigError: The batch cannot be shared equally, or is larger than the dataset.
    """
    count, name, flag = len(dataset), setting("batch_size"), flag_of("batch_size")  # type: ignore[arg-type]
    if uneven := batch_size % world_size:
        even = batch_size - uneven + world_size
        raise ConfigError(
            f"{name}: {batch_size} cannot be shared equally by {world_size} processes: {flag} {even} can."
        )
    if batch_size > count:
        raise ConfigError(
            f"{name}: {batch_size} is more than the {count} training images that are left after the validation "
            f"images were cut off: {flag} {count - count % world_size} or less."
        )
    order: DistributedSampler[Span] = DistributedSampler(
        dataset, world_size, rank, shuffle=True, seed=derive_seed(seed, "order") % 2**32, drop_last=True
    )
    return _loader(dataset, batch_size // world_size, order)


def batches_an_epoch(loader: DataLoader[Span], batch_size: int, world_size: int = 1) -> int:
    """Return how many batches, or shares of them, a loader of `training_loader` gives out in an epoch."""
    assert isinstance(loader.sampler, DistributedSampler)
    return math.ceil(len(loader.sampler) / (batch_size // world_size))


def evaluation_loader(dataset: Dataset[Span], world_size: int = 1, rank: int = 0) -> DataLoader[Span]:
    """Return a loader in the dataset's own order, each process seeing its share of the images."""
    shared = world_size > 1  # then an equal share each
    order: DistributedSampler[Span] = DistributedSampler(dataset, world_size, rank, shuffle=False, drop_last=shared)
    return _loader(dataset, EVALUATION_BATCH_SIZE, order)


def derive_seed(seed: int, *purpose: object) -> int:
    """Return a seed for one purpose: a function of its arguments and nothing else."""
    text = ":".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _empty_part(count: int, fraction: float) -> str:
    if count < 2:
        return f"{count} training image is too few: one to train on and one for validation are needed."
    one = float(f"{1 / count:.2g}")  # the fraction that is one image
    name, flag = setting("validation_fraction"), flag_of("validation_fraction")
    if fraction < 0.5:
        return f"{name}: {fraction} of {count} images leaves none for validation: {flag} {one} or more."
    return f"{name}: {fraction} of {count} images leaves none to train on: {flag} {1 - one:.9g} or less."


def _loader(dataset: Dataset[Span], batch_size: int, order: DistributedSampler[Span]) -> DataLoader[Span]:
    batches = max(1, SPAN_BYTES // (batch_size * dataset[0][0].nbytes))
    own_generator = torch.Generator()  # else each epoch's start would draw from the global one
    return DataLoader(
        dataset, batch_size=batches * batch_size, sampler=order, collate_fn=_as_it_is, generator=own_generator
    )


def _as_it_is(span: Any) -> Any:
    return span
