"""What the benchmarks share: rounds in which every measurement takes its turn, and rows with bounds."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

ROUNDS = int(os.environ.get("ZOO_BENCHMARK_ROUNDS", "7"))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Print nothing meanwhile: no progress bar, no advice."""
    logging.disable(logging.WARNING)
    silence = io.StringIO()
    both = contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence)
    with warnings.catch_warnings(action="ignore"), both[0], both[1]:
        yield
    logging.disable(logging.NOTSET)


@dataclass(frozen=True)
class Figure:
    """A measurement's values, one a round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def text(self, unit: str) -> str:
        """Return the median with the lowest and the highest value."""
        digits = 0 if self.median >= 100 else 2
        low, middle, high = (f"{value:,.{digits}f}" for value in (min(self.values), self.median, max(self.values)))
        return f"{middle} {unit} ({low}–{high})"


@dataclass(frozen=True)
class Row:
    """A ratio of two figures and its bound: at least, or at most; None where it is only told."""

    what: str
    ours: Figure
    other: Figure
    unit: str
    least: float | None = None
    most: float | None = None

    @property
    def ratio(self) -> float:
        return self.ours.median / self.other.median

    @property
    def missed(self) -> bool:
        return bool((self.least and self.ratio < self.least) or (self.most and self.ratio > self.most))

    @property
    def bound(self) -> str:
        bound = f"≥ {self.least:g}" if self.least else f"≤ {self.most:g}" if self.most else ""
        return f"{bound} MISSED" if self.missed else bound


class Elsewhere:
    """A measurement that another process takes, time after time.

    What one means does to its process, to its memory or its threads, shall neither help nor harm another.

    Args:
        module: Prints "ready" when it is, takes one whenever it is sent a line, and prints it.
        arguments: Of the module.
    """

    def __init__(self, module: str, *arguments: object) -> None:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n", f"{' '.join(command)} does not start"

    def __call__(self) -> float:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def interleaved(measurements: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, Figure]:
    """Measure in rounds in which each takes its turn, so that a busy machine hits all alike."""
    values: dict[str, list[float]] = {name: [] for name in measurements}
    for _ in range(rounds):
        for name, measure in measurements.items():
            values[name].append(measure())
    return {name: Figure(tuple(series)) for name, series in values.items()}


def show(rows: Iterable[Row]) -> int:
    """Print a table of rows, each also when it is measured, and return how many bounds were missed."""
    table = Table("what", "ours", "other", "ratio", "must be")
    missed = 0
    for row in rows:
        cells = row.what, row.ours.text(row.unit), row.other.text(row.unit), f"{row.ratio:.2f}", row.bound
        table.add_row(*cells)
        print(*cells, sep="  ", file=sys.stderr)
        missed += row.missed
    Console(width=170).print(table)
    return missed
