"""The README is true: what it quotes is what the program prints, and its code runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from conftest import write_distribution

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUOTED = dict(re.findall(r"<!-- output: (.+?) -->\n```\n(.*?)```", README, re.DOTALL))
CODE = re.findall(r"```(?:python|toml)\n(.*?)```", README, re.DOTALL)
TRAIN = "zoo train --encoder mlp --dataset mnist"
COMPOSED = re.findall(
    r"^    (zoo train .*)$", re.search(r"## A model is composed\n(.*?)```", README, re.DOTALL)[1], re.MULTILINE
)


def test_the_two_commands_stand_at_the_top_and_in_ci():
    commands = re.findall(r"^    (pip install .*)$", README, re.MULTILINE)
    assert commands == [f"pip install '.[demo]' && {TRAIN}", "pip install -e '.[test]' && pytest"]
    ci = (ROOT / ".ci" / "run").read_text()
    for step in (step for command in commands for step in command.split(" && ")):
        assert f"{step}\n" in ci or f"{step} && " in ci


@pytest.mark.parametrize("command", ["zoo --help", "zoo list"])
def test_quoted_output_is_what_the_program_prints(run_zoo, command):
    result = run_zoo("--no-plugins", *command.split()[1:])
    assert result.stdout.strip() == QUOTED[command].strip()


def test_the_default_training_prints_what_is_quoted_and_reaches_its_quality(run_zoo):
    result = run_zoo(*TRAIN.split()[1:])
    assert result.status == 0, result.stderr
    numbers = re.compile(r"[\d.,]+")
    assert numbers.sub("#", result.stdout) == numbers.sub("#", QUOTED[TRAIN])
    mse, quoted_mse = (float(re.search(r"mse ([\d.]+)", text)[1]) for text in (result.stdout, QUOTED[TRAIN]))
    assert mse <= 0.0395
    assert mse == pytest.approx(quoted_mse, abs=0.001)


@pytest.mark.parametrize("code", CODE[:2], ids=["training", "own images"])
def test_the_python_examples_run(tmp_path, zoo_environment, code):
    Image.new("RGB", (40, 30)).save(tmp_path / "my.png")
    (tmp_path / "example.py").write_text(code)
    result = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, env=zoo_environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("command", COMPOSED)
def test_a_composed_model_trains(run_zoo, command):
    quick = command.replace("--dataset mnist", "--dataset tiny")
    result = run_zoo(*quick.split()[1:], "--epochs", 1)
    assert result.status == 0, result.stderr
    assert "test  mse" in result.stdout


def test_its_images_are_reconstructed(run_zoo, tmp_path):
    (command,) = re.findall(r"^    (zoo reconstruct .*)$", README, re.MULTILINE)
    for name in ("my.png", "other.jpg"):
        Image.new("RGB", (40, 30)).save(tmp_path / name)
    assert run_zoo(*command.split()[1:]).stdout == "grid.png\n"


def test_the_example_encoder_trains(run_zoo, tmp_path):
    files = dict(re.findall(r"```python\n# (zoo_patch/\w+\.py).*?\n(.*?)```", README, re.DOTALL))
    (tmp_path / "zoo_patch").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    write_distribution(tmp_path, "zoo-patch", {"patch": "zoo_patch.plugin"}, requires=("autoencoder-zoo>=0.2,<0.3",))
    command = re.search(r"`(zoo train --encoder patch [^`]*)`", README)[1]
    result = run_zoo(
        *command.split()[1:], "--epochs", 1, "--set", "encoder.width=8", environment={"PYTHONPATH": str(tmp_path)}
    )
    assert result.status == 0, result.stderr
    assert "test  mse" in result.stdout
