"""Plugins outside the repository, what `zoo new-plugin` writes and the README's, build, install, pass and train."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from conftest import install_fresh, run

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def programs(wheel, tmp_path_factory):
    """The programs of a fresh virtual environment that holds the project's wheel."""
    environment = tmp_path_factory.mktemp("new-plugin") / "environment"
    install_fresh(wheel, environment)
    return environment / "bin"


def build_and_install(programs, plugin):
    wheels = plugin.parent / "wheels"
    run([sys.executable, "-m", "build", "--wheel", "--outdir", wheels, plugin], cwd=plugin.parent)
    (built,) = wheels.glob("*.whl")
    run([programs / "python", "-m", "pip", "install", "--quiet", "--no-deps", built])


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("encoder", "3d.wavelet"),
        ("decoder", "my-decoder"),
        ("objective", "objective"),
        ("distortion", "my-distortion"),
        ("dataset", "tensor"),
    ],
)
def test_a_new_plugin_builds_installs_passes_its_tests_and_trains(programs, tmp_path, kind, name):
    written = run([programs / "zoo", "new-plugin", name, "--kind", kind], cwd=tmp_path)
    (train,) = (line.strip() for line in written.splitlines() if line.strip().startswith("zoo train"))

    (plugin,) = tmp_path.glob("zoo-*")
    build_and_install(programs, plugin)

    elsewhere = tmp_path / "elsewhere"  # so that the installed package is tested, not the folder
    elsewhere.mkdir()
    report = run([programs / "python", "-m", "pytest", "-W", "error", plugin], cwd=elsewhere)
    assert " passed" in report
    trained = run([programs / "zoo", *shlex.split(train)[1:], "--epochs", "1", "--output", "run"], cwd=elsewhere)
    assert "test  mse" in trained
    assert (elsewhere / "run" / "model.safetensors").exists()


def test_the_encoder_in_the_readme_builds_installs_and_passes_its_tests(programs, tmp_path):
    plugin = tmp_path / "zoo-patch"
    for path, text in re.findall(r"```\w+\n# ([\w/]+\.\w+).*\n([^`]*)```", README.partition("## A new encoder")[2]):
        (plugin / path).parent.mkdir(parents=True, exist_ok=True)
        (plugin / path).write_text(text, encoding="utf-8")
    build_and_install(programs, plugin)
    assert " passed" in run([programs / "python", "-m", "pytest", "-W", "error", plugin / "tests"], cwd=tmp_path)
