"""Ctrl-C and SIGTERM: the prompt comes back, and what was finished is kept."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from zoo.training import callbacks

ZOO = str(Path(sys.executable).with_name("zoo"))
ENDLESS = ["train", "--encoder", "mlp", "--dataset", "tiny", "--epochs", "100000", "--output", "run"]


def start(directory, environment, *arguments):
    """Start an endless training, and return it when two epochs are finished."""
    process = subprocess.Popen(
        [ZOO, *ENDLESS, *arguments], cwd=directory, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    for _ in range(2):
        assert process.stdout.readline().startswith("epoch")
    return process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("arguments", [(), ("--devices", "2", "--accelerator", "cpu")], ids=["one", "two"])
def test_a_signal_ends_training_and_the_best_epoch_is_kept(
    number, status, arguments, tmp_path, zoo_environment, run_zoo
):
    process = start(tmp_path, zoo_environment, *arguments)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == status
    assert stderr.startswith(f"zoo: Stopped by {number.name} in epoch ")
    assert stderr.endswith(". To go on: zoo resume run\n")
    assert stderr.count("\n") == 1
    assert run_zoo("eval", "run").status == 0


def test_a_signal_before_the_first_epoch_ends_says_how_to_go_on(tmp_path, zoo_environment):
    huge = ("--set", "encoder.hidden=4096,4096,4096,4096", "--batch-size", "1")
    process = subprocess.Popen(
        [ZOO, *ENDLESS, *huge], cwd=tmp_path, env=zoo_environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while not (tmp_path / "run" / "config.json").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr == "zoo: Stopped by SIGINT in epoch 1. To go on: zoo resume run\n"


def test_a_second_signal_leaves_at_once(monkeypatch):
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.setattr(callbacks, "GRACE_SECONDS", 1_000_000)
    with callbacks.Interruption("").watching():
        os.kill(os.getpid(), signal.SIGINT)
        assert left == []
        os.kill(os.getpid(), signal.SIGINT)
    assert left == [130]


@pytest.mark.parametrize(
    ("advice", "said"),
    [("To go on: zoo resume run", "zoo: Stopped by SIGTERM. To go on: zoo resume run\n"), ("", "")],
    ids=["the first process", "one that only helps"],
)
def test_without_a_safe_point_the_grace_ends_and_the_first_process_says_how_to_go_on(advice, said, monkeypatch, capsys):
    left = threading.Event()
    monkeypatch.setattr(os, "_exit", lambda _: left.set())
    monkeypatch.setattr(callbacks, "GRACE_SECONDS", 0)
    with callbacks.Interruption(advice).watching():
        os.kill(os.getpid(), signal.SIGTERM)
        assert left.wait(timeout=60)
    assert capsys.readouterr().err == said
