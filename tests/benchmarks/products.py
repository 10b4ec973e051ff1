"""The five large matrix products of a step: `python -m tests.benchmarks.products`, from the repository's root.

No step of the document's model can be faster than they are. Prints their microseconds as PyTorch
multiplies floats, by MKL on x86, and by oneDNN, which it brings along for convolutions and 16-bit floats.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from tests.benchmarks.measure import interleaved
from torch import Tensor

ROUNDS, CALLS = 15, 100


def main() -> None:
    table = Table("batch", "product", "PyTorch's, µs", "oneDNN's, µs", "ratio")
    for batch_size in (64, 256):
        totals = [0.0, 0.0]
        for name, factors in products(batch_size).items():
            ways = {"PyTorch": torch.mm, "oneDNN": onednn}
            figures = interleaved(
                {way: partial(microseconds, multiply, *factors) for way, multiply in ways.items()}, ROUNDS
            )
            medians = [figure.median for figure in figures.values()]
            totals = [total + median for total, median in zip(totals, medians, strict=True)]
            add_row(table, batch_size, name, medians)
        add_row(table, batch_size, "all", totals)
    Console(width=110).print(table)


def products(batch_size: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the factors of each: of a layer's outputs, of its inputs' gradient, and of its weights' gradient."""
    images, hidden = torch.rand(batch_size, 784), torch.rand(batch_size, 64)
    first, last = torch.rand(64, 784), torch.rand(784, 64)  # weights as Linear lays them out
    return {
        "first layer": (images, first.t()),
        "last layer": (hidden, last.t()),
        "gradient of the last layer's inputs": (images, last),
        "gradient of the first layer's weights": (hidden.t(), images),
        "gradient of the last layer's weights": (hidden.t(), images),  # transposed: so oneDNN is twice as fast
    }


def onednn(left: Tensor, right: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), None, "none", [], "")
    return product


def microseconds(multiply: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor) -> float:
    started = time.perf_counter()
    for _ in range(CALLS):
        multiply(left, right)
    return (time.perf_counter() - started) / CALLS * 1e6


def add_row(table: Table, batch_size: int, name: str, microseconds: list[float]) -> None:
    ours, theirs = microseconds
    table.add_row(str(batch_size), name, f"{ours:.0f}", f"{theirs:.0f}", f"{ours / theirs:.2f}")


if __name__ == "__main__":
    main()
