"""What `zoo new-plugin` writes: a package of its own, ready to install, test and train.

zoo-patch/
  pyproject.toml            the package, and its entry point in the group `zoo`
  README.md                 how to install, test and train it, what to change first, how to publish it
  zoo_patch/plugin.py       what it offers: light
  zoo_patch/networks.py     the module itself; `objective.py`, `distortion.py` or `dataset.py` for these kinds
  tests/test_contract.py    every check of `zoo.testing`
"""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template

from zoo.contract.distributions import find
from zoo.contract.registry import DISTRIBUTION, Registry, installed
from zoo.contract.specs import LONGEST_NAME, Kind, is_name
from zoo.errors import ConfigError, OutputError, printable

_MODULES: dict[Kind, str] = {
    "encoder": "networks.py",
    "decoder": "networks.py",
    "objective": "objective.py",
    "distortion": "distortion.py",
    "dataset": "dataset.py",
}
_TRAIN: dict[Kind, str] = {
    "encoder": "zoo train --encoder {} --dataset mnist",
    "decoder": "zoo train --encoder mlp --decoder {} --dataset mnist",
    "objective": "zoo train --encoder mlp --objective {} --dataset mnist",
    "distortion": "zoo train --encoder mlp --distortion {} --dataset mnist",
    "dataset": "zoo train --encoder mlp --dataset {}",
}


def new_plugin(name: str, kind: Kind, directory: Path, registry: Registry | None = None) -> Path:
    """Write a plugin with one working component, and return its folder `zoo-NAME`.

    Args:
        name: The component's name: lower-case letters and digits, joined by single `-`, `_` or `.`.
        kind: What the plugin offers.
        directory: Where to put the folder; it must exist.
        registry: The components whose names are taken; those installed by default.

    Raises:
        ConfigError: The name cannot be one, or is taken.
        OutputError: The folder exists, or cannot be written; nothing of it is left behind.
    """
    _check_name(name, kind, registry or installed())
    folder = directory / _distribution(name)
    try:
        folder.mkdir()
    except FileExistsError as error:
        raise OutputError(f"{printable(folder)} exists: choose another name or --directory.") from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        for path, text in _render(name, kind).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)  # it is ours: `mkdir` has just made it
        if isinstance(error, OSError):
            raise _unwritable(folder, error) from error
        raise
    return folder


def train_command(name: str, kind: Kind) -> str:
    """Return the shortest command that trains with a component of this kind and name."""
    return _TRAIN[kind].format(name)


def _check_name(name: str, kind: Kind, registry: Registry) -> None:
    if not is_name(name):
        raise ConfigError(
            f"'{printable(name, LONGEST_NAME)}' cannot be a plugin's name: use up to {LONGEST_NAME} lower-case "
            "letters and digits, joined by single '-', '_' or '.', e.g. patch or my-encoder."
        )
    if registry.has(kind, name):
        owners = ", ".join(sorted({c.plugin.distribution for c in registry.components(kind) if c.name == name}))
        raise ConfigError(f"There is {kind} '{name}' already, from {owners}: choose another name.")
    if importlib.util.find_spec(_package(name)):
        raise ConfigError(f"There is a Python package {_package(name)} already: choose another name.")
    if any(plugin.distribution == _distribution(name) for plugin in registry.plugins):
        raise ConfigError(f"There is a distribution {_distribution(name)} already: choose another name.")


def _render(name: str, kind: Kind) -> dict[str, str]:
    """Return the texts of a plugin's files by their paths in its folder."""
    package, module = _package(name), _MODULES[kind]
    values = {
        "name": name,
        "kind": kind,
        "class_name": _class_name(name, kind),
        "summary": _summary(name, kind),
        "distribution": _distribution(name),
        "package": package,
        "entry_point": f'"{name}"' if "." in name else name,  # a bare dot would make a table of TOML
        "module": module,
        "train": train_command(name, kind),
        "requirement": _requirement(find(DISTRIBUTION).version),
        "requires_python": find(DISTRIBUTION).metadata["Requires-Python"],
    }
    templates = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{package}/__init__.py": "init.py",
        f"{package}/plugin.py": f"{kind}_plugin.py",
        f"{package}/{module}": f"{kind}.py",
        "tests/test_contract.py": "test_contract.py",
    }
    values["changes"] = _fill(f"{kind}_changes.md", values).rstrip()
    return {path: _fill(template, values) for path, template in templates.items()} | {f"{package}/py.typed": ""}


def _fill(template: str, values: Mapping[str, str]) -> str:
    """Return a template's text with the values in it."""
    text = (files(__name__) / "templates" / f"{template}.template").read_text(encoding="utf-8")
    return Template(text).substitute(values)


def _requirement(version: str) -> str:
    """Return the requirement for the versions that keep the promises of this one, e.g. `autoencoder-zoo>=0.2,<0.3`."""
    from packaging.version import Version

    running = Version(version)
    lowest = version if running.is_prerelease else f"{running.major}.{running.minor}"
    breaking = f"0.{running.minor + 1}" if running.major == 0 else str(running.major + 1)
    return f"{DISTRIBUTION}>={lowest},<{breaking}"


def _class_name(name: str, kind: Kind) -> str:
    """Return the name of the component's class, e.g. `MyNetEncoder` for `my-net`, `MyEncoder` for `my-encoder`."""
    stem = "".join(word.capitalize() for word in _words(name, kind))
    prefix = "Zoo" if stem[0].isdigit() else ""  # as in the package `zoo_3d`
    return prefix + stem + kind.capitalize()


def _summary(name: str, kind: Kind) -> str:
    """Return the component's line in `zoo list`, e.g. `My net encoder`."""
    return " ".join([*_words(name, kind), kind]).capitalize()


def _words(name: str, kind: Kind) -> list[str]:
    """Return the words of a name but for the kind at its end: `my` and `net` for `my-net` and `my-net-encoder`."""
    words = re.split(r"[._-]", name)
    if words[-1] == kind:
        words.pop()
    return words or ["zoo"]  # a name that is the kind itself: `Objective` is the base class already


def _distribution(name: str) -> str:
    return "zoo-" + re.sub(r"[._]", "-", name)  # as package indexes spell it


def _package(name: str) -> str:
    return "zoo_" + re.sub(r"[.-]", "_", name)


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(f"Cannot write {printable(folder)}: {error.strerror}. Choose another --directory.")
