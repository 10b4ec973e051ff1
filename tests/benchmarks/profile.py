"""Where the time of a training goes: `python -m tests.benchmarks.profile`, from the repository's root.

Prints how many microseconds a step of the document's model takes, and in which parts, with one batch
in a call of Lightning, with as many as `zoo train` takes, and with --compile.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table
from tests.benchmarks.measure import quiet

import zoo
from zoo.data import splits as data
from zoo.training import callbacks, step
from zoo.training.lightning_module import LitAutoencoder

EPOCHS, BATCH_SIZE = 6, 64
STEPS = -(-54_000 // BATCH_SIZE)  # of an epoch
PARTS: dict[str, tuple[Any, str]] = {
    "uint8 to floats": (data, "to_float"),
    "schedules, counting": (LitAutoencoder, "_count_step"),
    "validation": (LitAutoencoder, "validation_step"),
    "files": (callbacks.KeepState, "on_train_epoch_end"),
}


def main() -> None:
    runs = {
        "1 batch a call": profile(1),
        f"{data.SPAN_BATCHES} batches a call": profile(data.SPAN_BATCHES),
        "and --compile": profile(data.SPAN_BATCHES, compiled=True),
    }
    table = Table(
        "µs a step", *runs, title=f"the document's model, batch {BATCH_SIZE}, {EPOCHS} epochs", title_justify="left"
    )
    for part in next(iter(runs.values())):
        table.add_row(part, *(f"{run[part]:,.0f}" for run in runs.values()))
    Console(width=110).print(table)


def profile(batches_a_call: int, *, compiled: bool = False) -> dict[str, float]:
    """Return the microseconds of each part in a step; each call of a part counts as its median."""
    owner = step.CompiledStep if compiled else step.Step
    parts = {"losses, gradients, Adam": (owner, "__call__"), **PARTS}
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory, quiet():
        patch.setattr(data, "SPAN_BATCHES", batches_a_call)
        clocks = {name: clock(patch, *part) for name, part in parts.items()}
        run = zoo.train(
            encoder="mlp", dataset="mnist", accelerator="cpu", epochs=EPOCHS, batch_size=BATCH_SIZE, compile=compiled,
            output=Path(directory) / "run",
        )  # fmt: skip
        epoch = statistics.median(row["seconds"] for row in run.history)
    shares = {name: statistics.median(times) * len(times) / EPOCHS for name, times in clocks.items()}
    rest = epoch - sum(shares.values())
    return {
        name: seconds / STEPS * 1e6 for name, seconds in {**shares, "Lightning, the rest": rest, "all": epoch}.items()
    }


def clock(patch: pytest.MonkeyPatch, owner: Any, name: str) -> list[float]:
    """Return where the seconds of each call of a function will be noted."""
    function, times = getattr(owner, name), []

    def timed(*arguments: Any, **settings: Any) -> Any:
        started = time.perf_counter()
        result = function(*arguments, **settings)
        times.append(time.perf_counter() - started)
        return result

    patch.setattr(owner, name, timed)
    return times


if __name__ == "__main__":
    main()
