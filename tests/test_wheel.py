"""The wheel that users install holds everything, and trains outside the repository."""

import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    directory = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--outdir", directory, ROOT], cwd=directory)
    (path,) = directory.glob("*.whl")
    return path


def run(command, **options):
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_wheel_holds_every_package_of_the_repository(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("core", "plugins", "demo"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.parent != ROOT / folder:
                assert path.relative_to(ROOT / folder).as_posix() in names


def test_the_wheel_holds_nothing_else(wheel):
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    assert tops == {Path(package).name for package in packages} | {wheel.name.split("-py3")[0] + ".dist-info"}


def test_the_installed_wheel_trains_an_epoch_outside_the_repository(wheel, tmp_path):
    environment = tmp_path / "environment"
    run([sys.executable, "-m", "venv", environment])
    python = environment / "bin" / "python"
    run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel])
    # The dependencies are borrowed: installing them again would take 5 GB. A path file adds no
    # path files of its own, so the repository's editable install stays out.
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))

    where = run([python, "-c", "import zoo, zoo_mlp; print(zoo.__file__, zoo_mlp.__file__)"], cwd=tmp_path).split()
    assert all(path.startswith(str(site)) for path in where)
    output = run(
        [
            environment / "bin" / "zoo",
            "train",
            "--encoder",
            "mlp",
            "--dataset",
            "mnist",
            "--epochs",
            "1",
            "--output",
            "run",
        ],
        cwd=tmp_path,
    )
    assert "test  mse" in output
    assert (tmp_path / "run" / "model.safetensors").exists()
