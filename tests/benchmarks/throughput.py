"""Training throughput: `zoo.train` against other means of training the same model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from tests.benchmarks.measure import ROUNDS, Elsewhere, Figure, Row, interleaved, quiet
from tests.benchmarks.peers import TRAINING_IMAGES

import zoo
from zoo_mnist.dataset import mnist


def rows() -> Iterator[Row]:
    for part in (at_64, at_256, convolutions):
        with ExitStack() as stack:
            yield from part(stack)


def at_64(stack: ExitStack) -> Iterator[Row]:
    directory = stack.enter_context(tempfile.TemporaryDirectory())
    for split in ("train", "test"):
        mnist(split, root=directory)  # for torchvision, which wants all four files
    ours, compiled, by_default = (
        ThroughZoo(batch_size=64),
        ThroughZoo(batch_size=64, compile=True),
        ThroughZoo(threads=None),
    )
    figures = interleaved({
        "ours": ours,
        "compiled": compiled,
        "by default": by_default,
        "hand": peer(stack, "hand", 64),
        "pythae": peer(stack, "pythae", 64),
        "loader": peer(stack, "document", 64, directory),
        "script": peer(stack, "document", 1, directory),
    })  # fmt: skip
    what = "zoo train, batch 64 : hand-written eager loop"
    yield Row(what, figures["ours"], figures["hand"], "images/s", least=0.85)
    yield Row("its steps : pythae", ours.steps, figures["pythae"], "images/s", least=2)
    yield Row("its steps : document, its loader at 64", ours.steps, figures["loader"], "images/s", least=8)
    yield Row("with --compile : document, its loader at 64", compiled.steps, figures["loader"], "images/s")
    what = "zoo train by default flags : document as written, batch 1"
    yield Row(what, by_default.steps, figures["script"], "images/s", least=150)


def at_256(stack: ExitStack) -> Iterator[Row]:
    ours, compiled = ThroughZoo(batch_size=256), ThroughZoo(batch_size=256, compile=True)
    figures = interleaved({
        "ours": ours,
        "compiled": compiled,
        "hand": peer(stack, "hand", 256),
        "pythae": peer(stack, "pythae", 256),
        "jax": peer(stack, "jax", 256),
    })  # fmt: skip
    what = "zoo train, batch 256 : hand-written eager loop"
    yield Row(what, figures["ours"], figures["hand"], "images/s", least=0.95)
    yield Row("its steps : pythae", ours.steps, figures["pythae"], "images/s", least=2)
    yield Row("steps with --compile : JAX, an epoch in one scan", compiled.steps, figures["jax"], "images/s", least=1)


def convolutions(stack: ExitStack) -> Iterator[Row]:
    """Yield the `conv` model's row, against the faster one of two hand-written loops."""
    layouts = {"contiguous": "conv", "channels last": "conv channels last"}
    measurements = {
        "ours": ThroughZoo(batch_size=128, encoder="conv"),
        **{layout: peer(stack, name, 128) for layout, name in layouts.items()},
    }
    figures = interleaved(measurements, rounds=(ROUNDS + 1) // 2)
    layout = max(layouts, key=lambda layout: figures[layout].median)
    what = f"zoo train, conv, batch 128 : hand-written eager loop, {layout}"
    yield Row(what, figures["ours"], figures[layout], "images/s", least=0.95)


def peer(stack: ExitStack, *arguments: object) -> Elsewhere:
    """Return what trains by other means, in a process that ends with the stack."""
    return stack.enter_context(Elsewhere("tests.benchmarks.peers", *arguments))


class ThroughZoo:
    """Trains two epochs as a user does, with progress, history, validation, best weights and resume state.

    A call returns training images a second over all of the second epoch, until its resume state is
    on the disk. What is compiled was compiled in the first.
    """

    def __init__(self, **settings: Any) -> None:
        threads = torch.get_num_threads()  # as many as the other means have
        base = {"encoder": "mlp", "dataset": "mnist", "accelerator": "cpu", "epochs": 2, "threads": threads}
        self.settings = base | settings
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
