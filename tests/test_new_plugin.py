"""What `zoo new-plugin` writes builds, installs, passes the contract tests and trains, outside the repository."""

import shlex
import sys

import pytest

from conftest import install_fresh, run
from zoo.specs import KINDS


@pytest.fixture(scope="module")
def programs(wheel, tmp_path_factory):
    """The programs of a fresh virtual environment that holds the project's wheel."""
    environment = tmp_path_factory.mktemp("new-plugin") / "environment"
    install_fresh(wheel, environment)
    return environment / "bin"


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_builds_installs_passes_its_tests_and_trains(programs, tmp_path, kind):
    name = f"my-{kind}"
    written = run([programs / "zoo", "new-plugin", name, "--kind", kind], cwd=tmp_path)
    (train,) = (line.strip() for line in written.splitlines() if line.strip().startswith("zoo train"))

    plugin = tmp_path / f"zoo-{name}"
    run([sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, plugin], cwd=tmp_path)
    (built,) = tmp_path.glob("*.whl")
    run([programs / "python", "-m", "pip", "install", "--quiet", "--no-deps", built])

    elsewhere = tmp_path / "elsewhere"  # so that the installed package is tested, not the folder
    elsewhere.mkdir()
    report = run([programs / "python", "-m", "pytest", "-W", "error", plugin], cwd=elsewhere)
    assert " passed" in report
    trained = run([programs / "zoo", *shlex.split(train)[1:], "--epochs", "1", "--output", "run"], cwd=elsewhere)
    assert "test  mse" in trained
    assert (elsewhere / "run" / "model.safetensors").exists()
