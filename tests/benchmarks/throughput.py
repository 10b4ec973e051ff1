"""Training throughput: `zoo.train` against other means of training the same model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tests.benchmarks import document, peers
from tests.benchmarks.measure import ROUNDS, Row, interleaved, quiet
from torch import Tensor, nn

import zoo
from zoo.data import to_float
from zoo_conv.networks import ConvDecoder, ConvEncoder
from zoo_mnist.dataset import mnist

TRAINING_IMAGES = 54_000  # what zoo.train leaves of MNIST's after validation
CONV_IMAGES = 10_240  # what a hand-written loop over convolutions is timed on
SHAPE, LATENT_DIM = (1, 28, 28), 3


def rows() -> Iterator[Row]:
    images = to_float(mnist("train").tensors[0][:TRAINING_IMAGES])
    pixels = images.flatten(1)
    with tempfile.TemporaryDirectory() as directory:
        for split in ("train", "test"):
            mnist(split, root=directory)  # for torchvision, which wants all four files
        yield from at_64(pixels, directory)
    yield from at_256(pixels)
    yield from convolutions(images[:CONV_IMAGES])


def at_64(pixels: Tensor, directory: str) -> Iterator[Row]:
    figures = interleaved({
        "zoo": partial(through_zoo, 64),
        "hand": peers.hand_written(pixels, 64),
        "pythae": peers.pythae(pixels, 64),
        "loader": lambda: document.images_per_second(directory, batch_size=64, batches=300),
        "script": lambda: document.images_per_second(directory, batch_size=1, batches=1_000),
    })  # fmt: skip
    yield Row("zoo train, batch 64 : hand-written eager loop", figures["zoo"], figures["hand"], "images/s", least=0.85)
    yield Row("zoo train, batch 64 : pythae", figures["zoo"], figures["pythae"], "images/s", least=2)
    yield Row(
        "zoo train, batch 64 : document, its loader at 64", figures["zoo"], figures["loader"], "images/s", least=8
    )
    yield Row("zoo train, batch 64 : document, as written", figures["zoo"], figures["script"], "images/s", least=150)


def at_256(pixels: Tensor) -> Iterator[Row]:
    figures = interleaved({
        "zoo": partial(through_zoo, 256),
        "compiled": partial(through_zoo, 256, compile=True, steps_alone=True),
        "hand": peers.hand_written(pixels, 256),
        "pythae": peers.pythae(pixels, 256),
        "jax": peers.jax_scan(pixels, 256),
    })  # fmt: skip
    yield Row("zoo train, batch 256 : hand-written eager loop", figures["zoo"], figures["hand"], "images/s", least=0.95)
    yield Row("zoo train, batch 256 : pythae", figures["zoo"], figures["pythae"], "images/s", least=2)
    yield Row(
        "zoo train --compile, steps : JAX, epoch in one scan", figures["compiled"], figures["jax"], "images/s", least=1
    )


def convolutions(images: Tensor) -> Iterator[Row]:
    """Yield the `conv` model's row, against the faster one of two hand-written loops."""
    parts = [nn.Sequential(ConvEncoder(SHAPE, LATENT_DIM), ConvDecoder(LATENT_DIM, SHAPE)) for _ in range(2)]
    measurements = {
        "zoo": partial(through_zoo, 128, encoder="conv"),
        "contiguous": peers.hand_written(images, 128, parts[0]),
        "channels last": peers.hand_written(images, 128, parts[1].to(memory_format=torch.channels_last)),
    }
    figures = interleaved(measurements, rounds=(ROUNDS + 1) // 2)
    layout = max(("contiguous", "channels last"), key=lambda layout: figures[layout].median)
    what = f"zoo train, conv, batch 128 : hand-written eager loop, {layout}"
    yield Row(what, figures["zoo"], figures[layout], "images/s", least=0.95)


def through_zoo(batch_size: int, *, encoder: str = "mlp", steps_alone: bool = False, **settings: Any) -> float:
    """Train two epochs as a user does, with progress, history, validation, best weights and resume state.

    Returns:
        Training images a second in the second epoch: over all of it, until its resume state is on the
        disk, or over its training steps alone. What is compiled was compiled in the first.
    """
    with tempfile.TemporaryDirectory() as directory, quiet():
        run = zoo.train(
            encoder=encoder, dataset="mnist", epochs=2, batch_size=batch_size, accelerator="cpu",
            output=Path(directory) / "run", **settings,
        )  # fmt: skip
        if steps_alone:
            return run.history[-1]["images_per_second"]
        begun, ended = [(run.resume_directory / f"epoch-{epoch}.safetensors").stat().st_mtime for epoch in (1, 2)]
        return TRAINING_IMAGES / (ended - begun)
