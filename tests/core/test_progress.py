"""What a user sees while a model trains."""

import os
import pty
import subprocess
import sys
from pathlib import Path

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
