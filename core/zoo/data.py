"""Images in memory, splits, seeded order, loaders.

A loader gives out spans: the places of many batches of images, in order. Batches are fetched, and their
pixels become floats, shortly before they are used.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset

from zoo.config import flag_of, setting
from zoo.errors import ConfigError, PluginError
from zoo.parts import DataFacts
from zoo.registry import Component
from zoo.specs import DatasetSpec

EVALUATION_BATCH_SIZE = 256
SPAN_BATCHES = 64
MAX_CLASSES = 10_000
FETCHED_BYTES = 2**20  # of floats at once: few enough to be in a CPU's cache still when they are used


class ImageDataset(Dataset["Span"]):
    """Images held in memory as uint8, with their labels; indexed by the places of a span.

    Args:
        images: uint8 `(N, C, H, W)`.
        labels: int64 `(N,)`.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, places: Tensor) -> Span:
        return Span(self, places)


class Span:
    """Images of a dataset by their places, int64 `(n,)`: many batches together."""

    def __init__(self, dataset: ImageDataset, places: Tensor) -> None:  # no dataclass: Lightning would copy it
        self.dataset = dataset
        self.places = places

    def batches(self, size: int, device: torch.device | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Give out batches on a device, the last one of what is left.

        Each is images `(size, C, H, W)`, floats in [0, 1], and their labels, int64 `(size,)`.
        """
        images, labels = self.dataset.images, self.dataset.labels
        batch_bytes = 4 * size * math.prod(images.shape[1:])
        # What a sum is rounded to may depend on where its terms lie within 256 bytes: there all batches begin alike.
        together = max(1, FETCHED_BYTES // batch_bytes) if batch_bytes % 256 == 0 else 1
        for places in torch.split(self.places.to(images.device), together * size):
            fetched = to_float(images.index_select(0, places).to(device))
            theirs = labels.index_select(0, places.to(labels.device)).to(device)
            yield from zip(torch.unsafe_split(fetched, size), torch.unsafe_split(theirs, size), strict=True)


class Spans(Sampler[Tensor]):
    """Gives out the places of images, those of a span together.

    The order is a function of (seed, epoch); without a seed it is the given one. The processes of a
    training share the images: each has the same number, and at most `world_size - 1` are left out.

    Args:
        places: int64 `(N,)`.
        size: How many places a span has; an epoch's last may have fewer.
        seed: Of the order.
        world_size: How many processes there are.
        rank: Which of them this is.
    """

    def __init__(self, places: Tensor, size: int, seed: int | None = None, world_size: int = 1, rank: int = 0) -> None:
        self.places = places
        self.size = size
        self.seed = seed
        self.world_size = world_size
        self.rank = rank
        self.count = len(places) // world_size  # of this process in an epoch
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of an epoch; Lightning calls it."""
        self.epoch = epoch

    def first(self, count: int) -> Tensor:
        """Return the places of so many images, or of all of them: the same ones in every process."""
        return self.places[:count]

    def __len__(self) -> int:
        return math.ceil(self.count / self.size)

    def __iter__(self) -> Iterator[Tensor]:  # a generator: Lightning sets the epoch after it has called `iter`
        places = self.places
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            places = places[torch.randperm(len(places), generator=generator)]
        yield from torch.split(places[self.rank : self.count * self.world_size : self.world_size], self.size)


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
    if spec.splits is not None and split not in spec.splits:
        raise ConfigError(f"{component} has no split '{split}'. Its splits: {', '.join(spec.splits)}.")
    source = component.build(split, options=options)
    if isinstance(source, TensorDataset) and len(source.tensors) == 2:
        images, labels = source.tensors
    else:
        items = [source[index] for index in range(len(source))]
        images = torch.stack([torch.as_tensor(image) for image, _ in items])
        labels = torch.tensor([int(label) for _, label in items])
    expected = (
        spec.splits[split] if spec.splits else len(images),
        *(spec.image_shape or images.shape[1:]),
    )
    if (
        images.dim() != 4
        or tuple(images.shape) != expected
        or images.dtype != torch.uint8
        or len(labels) != len(images)
    ):
        raise PluginError(
            f"{component}, split '{split}', must hold uint8 images {expected} with a label each, "
            f"got {images.dtype} {tuple(images.shape)} with {len(labels)} labels."
        )
    return ImageDataset(images, labels.long())


def facts_of(component: Component, dataset: ImageDataset, train_count: int) -> DataFacts:
    """Return what a model knows about its data.

    Args:
        component: The dataset.
        dataset: Its training split.
        train_count: Number of images that are trained on.
    """
    spec = component.spec
    assert isinstance(spec, DatasetSpec)
    _, channels, height, width = dataset.images.shape
    count = int(dataset.labels.max()) + 1
    classes = spec.classes or (tuple(map(str, range(count))) if 1 < count <= MAX_CLASSES else ())
    return DataFacts((channels, height, width), classes, train_count)


def on_device(dataset: ImageDataset, device: torch.device) -> ImageDataset:
    """Return a dataset with its images on a device; as it is where half of a GPU's free memory does not hold them."""
    if device.type == "cuda" and dataset.images.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return dataset
    return ImageDataset(dataset.images.to(device), dataset.labels.to(device))


def split_validation(count: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the places of so many images that are trained on, and those cut off for validation, by the seed alone.

    Raises:
        ConfigError: Either part would be empty.
    """
    validation = round(count * fraction)
    if not 0 < validation < count:
        raise ConfigError(_empty_part(count, fraction))
    generator = torch.Generator().manual_seed(derive_seed(seed, "validation"))
    places = torch.randperm(count, generator=generator)
    return places[: count - validation], places[count - validation :]


def training_loader(
    dataset: ImageDataset, places: Tensor, batch_size: int, seed: int, *, world_size: int = 1, rank: int = 0
) -> DataLoader[Span]:
    """Return the loader of one process for images by their places; together they see batches of `batch_size`.

    A span holds whole batches of this process, but for an epoch's last, which may be smaller.

    Raises:
        ConfigError: The batch cannot be shared equally, or is larger than the dataset.
    """
    count, name, flag = len(places), setting("batch_size"), flag_of("batch_size")
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
    size = SPAN_BATCHES * (batch_size // world_size)
    return _loader(dataset, Spans(places, size, derive_seed(seed, "order") % 2**32, world_size, rank))


def batches_an_epoch(loader: DataLoader[Span], batch_size: int) -> int:
    """Return how many batches of a process's `batch_size` its loader gives out in an epoch."""
    assert isinstance(loader.sampler, Spans)
    return math.ceil(loader.sampler.count / batch_size)


def evaluation_loader(dataset: ImageDataset, places: Tensor, *, world_size: int = 1, rank: int = 0) -> DataLoader[Span]:
    """Return a loader of validation images by their places, in this order, each process seeing its share of them.

    Raises:
        ConfigError: They are too few for the processes to share.
    """
    if len(places) < world_size:
        name, flag = setting("validation_fraction"), flag_of("validation_fraction")
        least = math.ceil(1e6 * world_size / len(dataset)) / 1e6
        raise ConfigError(
            f"{name}: leaves fewer validation images than the {world_size} processes share: {flag} {least:g} or more."
        )
    return _loader(dataset, Spans(places, SPAN_BATCHES * EVALUATION_BATCH_SIZE, None, world_size, rank))


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


def _loader(dataset: ImageDataset, spans: Spans) -> DataLoader[Span]:
    own_generator = torch.Generator()  # else each epoch's start would draw from the global one
    return DataLoader(dataset, batch_size=None, sampler=spans, collate_fn=_as_it_is, generator=own_generator)


def _as_it_is(span: Any) -> Any:
    return span
