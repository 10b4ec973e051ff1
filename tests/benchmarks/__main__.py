"""Measure what is claimed about speed, against other means on the same machine: `python -m tests.benchmarks`.

From the repository's root, with `pip install -e '.[bench]'`, on a machine that has nothing else to do:
it takes about twenty minutes, or longer with more rounds than seven (ZOO_BENCHMARK_ROUNDS). Names of
parts measure those alone: `python -m tests.benchmarks throughput`.

Prints a table, and exits with 1 when a bound is missed. Each figure is the median of interleaved
rounds, with the lowest and the highest in brackets.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from itertools import chain

from tests.benchmarks import commands, cuda, measure, throughput

PARTS = {"commands": commands.rows, "throughput": throughput.rows, "cuda": cuda.rows}
PEERS = ("torch", "torchvision", "pytorch-lightning", "pythae", "jax")


def main() -> None:
    parts = sys.argv[1:] or list(PARTS)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PEERS)
    print(f"{versions}; Python {platform.python_version()}, {os.cpu_count()} CPU cores, {measure.ROUNDS} rounds")
    missed = measure.show(chain.from_iterable(PARTS[part]() for part in parts))
    if "throughput" in parts:
        cold, warm = commands.compile_seconds()
        print(f"--compile compiles for {cold:.1f} s the first time, for {warm:.1f} s from its cache")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
