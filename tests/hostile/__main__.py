"""Load thousands of damaged and hostile checkpoints, and print what became of them.

    python -m tests.hostile           2,000 mutations and every bit of 1,000 bytes
    python -m tests.hostile 17 23     only the mutations of these numbers, and what they are

Environment: ZOO_MUTATIONS and ZOO_FLIPPED_BYTES are how many, ZOO_SEED which. Exits with 1 when one
was neither accepted as what it is nor refused in one line.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from tests.hostile.judge import Judge, settle_memory
from tests.hostile.mutations import Mutant, explode, mutate
from tests.hostile.subjects import good_checkpoints, install_plugins

MUTATIONS = int(os.environ.get("ZOO_MUTATIONS", "2000"))
BOMBS = max(60, MUTATIONS // 500)
FLIPPED_BYTES = int(os.environ.get("ZOO_FLIPPED_BYTES", "1000"))
SEED = int(os.environ.get("ZOO_SEED", "0"))
GROWTH = 16 * 2**20  # of memory over the second half of the mutations


def main() -> None:
    faulthandler.enable()
    memory = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory() as plugins, tempfile.TemporaryDirectory(dir=memory) as directory:
        install_plugins(Path(plugins))
        raws = good_checkpoints(Path(directory))
        path = Path(directory) / "mutant.safetensors"
        if numbers := list(map(int, sys.argv[1:])):
            sys.exit(1 if show(numbers, raws, path) else 0)
        failures = load_mutations(raws, Judge(path)) + load_bombs(raws, Judge(path)) + flip_bits(raws, Judge(path))
    sys.exit(1 if failures else 0)


def show(numbers: list[int], raws: list[bytes], path: Path) -> int:
    judge = Judge(path)
    for number in numbers:
        mutant = mutate(raws, Random(f"{SEED}:{number}"))
        judge.try_one(f"mutation {number}", mutant)
        print(f"mutation {number}: {len(mutant.raw):,} bytes, {', '.join(mutant.history)}")
    return _report(judge)


def load_mutations(raws: list[bytes], judge: Judge) -> int:
    """Load the mutations, print what became of them, and return how many failed."""
    for raw in raws:
        judge.try_one("a good checkpoint", Mutant(raw, raw, []))
    judge.accepted = 0
    started, half = time.perf_counter(), 0
    for number in range(MUTATIONS):
        if number == MUTATIONS // 2:
            half = settle_memory()
        judge.try_one(f"mutation {number}", mutate(raws, Random(f"{SEED}:{number}")))
    growth = settle_memory() - half
    if growth > GROWTH:
        judge.failures.append(f"{growth / 2**20:.1f} MB more memory after the second half of the mutations")
    print(f"{MUTATIONS:,} mutations of {len(raws)} checkpoints, seed {SEED}, {time.perf_counter() - started:.0f} s")
    print(f"memory grew by {growth / 2**20:.1f} MB over the second half of them")
    return _report(judge)


def load_bombs(raws: list[bytes], judge: Judge) -> int:
    """Load files with megabytes of what is small in a file and large in memory, or takes long to read."""
    for number in range(BOMBS):
        judge.try_one(f"bomb {number}", explode(raws, Random(f"{SEED}:bomb:{number}")))
    print(f"\n{BOMBS} bombs")
    return _report(judge)


def flip_bits(raws: list[bytes], judge: Judge) -> int:
    """Flip every bit of some bytes, alone; print and return as `load_mutations` does."""
    random = Random(SEED)
    for _ in range(FLIPPED_BYTES):
        raw = random.choice(raws)
        byte = random.randrange(random.choice([8, 2000, len(raw)]))
        for bit in range(8):
            damaged = bytearray(raw)
            damaged[byte] ^= 1 << bit
            judge.try_one(f"bit {bit} of byte {byte}", Mutant(bytes(damaged), raw, []))
    print(f"\n{8 * FLIPPED_BYTES:,} files of which one bit was flipped")
    if judge.accepted:
        judge.failures.append(f"{judge.accepted} flipped bits were not noticed")
    return _report(judge)


def _report(judge: Judge) -> int:
    print(f"{judge.accepted:,} accepted as what they are, {sum(judge.refusals.values()):,} refused in one line:")
    for message, count in judge.refusals.most_common():
        print(f"{count:>9,}  {message}")
    print(f"slowest refusal {judge.slowest:.2f} s of CPU")
    print(f"most memory beyond three times the file {judge.largest / 2**20:.0f} MB")
    print(f"{len(judge.failures)} failures")
    for failure in judge.failures[:20]:
        print(f"  {failure}")
    return len(judge.failures)


if __name__ == "__main__":
    main()
