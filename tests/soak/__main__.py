"""Measure the memory of a long training, and of many trainings in one process.

    python -m tests.soak

One process trains for all the epochs. Another trains ten epochs at a time, and after each ten
evaluates the run on its test images and draws its pictures, as a notebook would. Both train a
small model on a small dataset: what leaks does so by the epoch, not by the size.

Environment: ZOO_SOAK_EPOCHS is how many, 200 by default. Exits with 1 when the last quarter of the
figures has a median that is 5 % above that of the second quarter; the first is warming up.
"""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.hostile.judge import settle_memory
from tests.hostile.subjects import install_plugins

EPOCHS = int(os.environ.get("ZOO_SOAK_EPOCHS", "200"))
EPOCHS_A_ROUND = 10
GROWTH = 0.05
SETTINGS = {"encoder": "conv", "objective": "vae", "dataset": "tiny"}


def main() -> None:
    with tempfile.TemporaryDirectory() as plugins, tempfile.TemporaryDirectory() as directory:
        paths = install_plugins(Path(plugins))
        if sys.argv[1:] == ["rounds"]:
            rounds(Path(directory))
            return
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        flat = [
            is_flat(f"one training of {EPOCHS} epochs", one_training(Path(directory), environment)),
            is_flat(f"{EPOCHS_A_ROUND} epochs, an evaluation and pictures a time", many_trainings(environment)),
        ]
    sys.exit(0 if all(flat) else 1)


def one_training(directory: Path, environment: dict[str, str]) -> list[float]:
    """Return the megabytes that `zoo train` holds when it reports each epoch."""
    settings = [part for name, value in SETTINGS.items() for part in (f"--{name}", value)]
    command = [
        str(Path(sys.executable).with_name("zoo")),
        "train",
        *settings,
        "--epochs",
        str(EPOCHS),
        "--output",
        "run",
    ]
    figures = []
    with subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("epoch"):
                pages = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
                figures.append(int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20)
    assert process.returncode == 0
    return figures


def many_trainings(environment: dict[str, str]) -> list[float]:
    """Return the megabytes that a process holds after each of its rounds."""
    command = [sys.executable, "-m", "tests.soak", "rounds"]
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [float(line) for line in output.split()]


def rounds(directory: Path) -> None:
    """Train, evaluate and draw again and again; print the megabytes that are held after each time."""
    import zoo
    from zoo.data.splits import load_split
    from zoo.evaluation.pictures import reconstruction_grid, training_curves

    for number in range(EPOCHS // EPOCHS_A_ROUND):
        run = zoo.train(**SETTINGS, epochs=EPOCHS_A_ROUND, output=directory / str(number), quiet=True)
        zoo.evaluate(run.directory)
        images = load_split(zoo.installed().get("dataset", SETTINGS["dataset"]), {}, "test")
        reconstruction_grid(run.load(), images, directory / "reconstructions.png")
        training_curves(run.history, directory / "curves.png")
        gc.collect()  # what awaits collection is not lost
        print(settle_memory() / 2**20, flush=True)


def is_flat(what: str, figures: list[float]) -> bool:
    """Print how memory went, and say whether it stayed where it was."""
    quarter = len(figures) // 4
    early, late = statistics.median(figures[quarter : 2 * quarter]), statistics.median(figures[-quarter:])
    print(f"{what}: {len(figures)} figures, from {min(figures):.1f} to {max(figures):.1f} MB")
    print(f"  second quarter {early:.1f} MB, last quarter {late:.1f} MB: {100 * (late / early - 1):+.2f} %")
    return late <= (1 + GROWTH) * early


if __name__ == "__main__":
    main()
