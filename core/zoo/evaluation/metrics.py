"""Metrics on held-out data."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.contract.registry import Component, installed
from zoo.contract.signatures import owned
from zoo.contract.specs import MetricSpec
from zoo.data.splits import EVALUATION_BATCH_SIZE, ImageDataset, load_split, to_float
from zoo.defaults import float32_on_cpu
from zoo.errors import IncompatibleError, printable
from zoo.model import checkpoint
from zoo.model.autoencoder import Autoencoder

_log = logging.getLogger("zoo")


@dataclass(frozen=True)
class Evaluation:
    """A model's metrics on one split of a dataset."""

    dataset: str
    split: str
    metrics: dict[str, float]


def evaluate(
    run: str | os.PathLike[str], dataset: str | None = None, dataset_options: Mapping[str, object] | None = None
) -> Evaluation:
    """Evaluate a checkpoint on the test split of its own dataset, or of another of the same shape.

    Args:
        run: A run directory, a `.safetensors` file or a pretrained model's name.
        dataset: Another dataset's name; its options are its defaults.
        dataset_options: Options of the dataset over those, e.g. `{"root": "photos"}` where its
            files have moved since the training.

    Raises:
        CheckpointError: The checkpoint is damaged.
        ConfigError: An option is unknown, of the wrong type or out of bounds.
        DatasetError: The dataset's files are unavailable.
        IncompatibleError: The other dataset's images have another shape.
        UnknownComponentError: There is no such dataset.
        UnknownModelError: There is no such run, file or pretrained model.
    """
    opened = checkpoint.read(run)
    images = held_out_images(opened, dataset, dataset_options)
    name = dataset or opened.metadata.config.dataset.name
    return Evaluation(name, "test", metrics_of(opened.build(), images))


def held_out_images(
    opened: checkpoint.Checkpoint, dataset: str | None = None, dataset_options: Mapping[str, object] | None = None
) -> ImageDataset:
    """Return the images that a checkpoint is evaluated on, as `evaluate` does and with its errors."""
    own = opened.metadata.config.dataset
    component = installed().get("dataset", dataset) if dataset else opened.component("dataset")
    options = {} if dataset and dataset != own.name else own.options
    images = load_split(component, {**options, **(dataset_options or {})}, "test")
    shape = tuple(images.images.shape[1:])
    if shape != opened.metadata.image_shape:
        raise IncompatibleError(f"{component} has images of {shape}, the model takes {opened.metadata.image_shape}.")
    return images


@float32_on_cpu()
def metrics_of(autoencoder: Autoencoder, dataset: ImageDataset) -> dict[str, float]:
    """Return the values of the default metrics by name, for the deterministic reconstructions of a dataset.

    A conditional model is told the labels. A metric that cannot judge images of this shape is left out,
    and so is one that fails, with a warning: a trained model must not be lost to it.
    """
    import zoo.evaluation.matplotlib_import  # noqa: F401 - torchmetrics imports matplotlib

    device = next(autoencoder.parameters()).device
    metrics: dict[Component, Any] = {}
    for component in installed().components("metric"):
        if component.spec.default:
            with _left_out_if_it_fails(component, metrics), contextlib.suppress(IncompatibleError):
                metric = component.build(autoencoder.image_shape)
                metrics[component] = metric.to(device) if isinstance(metric, nn.Module) else metric
    with torch.inference_mode():
        for start in range(0, len(dataset), EVALUATION_BATCH_SIZE):
            batch = slice(start, start + EVALUATION_BATCH_SIZE)
            images, labels = to_float(dataset.images[batch].to(device)), dataset.labels[batch].to(device)
            fields = _fields(autoencoder, images, labels)
            for component, metric in list(metrics.items()):
                assert isinstance(component.spec, MetricSpec)
                with _left_out_if_it_fails(component, metrics):
                    metric.update(**{name: fields[name] for name in component.spec.needs})
    values: dict[str, float] = {}
    for component, metric in list(metrics.items()):
        with _left_out_if_it_fails(component, metrics):
            values.setdefault(component.name, float(metric.compute()))  # built-ins come first
    return values


@contextlib.contextmanager
def _left_out_if_it_fails(component: Component, metrics: dict[Component, Any]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        metrics.pop(component, None)
        why = printable(" ".join(f"{type(error).__name__}: {error}".split()))
        _log.warning("zoo: %s is left out: %s", owned(component), why)


def _fields(autoencoder: Autoencoder, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    latents = autoencoder.encode(images)
    reconstructions = autoencoder.decode(latents, autoencoder.labels_told(labels) if autoencoder.classes else None)
    return {
        "images": images,
        "reconstructions": reconstructions.contiguous(),  # torchmetrics asks for it
        "latents": latents,
        "labels": labels,
    }
