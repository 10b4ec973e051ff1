"""Training speed of this version against that of another one: `python -m tests.benchmarks.versions PYTHON`.

PYTHON is the interpreter of an environment in which the other version is installed. Both run in
processes of their own, which take turns; each round trains the document's model for two epochs. Printed
are the median of the rounds' ratios (this version over the other) and its 95 % interval, from ranks.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

ROUNDS = 31
PROGRAM = """
import sys, tempfile
import torch, zoo
torch.set_num_threads(int(sys.argv[1]))
settings = {"threads": int(sys.argv[1])} if "threads" in zoo.RunConfig.model_fields else {}
for line in sys.stdin:
    with tempfile.TemporaryDirectory() as directory:
        run = zoo.train(
            encoder="mlp", dataset="mnist", batch_size=int(sys.argv[2]), epochs=2, accelerator="cpu", quiet=True,
            output=directory + "/run", **settings,
        )
        print(run.history[-1]["images_per_second"], flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("python", type=Path, help="interpreter of the other version's environment")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=128)
    given = parser.parse_args()
    here, there = (start(python, given.threads, given.batch_size) for python in (Path(sys.executable), given.python))
    speed(here), speed(there)  # what is read and compiled once
    ratios = []
    for number in range(ROUNDS):
        first, second = (here, there) if number % 2 else (there, here)
        speeds = {id(each): speed(each) for each in (first, second)}
        ratios.append(speeds[id(here)] / speeds[id(there)])
        print(f"{speeds[id(here)]:10,.0f} {speeds[id(there)]:10,.0f} images/s  ratio {ratios[-1]:.3f}", flush=True)
    ranked = sorted(ratios)
    low, high = ranked[9], ranked[-10]  # the binomial interval of the median of 31
    print(f"median ratio {statistics.median(ratios):.3f}, 95 % interval {low:.3f} to {high:.3f}")


def start(python: Path, threads: int, batch_size: int) -> subprocess.Popen[str]:
    """Start a process that trains once for each line that it is given."""
    command = [str(python), "-c", PROGRAM, str(threads), str(batch_size)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")


def speed(process: subprocess.Popen[str]) -> float:
    """Return the training images a second of one training."""
    assert process.stdin
    assert process.stdout
    process.stdin.write("train\n")
    process.stdin.flush()
    return float(process.stdout.readline())


if __name__ == "__main__":
    main()
