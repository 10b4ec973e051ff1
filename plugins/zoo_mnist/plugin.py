"""What this plugin offers."""

from __future__ import annotations

from collections.abc import Iterator

from zoo import DatasetSpec, hookimpl


@hookimpl
def zoo_datasets() -> Iterator[DatasetSpec]:
    yield DatasetSpec(
        name="mnist",
        target="zoo_mnist.dataset:mnist",
        summary="Handwritten digits, grey, 28×28",
        image_shape=(1, 28, 28),
        splits={"train": 60_000, "test": 10_000},
        licence="CC-BY-SA-3.0",
        credit="Yann LeCun, Corinna Cortes, Christopher J. C. Burges; from NIST Special Databases 1 and 3",
    )
