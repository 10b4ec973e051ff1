"""Measure what the README claims about speed: `python -m tests.benchmarks`, from the repository's root.

Each figure is a ratio of medians over interleaved rounds in one run, so that a noisy machine hits
both sides alike. Exits with 1 when a ratio is missed.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

BATCH_SIZE = 64
ROUNDS = 7
SECONDS = 2.0
ZOO = str(Path(sys.executable).with_name("zoo"))


def main() -> None:
    table = Table("what", "ours", "other", "ratio", "must be", title="medians of interleaved rounds")
    missed = 0
    for what, ours, other, ratio, least, most in [*startup(), *throughput()]:
        bound = f"≤ {most}" if most else f"≥ {least}"
        met = ratio <= most if most else ratio >= least
        missed += not met
        table.add_row(what, ours, other, f"{ratio:.2f}", bound if met else f"[red]{bound} MISSED[/]")
    Console(width=120).print(table)
    sys.exit(1 if missed else 0)


def startup() -> Iterable[tuple[str, str, str, float, float, float]]:
    """Yield the time of light commands against that of importing torch."""
    commands = {"zoo --help": [ZOO, "--help"], "zoo list": [ZOO, "list"]}
    torch_import = [sys.executable, "-c", "import torch"]
    medians = interleaved({name: lambda c=command: seconds(c) for name, command in commands.items()}
                          | {"import torch": lambda: seconds(torch_import)})  # fmt: skip
    for name in commands:
        ours, other = medians[name], medians["import torch"]
        yield f"{name} : import torch", f"{ours:.2f} s", f"{other:.2f} s", ours / other, 0, 0.25


def throughput() -> Iterable[tuple[str, str, str, float, float, float]]:
    """Yield images a second of our loader, and of whole trainings, against the document's loader."""
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    from zoo.data import ImageDataset, training_loader
    from zoo_mnist.dataset import mnist

    with tempfile.TemporaryDirectory() as root:
        ours = ImageDataset(*mnist("train", root=root).tensors)
        mnist("test", root=root)  # torchvision wants all four files
        document = MNIST(root, transform=ToTensor())
    loaders = {
        "ours": training_loader(ours, BATCH_SIZE, seed=0),
        "document": DataLoader(document, batch_size=BATCH_SIZE, shuffle=True),
    }
    loaded = interleaved({name: lambda it=loader: images_per_second(it) for name, loader in loaders.items()})
    yield rate_row(f"batches of {BATCH_SIZE}, loader alone", loaded["ours"], loaded["document"], 6)

    def document_training() -> float:
        model = torch.nn.Sequential(
            torch.nn.Linear(784, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3),
            torch.nn.Linear(3, 64), torch.nn.ReLU(), torch.nn.Linear(64, 784),
        )  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

        def step(images: torch.Tensor) -> None:
            pixels = images.view(images.size(0), -1)
            loss = torch.nn.functional.mse_loss(model(pixels), pixels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return images_per_second(loaders["document"], step)

    trained = interleaved({"ours": our_training, "document": document_training})
    yield rate_row(f"training at batch {BATCH_SIZE}, `zoo.train`", trained["ours"], trained["document"], 0)


def our_training() -> float:
    """Return the images a second that `zoo.train` writes into metrics.csv, for one epoch."""
    import zoo

    with tempfile.TemporaryDirectory() as directory:
        run = zoo.train(
            encoder="mlp", dataset="mnist", epochs=1, batch_size=BATCH_SIZE, output=Path(directory) / "run", quiet=True
        )
        return run.history[-1]["images_per_second"]


def interleaved(measurements: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Return the median of each measurement over rounds in which every one of them takes its turn."""
    values: dict[str, list[float]] = {name: [] for name in measurements}
    for _ in range(ROUNDS):
        for name, measure in measurements.items():
            values[name].append(measure())
    return {name: statistics.median(series) for name, series in values.items()}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def images_per_second(loader: Iterable, step: Callable = lambda images: None) -> float:
    """Return the images a second over about two seconds of batches."""
    count, start = 0, time.perf_counter()
    while True:
        for images, _ in loader:
            step(images)
            count += len(images)
            elapsed = time.perf_counter() - start
            if elapsed > SECONDS:
                return count / elapsed


def rate_row(what: str, ours: float, other: float, least: float) -> tuple[str, str, str, float, float, float]:
    return f"{what} : the document's", f"{ours:,.0f} images/s", f"{other:,.0f} images/s", ours / other, least, 0


if __name__ == "__main__":
    main()
