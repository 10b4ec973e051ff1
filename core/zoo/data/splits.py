"""Images in memory, splits, seeded order, loaders.

A loader gives out spans: the indices of many batches of images, in order. Batches are fetched, and their
pixels become floats, shortly before they are used.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from zoo.config import flag_of, setting
from zoo.contract.parts import DataFacts
from zoo.contract.registry import Component, ConstructorError, installed
from zoo.contract.specs import MAX_CLASSES, DatasetSpec
from zoo.data.items import described, tensors_of
from zoo.defaults import float32_on_cpu
from zoo.errors import ConfigError, IncompatibleError, PluginError

EVALUATION_BATCH_SIZE = 256
SPAN_BATCHES = 64
FETCHED_BYTES = 2**20  # of floats at once: few enough to be in a CPU's cache still when they are used


class ImageDataset(Dataset[tuple[Tensor, int | Tensor]]):
    """Images held in memory as uint8, with their labels; an item is one image `(C, H, W)` and its label.

    Args:
        images: uint8 `(N, C, H, W)`; as floats in [0, 1], which models take, `images / 255`.
        labels: int64 `(N,)`, or `(N, K)` where the dataset declares K factors.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        label = self.labels[index]
        return self.images[index], label if label.dim() else int(label)

    def __repr__(self) -> str:
        shapes = [str(tuple(part.shape)) for part in (self.images, self.labels)]
        kinds = [str(part.dtype).removeprefix("torch.") for part in (self.images, self.labels)]
        values = f" from {int(self.labels.min())} to {int(self.labels.max())}" if len(self.labels) else ""
        return f"ImageDataset(images={kinds[0]} {shapes[0]}, labels={kinds[1]} {shapes[1]}{values})"


