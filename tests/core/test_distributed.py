"""Two CPU processes over gloo train as one does."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zoo.training import processes

ZOO = str(Path(sys.executable).with_name("zoo"))
TORCHRUN = str(Path(sys.executable).with_name("torchrun"))
SHARED_MEMORY = Path(processes.SHARED_MEMORY)
TRAIN = ["train", "--dataset", "tiny", "--batch-size", "64", "--epochs", "3", "--accelerator", "cpu"]


def losses(command, directory, environment):
    """Run a training in a real process and return its training and validation loss for each epoch."""
    quiet = {name: value for name, value in environment.items() if name != "PYTHONWARNINGS"}  # torchrun's own
    result = subprocess.run([*command, "--output", "run"], cwd=directory, env=quiet, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("test  mse") == 1
    with (directory / "run" / "metrics.csv").open() as file:
        return [(float(row["train_loss"]), float(row["val_loss"])) for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("command", "flags", "encoder"),
    [
        pytest.param([ZOO], ["--devices", "2", "--strategy", "ddp"], "conv", id="devices"),
        pytest.param([TORCHRUN, "--nproc-per-node", "2", ZOO], [], "mlp", id="torchrun"),
    ],
)
def test_two_processes_have_the_losses_of_one(command, flags, encoder, tmp_path, zoo_environment):
    train = [*TRAIN, "--encoder", encoder]
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
    before = set(SHARED_MEMORY.iterdir())
    one = losses([ZOO, *train], tmp_path / "one", zoo_environment)
    two = losses([*command, *train, *flags], tmp_path / "two", zoo_environment)
    assert np.array(two) == pytest.approx(np.array(one), abs=1e-5)
    assert not [path for path in set(SHARED_MEMORY.iterdir()) - before if path.name.startswith("zoo-")]


def test_a_batch_that_two_processes_cannot_share_is_refused(run_zoo):
    result = run_zoo(*TRAIN, "--encoder", "mlp", "--devices", 2, "--batch-size", 63, "--epochs", 1)
    message = "batch_size (--batch-size): 63 cannot be shared equally by 2 processes: --batch-size 64 can."
    assert (result.status, result.stderr) == (2, f"zoo: {message}\n")
