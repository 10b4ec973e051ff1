"""A run's pictures depend on nothing of the user's, and a run is finished without them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pytest

import zoo
from conftest import Result
from zoo.evaluation.pictures import training_curves

ZOO = str(Path(sys.executable).with_name("zoo"))
TRAIN = ["train", "--encoder", "mlp", "--dataset", "tiny", "--epochs", "1", "--output", "run"]
HISTORY = [{"epoch": 1, "train_loss": 0.5, "val_loss": 0.6}, {"epoch": 2, "train_loss": 0.3, "val_loss": 0.4}]
ABSENT_BACKEND = {"MPLBACKEND": "module://absent.backend_inline"}  # as matplotlib_inline's outside the notebook
LATEX = "text.usetex: True\nfont.family: Nowhere\nfigure.figsize: 1, 1\n"


def run(arguments: list[str], directory: Path, environment: dict[str, str]) -> None:
    result = subprocess.run([ZOO, *arguments], cwd=directory, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_no_command_needs_the_users_backend(zoo_environment: dict[str, str], tmp_path: Path) -> None:
    environment = zoo_environment | ABSENT_BACKEND
    run(TRAIN, tmp_path, environment)
    run(["eval", "run"], tmp_path, environment)
    run(["resume", "run", "--epochs", "2"], tmp_path, environment)
    run(["reconstruct", "run"], tmp_path, environment)


@pytest.mark.parametrize("place", ["working directory", "MATPLOTLIBRC"])
def test_no_picture_depends_on_the_users_style(zoo_environment: dict[str, str], tmp_path: Path, place: str) -> None:
    styled, plain = tmp_path / "styled", tmp_path / "plain"
    for directory in (styled, plain):
        directory.mkdir()
    settings = (styled if place == "working directory" else tmp_path) / "matplotlibrc"
    settings.write_text(LATEX)
    variables = {} if place == "working directory" else {"MATPLOTLIBRC": str(settings)}
    run(TRAIN, styled, zoo_environment | variables)
    run(TRAIN, plain, zoo_environment)
    for name in ("curves.png", "reconstructions.png"):
        assert (styled / "run" / name).read_bytes() == (plain / "run" / name).read_bytes()


def test_the_users_settings_are_theirs_again_when_a_picture_is_drawn(tmp_path: Path) -> None:
    with matplotlib.rc_context({"text.usetex": True, "lines.linewidth": 7.0}):
        before = dict(matplotlib.rcParams)
        training_curves(HISTORY, tmp_path / "curves.png")
        assert dict(matplotlib.rcParams) == before


def backend_after(code: str, environment: dict[str, str]) -> str:
    code = f"{code}; import matplotlib; print(matplotlib.rcParams['backend'])"
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout


def test_a_backend_that_is_installed_stays_the_users(zoo_environment: dict[str, str]) -> None:
    environment = zoo_environment | {"MPLBACKEND": "svg"}
    assert backend_after("import zoo; zoo.train", environment) == backend_after("pass", environment) == "svg\n"


@pytest.mark.parametrize(
    ("function", "name"), [("training_curves", "curves.png"), ("reconstruction_grid", "reconstructions.png")]
)
def test_a_run_is_finished_without_a_picture_that_cannot_be_drawn(
    function: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no\nfonts.")

    monkeypatch.setattr(f"zoo.training.fit.{function}", fail)
    finished = zoo.train(encoder="mlp", dataset="tiny", epochs=1, output=tmp_path / "run", quiet=True)
    assert finished.test_metrics is not None
    others = {"curves.png", "reconstructions.png"} - {name}
    assert {path.name for path in finished.directory.glob("*.png")} == others
    (message,) = caplog.messages
    where = re.escape(str(finished.directory))
    assert re.fullmatch(
        rf"zoo: Cannot draw {where}/{name} \(RuntimeError: no fonts\)\. The run is complete without it\.", message
    )


def test_the_report_lists_only_the_files_that_are_there(
    run_zoo: Callable[..., Result], zoo_environment: dict[str, str], tmp_path: Path
) -> None:
    assert run_zoo(*TRAIN).stdout.count("curves.png") == 1
    program = "import zoo.training.fit as t; t.training_curves = None; from zoo.cli import main; main()"
    arguments = ["resume", "run", "--epochs", "2"]
    (tmp_path / "run" / "curves.png").unlink()
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=tmp_path, env=zoo_environment, capture_output=True, text=True
    )
    assert result.returncode == 0
    assert "curves.png" not in result.stdout
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("zoo: Cannot draw run/curves.png (")
