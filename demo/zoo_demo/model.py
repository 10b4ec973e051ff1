"""A model that has been opened: it encodes, decodes and samples, arrays in and arrays out."""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.errors import IncompatibleError
from zoo.model.checkpoint import Checkpoint, ComponentRecord
from zoo_demo import graph
from zoo_demo.card import Card
from zoo_demo.graph import NotForTheBrowser, Plan
from zoo_demo.safety import MAX_BODY_BYTES, RefusedError

BATCH = 128
MAX_ANSWER_BYTES = 64 * 2**20
MOST_IMAGES = 256
MOST_LATENTS = 512
MAX_LATENT_SIZE = 2**16  # numbers of a latent: the page is told the range of each

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


class Model:
    """An opened model, safe to use from several threads.

    Args:
        checkpoint: What it is built from.
        card: What the checkpoint says about itself.

    Raises:
        ZooError: The checkpoint's weights or components do not fit together, or its latent is too
            large for the page.
    """

    def __init__(self, checkpoint: Checkpoint, card: Card) -> None:
        self.autoencoder = checkpoint.build()
        self.checkpoint = dataclasses.replace(checkpoint, tensors={})  # the autoencoder has them now
        self.card = card
        self.image_shape = self.autoencoder.image_shape
        self.latent_shape = self.autoencoder.latent_shape
        self.latent_size = math.prod(self.latent_shape)
        self.classes = self.autoencoder.classes
        if self.latent_size > MAX_LATENT_SIZE:
            raise IncompatibleError(
                f"{card['title']} has a latent of {self.latent_size} numbers, more than the page's {MAX_LATENT_SIZE}."
            )
        self._lock = threading.Lock()  # a plugin's module may keep something on itself while it works

    @property
    def most_images(self) -> int:
        """How many images a request may hold."""
        pixels = math.prod(self.image_shape)
        answer = 4 * (pixels + self.latent_size)
        return max(1, min(MOST_IMAGES, MAX_BODY_BYTES // pixels, MAX_ANSWER_BYTES // answer))

    @property
    def most_latents(self) -> int:
        """How many latents a request may hold."""
        answer = 4 * math.prod(self.image_shape)
        return max(1, min(MOST_LATENTS, MAX_BODY_BYTES // (4 * self.latent_size), MAX_ANSWER_BYTES // answer))

    @property
    def has_prior(self) -> bool:
        """Whether its objective has a prior to sample from."""
        return self.autoencoder.objective.has_prior

    @property
    def parameters(self) -> dict[str, int]:
        """How many numbers its encoder and its decoder have learnt."""
        return {"encoder": _count(self.autoencoder.encoder), "decoder": _count(self.autoencoder.decoder)}

    @functools.cached_property
    def plan(self) -> Plan | NotForTheBrowser:
        """The decoder as the browser's engine runs it, or why it cannot."""
        with self._lock:
            try:
                return graph.plan(self.autoencoder)
            except graph.NotForTheBrowser as reason:
                return reason

    @property
    def dataset(self) -> ComponentRecord:
        """The dataset that it was trained on."""
        return next(record for record in self.checkpoint.metadata.components if record.kind == "dataset")

    def encode(self, images: Floats) -> Floats:
        """Return the latents `(N, *latent_shape)` of images `(N, C, H, W)` in [0, 1]."""
        return self._batches(self.autoencoder.encode, images)

    def decode(self, latents: Floats, labels: Labels | None = None) -> Floats:
        """Return the images `(N, C, H, W)` of latents; they may leave [0, 1] slightly.

        Args:
            latents: `(N, *latent_shape)`.
            labels: `(N,)`, from 0 to the number of classes, which means unknown; None where all are.

        Raises:
            RefusedError: 400, the model takes no labels, or none of this value.
        """
        if labels is None:
            return self._batches(self.autoencoder.decode, latents)
        if not self.classes:
            raise RefusedError(400, "This model takes no labels: it was trained without --conditional.")
        if labels.min() < 0 or labels.max() > len(self.classes):
            last = len(self.classes)
            raise RefusedError(400, f"Labels must be 0 to {last - 1}, or {last} for unknown.")
        return self._batches(self.autoencoder.decode, latents, labels)

    def reconstruct(self, images: Floats, labels: Labels | None = None) -> tuple[Floats, Floats, Floats]:
        """Return latents `(N, *latent_shape)`, mean squared errors `(N,)` and reconstructions `(N, C, H, W)`.

        Args:
            images: `(N, C, H, W)` in [0, 1].
            labels: As in `decode`.
        """
        latents = self.encode(images)
        reconstructions = self.decode(latents, labels)
        return latents, ((reconstructions - images) ** 2).mean(axis=(1, 2, 3)), reconstructions

    def sample(self, count: int) -> Floats:
        """Return latents `(count, *latent_shape)` drawn from the prior.

        Raises:
            RefusedError: 400, the objective has none.
        """
        if not self.has_prior:
            raise RefusedError(400, "This model's objective has no prior to sample from.")
        generator = torch.Generator()
        generator.seed()
        with self._lock, torch.inference_mode():
            return _array(self.autoencoder.draw_latents(count, generator))

    def _batches(self, function: Callable[..., Tensor], *inputs: Floats | Labels) -> Floats:
        outputs = []
        for batch in zip(*(torch.split(torch.from_numpy(each), BATCH) for each in inputs), strict=True):
            with self._lock, torch.inference_mode():  # between two batches others have their turn
                outputs.append(_array(function(*batch)))
        return np.concatenate(outputs)


def _array(tensor: Tensor) -> Floats:
    array: Floats = tensor.float().numpy()
    return array


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
