"""A command that a message shows can be typed as it stands, whatever the directory is called."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import zoo

TRAIN = ("train", "--encoder", "mlp", "--dataset", "tiny", "--epochs", "1")
NAMES = ["mein läuf 1", "it's $5  now", "two\nlines"]
named = pytest.mark.parametrize("name", NAMES, ids=ascii)


def words(text):
    """Return the words of a command line as bash reads them."""
    result = subprocess.run(["bash", "-c", f"printf '%s\\0' {text}"], capture_output=True, text=True, check=True)
    return result.stdout.split("\0")[:-1]


def command_after(label, text):
    """Return the words of the command that stands after a label, up to the line's end."""
    return words(re.search(rf"{label}(.*)$", text, re.MULTILINE)[1])


@pytest.fixture(scope="module", params=NAMES, ids=ascii)
def named_run(request, tmp_path_factory):
    """A run in a directory of each name, and the name."""
    output = tmp_path_factory.mktemp("runs") / request.param
    return zoo.train(encoder="mlp", dataset="tiny", epochs=1, output=output, quiet=True)


@named
def test_a_finished_training_shows_the_next_command(run_zoo, name):
    result = run_zoo(*TRAIN, "--output", name)
    assert command_after("next  ", result.stdout) == ["zoo", "reconstruct", name, "--output", "grid.png"]


def test_a_finished_run_says_how_to_train_on(run_zoo, named_run):
    result = run_zoo("resume", named_run.directory)
    expected = ["zoo", "resume", str(named_run.directory), "--epochs", "2"]
    assert command_after("To train on: ", result.stdout) == expected


def test_an_output_in_use_says_how_to_go_on(run_zoo, named_run):
    result = run_zoo(*TRAIN, "--output", named_run.directory)
    shown = re.search(r"To go on with it: (.*)\. For another, choose", result.stderr)[1]
    assert (result.status, words(shown)) == (2, ["zoo", "resume", str(named_run.directory)])


@named
def test_a_diverged_training_says_how_to_evaluate_what_is_kept(run_zoo, name):
    result = run_zoo(
        "train", "--encoder", "mlp", "--dataset", "tiny", "--objective", "diverging", "--batch-size", 64,
        "--set", "objective.after=12", "--output", name,
    )  # fmt: skip
    assert command_after("so far is kept: ", result.stderr) == ["zoo", "eval", name]


def test_a_directory_of_runs_names_them_as_they_are_typed(run_zoo, named_run):
    result = run_zoo("eval", named_run.directory.parent)
    shown = re.search(r"it holds runs, so say which: (.*)\.$", result.stderr.rstrip())[1]
    assert words(shown) == [str(named_run.directory)]


def test_a_config_that_is_no_checkpoint_names_its_run_as_it_is_typed(run_zoo, named_run):
    result = run_zoo("eval", named_run.config_file)
    assert command_after("Give the run's directory: ", result.stderr) == [str(named_run.directory)]


@named
@pytest.mark.parametrize("suffix", ["", ".jpg"])
def test_a_picture_of_another_type_is_renamed(run_zoo, name, suffix):
    result = run_zoo("reconstruct", "mnist-mlp", "--output", f"{name}{suffix}")
    assert command_after("--output ", result.stderr) == [f"{name}.png"]


@named
def test_a_directory_that_is_missing_can_be_made(run_zoo, name):
    result = run_zoo("reconstruct", "mnist-mlp", "--output", f"{name}/grid.png")
    assert command_after(": mkdir -p ", result.stderr) == [name]


@named
def test_a_new_plugin_is_installed_and_tested_by_the_commands_shown(run_zoo, tmp_path, name):
    (tmp_path / name).mkdir()
    result = run_zoo("new-plugin", "patch", "--directory", name)
    assert command_after("next   ", result.stdout) == ["pip", "install", "-e", f"./{name}/zoo-patch[test]"]
    assert words(re.search(r"^ +(pytest .*)$", result.stdout, re.MULTILINE)[1]) == ["pytest", f"{name}/zoo-patch"]


def test_an_interrupted_training_says_how_to_go_on(tmp_path, zoo_environment):
    program = Path(sys.executable).with_name("zoo")
    process = subprocess.Popen(
        [program, *TRAIN[:-1], "100000", "--output", NAMES[1]], cwd=tmp_path, env=zoo_environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline().startswith("epoch")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert command_after("To go on: ", stderr) == ["zoo", "resume", NAMES[1]]
