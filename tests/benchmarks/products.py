"""The five large matrix products of a step: `python -m tests.benchmarks.products`, from the repository's root.

No step of the document's model is faster than the means that it multiplies by. Prints the microseconds
of PyTorch's own, for floats MKL on x86, and of oneDNN, which it brings along for convolutions and 16-bit floats.
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

CALLS = 100  # timed together


def main() -> None:
    table = Table("batch", "product", "by PyTorch's own, µs", "by oneDNN, µs", "ratio")
    for batch_size in (64, 256):
        totals = [0.0, 0.0]
        for name, factors in products(batch_size).items():
            ways = {"PyTorch": torch.mm, "oneDNN": onednn}
            figures = interleaved(
                {way: partial(microseconds, multiply, *factors) for way, multiply in ways.items()}, rounds=15
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
        "gradient of the last layer's weights": (images.t(), hidden),
    }


def onednn(left: Tensor, right: Tensor) -> Tensor:
    if not left.is_contiguous() and left.numel() > right.numel():  # it would copy the left one: rather the small one
        return onednn(right.t(), left.t()).t()
    product: Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), None, "none", [], "")
    return product


def microseconds(multiply: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor) -> float:
    started = time.perf_counter()
    for _ in range(CALLS):
        multiply(left, right)
    return (time.perf_counter() - started) / CALLS * 1e6


def add_row(table: Table, batch_size: int, name: str, medians: list[float]) -> None:
    own, by_onednn = medians
    table.add_row(str(batch_size), name, f"{own:.0f}", f"{by_onednn:.0f}", f"{own / by_onednn:.2f}")


if __name__ == "__main__":
    main()
