"""What tests share: a third-party plugin, and the real program run quickly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from zoo import Component, Run, RunConfig
from zoo.contract.registry import installed

os.environ["OMP_NUM_THREADS"] = "1"  # torch's threads wait for each other badly on a busy machine
TESTS = Path(__file__).parent
ROOT = TESTS.parent
TINY_PLUGIN = TESTS / "tiny_plugin"
WALL_CLOCK = ("images_per_second", "seconds")  # columns of metrics.csv


@dataclass(frozen=True)
class Result:
    """What a run of the program left behind."""

    status: int
    stdout: str
    stderr: str


def write_distribution(
    directory: Path, name: str, entry_points: dict[str, str], *, version: str = "1.0", requires: tuple[str, ...] = ()
) -> None:
    """Write the metadata of an installed distribution with entry points of the group `zoo`."""
    folder = directory / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    lines = [f"Requires-Dist: {requirement}" for requirement in requires]
    (folder / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines])
    )
    points = [f"{point} = {module}" for point, module in entry_points.items()]
    (folder / "entry_points.txt").write_text("\n".join(["[zoo]", *points]))


def run(command: Sequence[object], **options: Any) -> str:
    """Run a program that must succeed, and return what it prints."""
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def differences(run: Run, other: Run) -> list[str]:
    """Return the names of files that two runs do not both have to the last byte, but for how long they took.

    By name alone: pytest would look for where all their bytes differ, for hours.
    """
    ours, theirs = _contents_of(run), _contents_of(other)
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def _contents_of(run: Run) -> dict[str, Any]:
    files = {path for path in run.directory.rglob("*") if path.is_file()} - {run.lock_file, run.metrics_file}
    contents: dict[str, Any] = {str(path.relative_to(run.directory)): path.read_bytes() for path in files}
    history = [{name: value for name, value in row.items() if name not in WALL_CLOCK} for row in run.history]
    return contents | {"metrics.csv": history}


def components_of_run(config: RunConfig) -> list[Component]:
    """Return the components of a run in the order of `RunConfig.parts`."""
    return [installed().get(kind, part.name) for kind, part in config.parts()]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built as users would."""
    directory = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--outdir", directory, ROOT], cwd=directory)
    (path,) = directory.glob("*.whl")
    return path


def install_fresh(wheel: Path, environment: Path) -> Path:
    """Make a virtual environment with the wheel and borrowed dependencies, and return its `site-packages`."""
    run([sys.executable, "-m", "venv", environment])
    python = environment / "bin" / "python"
    run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel])
    # The dependencies are borrowed: installing them again would take 5 GB. A path file adds no
    # path files of its own, so the repository's editable install stays out.
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return site


@pytest.fixture(scope="session", autouse=True)
def third_party(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Install zoo-tiny 1.0 for this process, and for those that get these paths as PYTHONPATH."""
    metadata = tmp_path_factory.mktemp("site")
    write_distribution(metadata, "zoo-tiny", {"tiny": "zoo_tiny.plugin"})
    paths = [str(metadata), str(TINY_PLUGIN)]
    sys.path[:0] = paths
    installed.cache_clear()  # a file that tests a contract asks while it is collected
    yield paths
    for path in paths:
        sys.path.remove(path)


@pytest.fixture(scope="session")
def zoo_environment(third_party: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment for the program: zoo-tiny installed, a cache of the session's own, no terminal tricks."""
    cache = tmp_path_factory.mktemp("cache")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ZOO_")}
    return kept | {"PYTHONPATH": os.pathsep.join(third_party), "XDG_CACHE_HOME": str(cache), "PYTHONWARNINGS": "error"}


@pytest.fixture(scope="session")
def _server(zoo_environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(TESTS / "forkserver.py")]
    environment = {name: value for name, value in zoo_environment.items() if name != "PYTHONWARNINGS"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()


@pytest.fixture
def run_zoo(_server: subprocess.Popen[str], tmp_path: Path) -> Callable[..., Result]:
    """Run `zoo` with arguments in a process of its own, forked from one that has imported torch.

    The working directory is the test's `tmp_path`; `environment` is added to the process's own.
    """

    def run(*arguments: object, environment: dict[str, str] | None = None) -> Result:
        files = {stream: tmp_path / f".{stream}" for stream in ("stdout", "stderr")}
        request = {
            "arguments": [str(argument) for argument in arguments],
            "directory": str(tmp_path),
            "environment": environment or {},
            **{stream: str(path) for stream, path in files.items()},
        }
        assert _server.stdin
        assert _server.stdout
        _server.stdin.write(json.dumps(request) + "\n")
        _server.stdin.flush()
        status = int(_server.stdout.readline())
        texts = {stream: path.read_text(encoding="utf-8") for stream, path in files.items()}
        for path in files.values():
            path.unlink()
        return Result(status, **texts)

    return run
