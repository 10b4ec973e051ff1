"""The wheel that users install holds everything, and trains outside the repository."""

import tomllib
import zipfile
from pathlib import Path

from conftest import ROOT, install_fresh, run


def test_the_wheel_holds_every_package_of_the_repository(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in (init.parent for top in ("core", "plugins", "demo") for init in (ROOT / top).glob("*/__init__.py")):
        for path in package.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.relative_to(package.parent).as_posix() in names


def test_the_wheel_holds_nothing_else(wheel):
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    assert tops == {Path(package).name for package in packages} | {wheel.name.split("-py3")[0] + ".dist-info"}


def test_the_installed_wheel_trains_an_epoch_outside_the_repository(wheel, tmp_path):
    environment = tmp_path / "environment"
    site = install_fresh(wheel, environment)
    python = environment / "bin" / "python"
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
