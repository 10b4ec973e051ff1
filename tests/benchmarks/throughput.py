"""Training throughput: `zoo.train` against other means of training the same model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tests.benchmarks import document, peers
from tests.benchmarks.measure import ROUNDS, Figure, Row, interleaved, quiet
from torch import Tensor, nn

import zoo
from zoo.data import to_float
from zoo_conv.networks import ConvDecoder, ConvEncoder
from zoo_mnist.dataset import mnist

TRAINING_IMAGES, VALIDATION_IMAGES = 54_000, 6_000  # what zoo.train makes of MNIST's
CONV_SHARE = 0.2  # of them: a hand-written loop over convolutions is timed on so many
SHAPE, LATENT_DIM = (1, 28, 28), 3


def rows() -> Iterator[Row]:
    images = to_float(mnist("train").tensors[0]).split([TRAINING_IMAGES, VALIDATION_IMAGES])
    pixels = [part.flatten(1) for part in images]
    with tempfile.TemporaryDirectory() as directory:
        for split in ("train", "test"):
            mnist(split, root=directory)  # for torchvision, which wants all four files
        yield from at_64(*pixels, directory)
    yield from at_256(*pixels)
    yield from convolutions(*(part[: round(CONV_SHARE * len(part))] for part in images))


def at_64(pixels: Tensor, validation: Tensor, directory: str) -> Iterator[Row]:
    ours, compiled, by_default = ThroughZoo(batch_size=64), ThroughZoo(batch_size=64, compile=True), ThroughZoo()
    figures = interleaved({
        "ours": ours,
        "compiled": compiled,
        "by default": by_default,
        "hand": peers.hand_written(pixels, validation, 64),
        "pythae": peers.pythae(pixels, 64),
        "loader": lambda: document.images_per_second(directory, batch_size=64, batches=300),
        "script": lambda: document.images_per_second(directory, batch_size=1, batches=1_000),
    })  # fmt: skip
    what = "zoo train, batch 64 : hand-written eager loop"
    yield Row(what, figures["ours"], figures["hand"], "images/s", least=0.85)
    yield Row("its steps : pythae", ours.steps, figures["pythae"], "images/s", least=2)
    yield Row("its steps : document, its loader at 64", ours.steps, figures["loader"], "images/s", least=8)
    yield Row("with --compile : document, its loader at 64", compiled.steps, figures["loader"], "images/s")
    what = "zoo train by default flags : document as written, batch 1"
    yield Row(what, by_default.steps, figures["script"], "images/s", least=150)


def at_256(pixels: Tensor, validation: Tensor) -> Iterator[Row]:
    ours, compiled = ThroughZoo(batch_size=256), ThroughZoo(batch_size=256, compile=True)
    figures = interleaved({
        "ours": ours,
        "compiled": compiled,
        "hand": peers.hand_written(pixels, validation, 256),
        "pythae": peers.pythae(pixels, 256),
        "jax": peers.jax_scan(pixels, 256),
    })  # fmt: skip
    what = "zoo train, batch 256 : hand-written eager loop"
    yield Row(what, figures["ours"], figures["hand"], "images/s", least=0.95)
    yield Row("its steps : pythae", ours.steps, figures["pythae"], "images/s", least=2)
    yield Row("steps with --compile : JAX, an epoch in one scan", compiled.steps, figures["jax"], "images/s", least=1)


def convolutions(images: Tensor, validation: Tensor) -> Iterator[Row]:
    """Yield the `conv` model's row, against the faster one of two hand-written loops."""
    parts = [nn.Sequential(ConvEncoder(SHAPE, LATENT_DIM), ConvDecoder(LATENT_DIM, SHAPE)) for _ in range(2)]
    measurements = {
        "ours": ThroughZoo(batch_size=128, encoder="conv"),
        "contiguous": peers.hand_written(images, validation, 128, parts[0]),
        "channels last": peers.hand_written(images, validation, 128, parts[1].to(memory_format=torch.channels_last)),
    }
    figures = interleaved(measurements, rounds=(ROUNDS + 1) // 2)
    layout = max(("contiguous", "channels last"), key=lambda layout: figures[layout].median)
    what = f"zoo train, conv, batch 128 : hand-written eager loop, {layout}"
    yield Row(what, figures["ours"], figures[layout], "images/s", least=0.95)


class ThroughZoo:
    """Trains two epochs as a user does, with progress, history, validation, best weights and resume state.

    A call returns training images a second over all of the second epoch, until its resume state is
    on the disk. What is compiled was compiled in the first.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = {"encoder": "mlp", "dataset": "mnist", "accelerator": "cpu", "epochs": 2} | settings
        self._steps: list[float] = []

    def __call__(self) -> float:
        with tempfile.TemporaryDirectory() as directory, quiet():
            run = zoo.train(output=Path(directory) / "run", **self.settings)
            self._steps.append(run.history[-1]["images_per_second"])
            begun, ended = [(run.resume_directory / f"epoch-{epoch}.safetensors").stat().st_mtime for epoch in (1, 2)]
            return TRAINING_IMAGES / (ended - begun)

    @property
    def steps(self) -> Figure:
        """Training images a second over the training steps alone: the other means have no validation."""
        return Figure(tuple(self._steps))
