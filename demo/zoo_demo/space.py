"""What is measured of a model on its dataset: latents, errors, their ranges, and a threshold.

The map and the sliders show the test split. The threshold above which an image counts as unusual
comes from the validation images, cut off the training split exactly as training cut them: they
took no part in fitting the weights, and the test split stays what it is for. A conditional model is
told no class, as in `zoo eval`.

Latents are flat here and on the page: of maps `(D, h, w)` the D·h·w numbers in C order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.data.splits import ImageDataset, load_split, split_validation, to_float
from zoo.errors import ZooError, printable
from zoo_demo.cache import Cache
from zoo_demo.model import Floats, Model
from zoo_demo.safety import RefusedError

MAX_POINTS = 10_000
MAX_NUMBERS = 2_000_000  # latents times their size: 8 MB
MAX_LABELS = 50
MAX_SLIDERS = 64
BATCH = 1024
QUANTILE = 0.95
SPACES_KEPT = 8
SPLITS_KEPT = 4


class NoDatasetError(RefusedError):
    """404: the dataset is unavailable here, or the model cannot be measured on it."""

    def __init__(self, why: str) -> None:
        super().__init__(404, why)


@dataclass(frozen=True)
class Space:
    """What was measured.

    Attributes:
        summary: Everything but the points, as JSON values.
        latents: `(n, latent_size)` of the first test images, flat.
        errors: `(n,)`, the mean squared error of each.
        labels: `(n,)`.
    """

    summary: dict[str, Any]
    latents: Floats
    errors: Floats
    labels: NDArray[np.int64]


class Spaces:
    """What was measured of each model, and the test images; both kept while they are used."""

    def __init__(self) -> None:
        self._spaces: Cache[Space] = Cache(SPACES_KEPT)
        self._test_splits: Cache[ImageDataset] = Cache(SPLITS_KEPT)

    def of(self, model: Model) -> Space:
        """Return what was measured of a model; the first call measures, which takes seconds.

        Raises:
            NoDatasetError: It cannot be measured here.
        """
        return self._spaces.get(model.card["sha256"], lambda: _measure(model, self._test_split(model)))

    def test_images(self, model: Model, indices: list[int]) -> NDArray[np.uint8]:
        """Return images `(k, C, H, W)` of a model's dataset, by their numbers in its test split.

        Raises:
            NoDatasetError: The dataset is unavailable here.
            RefusedError: 400, there is no image of a number.
        """
        images = self._test_split(model).images
        if (last := len(images) - 1) < max(indices):
            raise RefusedError(400, f"There is no test image {max(indices)}: the last one is {last}.")
        chosen: NDArray[np.uint8] = images[torch.tensor(indices)].numpy()
        return chosen

    def _test_split(self, model: Model) -> ImageDataset:
        record = model.dataset
        options = json.dumps(model.checkpoint.metadata.config.dataset.options, sort_keys=True)
        return self._test_splits.get((record.distribution, record.name, options), lambda: _split(model, "test"))


def unmeasured(latent_size: int, why: str) -> dict[str, Any]:
    """Return what stands in for a summary where nothing could be measured: the range of a unit Gaussian."""
    dims = [{"low": -3.0, "high": 3.0, "median": 0.0, "std": 1.0} for _ in range(latent_size)]
    order = list(range(min(latent_size, MAX_SLIDERS)))
    return {"available": False, "why": why, "dims": dims, "order": order, "labels": []}


def _measure(model: Model, test: ImageDataset) -> Space:
    count = min(len(test), MAX_POINTS, max(1, MAX_NUMBERS // model.latent_size))
    latents, errors = _encode(model, test, np.arange(count))
    labels = test.labels[:count].reshape(count, -1)[:, 0].numpy()  # the first factor, where there are several
    validation_errors = _validation_errors(model)
    if not all(np.isfinite(numbers).all() for numbers in (latents, errors, validation_errors)):
        raise NoDatasetError("The model gives NaN or infinite numbers for images of its own dataset.")
    distinct = np.unique(labels).tolist()
    summary = {
        "available": True,
        "count": count,
        "test_count": len(test),
        **_dimensions(latents),
        "pca": _principal_components(latents),
        "labels": distinct if len(distinct) <= MAX_LABELS else [],
        "threshold": {
            "quantile": QUANTILE,
            "mse": float(np.quantile(validation_errors, QUANTILE)),
            "count": len(validation_errors),
            "split": "validation",
        },
        "validation_errors": np.quantile(validation_errors, np.linspace(0, 1, 101)).tolist(),
    }
    return Space(summary, latents, errors, labels)


def _encode(model: Model, images: ImageDataset, indices: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return the flat latents `(N, latent_size)` and mean squared errors `(N,)` of the images of these numbers."""
    latents, errors = [], []
    for start in range(0, len(indices), BATCH):
        pixels = images.images[torch.from_numpy(indices[start : start + BATCH])]
        batch_latents, batch_errors, _ = model.reconstruct(to_float(pixels).numpy())
        latents.append(batch_latents.reshape(len(pixels), -1))
        errors.append(batch_errors)
    return np.concatenate(latents), np.concatenate(errors)


def _validation_errors(model: Model) -> Floats:
    """Return the error of each validation image; of the first 10,000 where there are more, in random order."""
    config = model.checkpoint.metadata.config
    train = _split(model, "train")
    try:
        _, validation = split_validation(len(train), config.validation_fraction, config.seed)
    except ZooError as error:
        raise NoDatasetError(str(error)) from error
    return _encode(model, train, validation[:MAX_POINTS].numpy())[1]


def _split(model: Model, name: str) -> ImageDataset:
    try:
        component = model.checkpoint.component("dataset")
        split = load_split(component, model.checkpoint.metadata.config.dataset.options, name)
    except ZooError as error:
        raise NoDatasetError(str(error)) from error
    except Exception as error:  # a dataset's own code: no file, no network, anything
        raise NoDatasetError(f"The dataset cannot be read: {type(error).__name__}: {printable(error)}") from error
    if tuple(split.images.shape[1:]) != model.image_shape:
        raise NoDatasetError("The dataset's images no longer have the shape that the model was trained on.")
    return split


def _dimensions(latents: Floats) -> dict[str, Any]:
    """Return the range of each dimension, and those that vary most, the widest first: they have sliders."""
    low, median, high = np.quantile(latents, [0.01, 0.5, 0.99], axis=0)
    still = high <= low  # a slider needs some way to go
    low, high = np.where(still, low - 0.5, low), np.where(still, high + 0.5, high)
    std = latents.std(axis=0)
    names = ("low", "high", "median", "std")
    rows = np.stack([low, high, median, std], axis=1).tolist()
    order = np.argsort(-std, kind="stable")[:MAX_SLIDERS].tolist()
    return {"dims": [dict(zip(names, row, strict=True)) for row in rows], "order": order}


def _principal_components(latents: Floats) -> dict[str, Any]:
    """Return the mean, the first two principal components and the variances along them.

    A component's largest entry is positive, so that the map is the same on every machine. Where
    there are fewer than two components, the rest is zero.
    """
    mean = latents.mean(axis=0, dtype=np.float64)
    _, singular, axes = np.linalg.svd(latents - mean, full_matrices=False)  # (k,), (k, latent_size)
    components, variance = np.zeros((2, latents.shape[1])), np.zeros(2)
    found = min(2, len(singular))
    components[:found], variance[:found] = axes[:found], singular[:found] ** 2 / len(latents)
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1, keepdims=True), axis=1)
    components *= np.where(largest < 0, -1, 1)
    return {"mean": mean.tolist(), "components": components.tolist(), "variance": variance.tolist()}
