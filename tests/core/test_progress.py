"""What a user sees while a model trains."""

import os
import pty
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

import zoo
from zoo.training.lightning_module import LitAutoencoder
from zoo.training.progress import Progress

ZOO = str(Path(sys.executable).with_name("zoo"))
TRAIN = ("train", "--encoder", "mlp", "--dataset", "tiny", "--epochs", "2", "--output", "run")


def test_piped_output_is_one_plain_line_an_epoch_and_a_closing(run_zoo):
    result = run_zoo(*TRAIN)
    lines = result.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2", "test", "kept", "also", "next"]
    assert lines[0].endswith("images/s")
    assert "\x1b" not in result.stdout
    assert result.stderr == ""


def test_the_closing_line_is_a_command_that_works(run_zoo, tmp_path):
    closing = run_zoo(*TRAIN).stdout.splitlines()[-1]
    assert closing.startswith("next  zoo ")
    assert run_zoo(*closing.split()[2:]).status == 0
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")


def test_quiet_prints_nothing(run_zoo):
    result = run_zoo(*TRAIN, "--quiet")
    assert (result.status, result.stdout, result.stderr) == (0, "", "")


def test_a_terminal_shows_a_bar_with_loss_and_images_per_second(tmp_path, zoo_environment):
    terminal, program_side = pty.openpty()
    environment = zoo_environment | {"TERM": "xterm", "COLUMNS": "120"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        [ZOO, *TRAIN, "--batch-size", "1"], cwd=tmp_path, env=environment, stdout=program_side, stderr=program_side
    ):
        os.close(program_side)
        seen = b""
        while chunk := read(terminal):
            seen += chunk
    text = seen.decode()
    assert "Loading PyTorch Lightning" in text
    assert "━" in text
    assert "images/s" in text.split("epoch 1/2  train loss")[0]


def read(terminal):
    try:
        return os.read(terminal, 65_536)
    except OSError:  # how Linux says that the other side is closed
        return b""


# Without a terminal


class Clock:
    """A clock that a test sets."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


TRAINER = SimpleNamespace(
    current_epoch=0,
    max_epochs=10,
    world_size=1,
    num_val_batches=[4],
    train_dataloader=SimpleNamespace(sampler=SimpleNamespace(count=2000)),
)
MODULE = object.__new__(LitAutoencoder)
object.__setattr__(MODULE, "step", SimpleNamespace(compile_seconds=0.0))


def begun(clock):
    """Return the progress of an epoch of 2,000 images, 700 of which are trained on."""
    row = {"epoch": 1, "train_loss": 0.05, "val_loss": 0.06, "images_per_second": 1234.4}
    progress = Progress(SimpleNamespace(images=700, images_per_second=1234.4, row=row), clock)
    progress.on_train_start(TRAINER, MODULE)
    return progress


def lines_after(seconds, clock, progress, capsys):
    clock.seconds += seconds
    progress.on_batch_end(TRAINER, MODULE, torch.tensor(0.05123), 100)
    return capsys.readouterr().out.splitlines()


LINE = "epoch 1/10  35 %  loss 0.0512  1,234 images/s"


def test_redirected_output_has_a_line_after_30_seconds_without_one(clock, capsys):
    progress = begun(clock)
    seen = [lines_after(seconds, clock, progress, capsys) for seconds in (29.9, 0.1, 29.9, 0.1)]
    assert seen == [[], [LINE], [], [LINE]]


def test_the_line_of_an_epoch_counts_as_one(clock, capsys):
    progress = begun(clock)
    clock.seconds += 20
    progress.on_train_epoch_end(TRAINER, MODULE)
    capsys.readouterr()
    assert lines_after(29, clock, progress, capsys) == []
    assert lines_after(1, clock, progress, capsys) == [LINE]


def test_a_long_validation_shows_where_it_is(clock, capsys):
    progress = begun(clock)
    for batch in range(4):
        clock.seconds += 20
        progress.on_validation_batch_end(TRAINER, MODULE, None, None, batch)
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1/10  validation 50 %",
        "epoch 1/10  validation 100 %",
    ]


def test_a_training_prints_where_it_is_in_each_epoch(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("zoo.training.progress.LINE_SECONDS", 0.0)
    zoo.train(encoder="mlp", dataset="tiny", epochs=1, batch_size=144, output=tmp_path / "run", accelerator="cpu")
    lines = capsys.readouterr().out.splitlines()
    parts = [line.split("  ")[:2] for line in lines]
    trained = [["epoch 1/1", f"{share} %"] for share in (25, 50, 75, 100)]
    assert parts[:5] == [*trained, ["epoch 1/1", "validation 100 %"]]
    assert lines[5].startswith("epoch 1/1  train loss")


class NotebookOutput:
    """Stands for IPython's display of a cell that trains: what its replaced line has shown."""

    def __init__(self):
        self.shown = []

    def display(self, *data, raw=False, display_id=None, **_):
        if display_id:
            self.shown.append(data[0]["text/plain"])
        return self

    def update(self, data, raw=False):
        self.shown.append(data["text/plain"])


def test_a_notebook_shows_a_line_that_is_replaced_every_second(monkeypatch, clock):
    output = NotebookOutput()
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setattr("builtins.get_ipython", lambda: shell, raising=False)  # what a notebook's kernel defines
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=output.display))
    progress = begun(clock)
    for seconds in (0.5, 0.5, 0.5, 0.5):
        clock.seconds += seconds
        progress.on_batch_end(TRAINER, MODULE, torch.tensor(0.05123), 100)
    progress.on_train_end(TRAINER, MODULE)
    assert output.shown == ["", LINE, LINE, ""]