class _SpanDataset(Dataset["Span"]):
    """The spans of a dataset's images, by the indices in them: what a loader reads."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, indices: Tensor) -> Span:
        return Span(self.dataset, indices)


class Span:
    """Images of a dataset by their indices, int64 `(n,)`: many batches together."""

    def __init__(self, dataset: ImageDataset, indices: Tensor) -> None:  # no dataclass: Lightning would copy it
        self.dataset = dataset
        self.indices = indices

    def batches(self, size: int, device: torch.device | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Give out batches as `split_joined` cuts them, on a device.

        Each is images `(size, C, H, W)`, floats in [0, 1], and their labels, int64 `(size,)`.
        """
        images, labels = self.dataset.images, self.dataset.labels
        batch_bytes = 4 * size * math.prod(images.shape[1:])
        # Floating-point sums can depend on memory alignment, so every batch starts on a 256-byte boundary.
        together = max(1, FETCHED_BYTES // batch_bytes) if batch_bytes % 256 == 0 else 1
        for indices in split_joined(self.indices.to(images.device), together * size):
            pixels = to_float(images.index_select(0, indices).to(device))
            theirs = labels.index_select(0, indices.to(labels.device)).to(device)
            sizes = [len(part) for part in split_joined(indices, size)]
            yield from zip(
                torch.unsafe_split_with_sizes(pixels, sizes),
                torch.unsafe_split_with_sizes(theirs, sizes),
                strict=True,
            )


class Spans(Sampler[Tensor]):
    """Gives out the indices of images, those of a span together.

    The order is a function of (seed, epoch); without a seed it is the given one. The processes of a
    training share the images: each has the same number, and at most `world_size - 1` are left out.

    Args:
        indices: int64 `(N,)`.
        size: How many indices a span has; an epoch's last may have fewer, or one more.
        seed: Of the order.
        world_size: How many processes there are.
        rank: Which of them this is.
    """

    def __init__(self, indices: Tensor, size: int, seed: int | None = None, world_size: int = 1, rank: int = 0) -> None:
        self.indices = indices
        self.size = size
        self.seed = seed
        self.world_size = world_size
        self.rank = rank
        self.count = len(indices) // world_size  # of this process in an epoch
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of an epoch; Lightning calls it."""
        self.epoch = epoch

    def first(self, count: int) -> Tensor:
        """Return the indices of the first `count` images, or of all: the same ones in every process."""
        return self.indices[:count]

    def __len__(self) -> int:
        return count_parts(self.count, self.size)

    def __iter__(self) -> Iterator[Tensor]:  # a generator: Lightning sets the epoch after it has called `iter`
        indices = self.indices
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            indices = indices[torch.randperm(len(indices), generator=generator)]
        yield from split_joined(indices[self.rank : self.count * self.world_size : self.world_size], self.size)


def split_joined(indices: Tensor, size: int) -> Sequence[Tensor]:
    """Split indices `(n,)` into parts of a size; the last has what is left, and one left over joins the part before it.

    Batch normalisation and other statistics over a batch are undefined for a single image, so no batch
    has one unless all have.
    """
    count = len(indices)
    whole = (count_parts(count, size) - 1) * size  # indices in all parts but the last
    return [*torch.split(indices[:whole], size), indices[whole:]] if whole else [indices]


def count_parts(count: int, size: int) -> int:
    """Return how many parts `split_joined` makes of `count` indices."""
    return count if size == 1 else max(1, math.ceil((count - 1) / size))


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 pixels 0 to 255 into floats in [0, 1], as torchvision's `ToTensor` does."""
    return images.to(torch.float32).div_(255)


def load_dataset(name: str, /, split: str, **options: Any) -> ImageDataset:
    """Return one split of an installed dataset: its `images`, uint8 `(N, C, H, W)`, and `labels`, int64 `(N,)`.

    `zoo.load_dataset("mnist", "test").images` are the 10,000 test images of MNIST. Models take
    floats in [0, 1]: `images / 255`.

    Args:
        name: The dataset, as `zoo list dataset` shows it.
        split: One of the dataset's splits, as `zoo info dataset NAME` shows them; `train` holds the
            validation images too.
        options: Options of the dataset, e.g. `root="photos"`.

    Raises:
        UnknownComponentError: No such dataset is installed.
        AmbiguousComponentError: Several plugins offer the name.
        ConfigError: The dataset has no such split, or an option is wrong.
        DatasetError: Its files are unavailable or damaged.
        PluginError: What it gives is not what its spec declares.
    """
    return load_split(installed().get("dataset", name), options, split)


@float32_on_cpu()
def load_split(component: Component, options: Mapping[str, Any], split: str) -> ImageDataset:
    """Read one split of a dataset into memory.

    Raises:
        ConfigError: The dataset declares no such split, or an option is wrong.
        DatasetError: Its files are unavailable.
        PluginError: What it gives is not what its spec declares, or reading it raised an exception.
    """
    spec = component.spec
    assert isinstance(spec, DatasetSpec)
    if spec.splits is not None and split not in spec.splits:
        raise ConfigError(f"{component} has no split '{split}'. Its splits: {', '.join(spec.splits)}.")
    where = f"{component}, split '{split}'"
    try:
        source = component.build(split, options=options)
    except (ConstructorError, IncompatibleError) as error:
        cause = error.__cause__
        if isinstance(cause, ValueError):  # it refuses what it was asked for
            raise
        raise PluginError(f"{where}, cannot be read: {described(cause or error)}.") from error
    count = spec.splits[split] if spec.splits else None
    images, labels = tensors_of(source, where, count, spec.image_shape, len(spec.factors))
    return ImageDataset(images, labels)


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
    unnamed = spec.factors or int(dataset.labels.min()) < 0  # a stand-in for a missing label is no class
    count = 0 if unnamed else int(dataset.labels.max()) + 1
    classes = spec.classes or (tuple(map(str, range(count))) if 1 < count <= MAX_CLASSES else ())
    return DataFacts((channels, height, width), classes, train_count)


def on_device(dataset: ImageDataset, device: torch.device) -> ImageDataset:
    """Return a dataset with its images on a device; as it is where half of a GPU's free memory does not hold them."""
    if device.type == "cuda" and dataset.images.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return dataset
    return ImageDataset(dataset.images.to(device), dataset.labels.to(device))


def split_validation(count: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Cut `count` images by the seed: return the indices of those that are trained on, and of those for validation.

    Raises:
        ConfigError: Either part would be empty.
    """
    validation = round(count * fraction)
    if not 0 < validation < count:
        raise ConfigError(_empty_part(count, fraction))
    generator = torch.Generator().manual_seed(derive_seed(seed, "validation"))
    indices = torch.randperm(count, generator=generator)
    return indices[: count - validation], indices[count - validation :]


def training_loader(
    dataset: ImageDataset, indices: Tensor, batch_size: int, seed: int, *, world_size: int = 1, rank: int = 0
) -> DataLoader[Span]:
    """Return the loader of one process for images by their indices; together they see batches of `batch_size`.

    A span holds whole batches of this process, but for an epoch's last: it may be smaller, or have one image more.

    Raises:
        ConfigError: The batch cannot be shared equally, or is larger than the dataset.
    """
    count, name, flag = len(indices), setting("batch_size"), flag_of("batch_size")
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
    return _loader(dataset, Spans(indices, size, derive_seed(seed, "order") % 2**32, world_size, rank))


def batches_an_epoch(loader: DataLoader[Span], batch_size: int) -> int:
    """Return the number of batches of `batch_size` that a process's loader gives out in an epoch."""
    assert isinstance(loader.sampler, Spans)
    return count_parts(loader.sampler.count, batch_size)


def evaluation_loader(
    dataset: ImageDataset, indices: Tensor, *, world_size: int = 1, rank: int = 0
) -> DataLoader[Span]:
    """Return a loader of validation images by their indices, in this order, each process seeing its share of them.

    Raises:
        ConfigError: They are too few for the processes to share.
    """
    if len(indices) < world_size:
        name, flag = setting("validation_fraction"), flag_of("validation_fraction")
        least = math.ceil(1e6 * world_size / len(dataset)) / 1e6
        raise ConfigError(
            f"{name}: leaves fewer validation images than the {world_size} processes share: {flag} {least:g} or more."
        )
    return _loader(dataset, Spans(indices, SPAN_BATCHES * EVALUATION_BATCH_SIZE, None, world_size, rank))


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
    return DataLoader(
        _SpanDataset(dataset), batch_size=None, sampler=spans, collate_fn=_as_it_is, generator=own_generator
    )


def _as_it_is(span: Any) -> Any:
    return span
