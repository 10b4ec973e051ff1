"""A place may be full, read-only, gone, a link or no file at all: one line says so, and nothing is lost."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import zoo
from conftest import Result

ZOO = str(Path(sys.executable).with_name("zoo"))
TRAIN = ("train", "--encoder", "mlp", "--dataset", "tiny", "--set", "encoder.hidden=256")
ENDLESS = (*TRAIN, "--epochs", "100000", "--output", "run")
HOMELESS = """
import pwd, sys
def getpwuid(uid): raise KeyError(uid)
pwd.getpwuid = getpwuid
from zoo.cli import main
main(sys.argv[1:])
"""
MODEL_BYTES = 300_000  # at least: the model's checkpoint is larger


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, for tests to copy."""
    directory = tmp_path_factory.mktemp("trained") / "run"
    encoder = {"name": "mlp", "options": {"hidden": [256]}}
    zoo.train(encoder=encoder, dataset="tiny", epochs=1, output=directory, quiet=True)
    assert (directory / "model.safetensors").stat().st_size > MODEL_BYTES
    return directory


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB, mounted at `disk`; only a superuser can."""
    directory = tmp_path / "disk"
    directory.mkdir()
    if not shutil.which("mount") or mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", directory):
        pytest.skip("needs the right to mount a file system")
    yield directory
    subprocess.run(["umount", directory], check=True)


def mount(*arguments: str | Path) -> int:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode


def fill(directory: Path, leaving: int = 0) -> None:
    """Fill a file system, up to the last byte or leaving some."""
    with (directory / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        file.writelines(itertools.repeat(bytes(4096)))
    os.truncate(directory / "filler", (directory / "filler").stat().st_size - leaving)


@dataclass
class Endless:
    """A training that has two epochs behind it, and many before it."""

    process: subprocess.Popen[str]

    def end(self) -> Result:
        """Wait until it fails."""
        _, stderr = self.process.communicate(timeout=60)
        return Result(self.process.returncode, "", stderr)


@pytest.fixture
def endless(zoo_environment: dict[str, str]) -> Iterator[Callable[[Path], Endless]]:
    started = []

    def start(directory: Path) -> Endless:
        process = subprocess.Popen(
            [ZOO, *ENDLESS], cwd=directory, env=zoo_environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        assert process.stdout
        for _ in range(2):
            assert process.stdout.readline().startswith("epoch")
        return Endless(process)

    yield start
    for process in started:
        process.kill()
        process.communicate()


def assert_refused(result: Result, status: int, message: str) -> None:
    assert result.status == status, result.stderr
    assert message in result.stderr
    assert result.stderr.startswith("zoo: ")
    assert result.stderr.count("\n") == 1, result.stderr


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


# Full


@pytest.mark.parametrize(("leaving", "status"), [(0, 2), (65_536, 1)], ids=["full", "too full for a model"])
def test_a_training_on_a_full_disk_fails_in_one_line(
    disk: Path, run_zoo: Callable[..., Result], leaving: int, status: int
) -> None:
    (disk / "precious").write_text("precious")
    fill(disk, leaving)
    before = contents(disk)
    assert_refused(run_zoo(*TRAIN, "--epochs", 1, "--output", disk / "run"), status, "No space left on device")
    assert contents(disk).items() >= before.items()


def test_a_disk_that_becomes_full_leaves_the_best_epoch_so_far(
    disk: Path, endless: Callable[[Path], Endless], run_zoo: Callable[..., Result]
) -> None:
    training = endless(disk)
    fill(disk)
    assert_refused(training.end(), 1, "No space left on device")
    assert run_zoo("eval", disk / "run").status == 0
    assert not list((disk / "run").glob(".*.tmp"))


def test_a_picture_on_a_full_disk_leaves_the_old_one(disk: Path, run: Path, run_zoo: Callable[..., Result]) -> None:
    (disk / "grid.png").write_bytes(b"old")
    fill(disk)
    before = contents(disk)
    result = run_zoo("reconstruct", run, "--output", disk / "grid.png")
    assert result.status in (1, 2)
    assert "No space left on device" in result.stderr
    assert result.stderr.count("\n") == 1
    assert contents(disk) == before


def test_a_file_that_must_not_grow_leaves_the_old_one(run: Path, zoo_environment: dict[str, str]) -> None:
    """Where no disk can be mounted, a limit on the size of files fails the same calls."""
    (run / "grid.png").write_bytes(b"old")
    command = ["sh", "-c", 'ulimit -f 4; exec "$@"', "sh", ZOO, "reconstruct", run, "--output", run / "grid.png"]
    result = subprocess.run(command, env=zoo_environment, capture_output=True, text=True)
    assert result.returncode in (1, 2)
    assert "File too large" in result.stderr
    assert result.stderr.count("\n") == 1
    assert (run / "grid.png").read_bytes() == b"old"
    assert not list(run.glob(".*.tmp"))


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "--json"], ["eval", "run"]], ids=" ".join)
def test_output_to_a_full_disk_fails_in_one_line(
    run: Path, zoo_environment: dict[str, str], arguments: list[str]
) -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [ZOO, *arguments], cwd=run.parent, env=zoo_environment, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert_refused(Result(result.returncode, "", result.stderr), 1, "No space left on device")


def test_a_closed_output_is_no_error(zoo_environment: dict[str, str]) -> None:
    command = ["sh", "-c", 'exec "$@" >&-', "sh", ZOO, "list"]
    result = subprocess.run(command, env=zoo_environment, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


# Read-only


def test_a_read_only_run_is_evaluated(disk: Path, trained: Path, run_zoo: Callable[..., Result]) -> None:
    shutil.copytree(trained, disk / "run")
    assert mount("-o", "remount,ro", disk) == 0
    assert run_zoo("eval", disk / "run").status == 0


def test_a_read_only_working_directory_is_refused(disk: Path, zoo_environment: dict[str, str]) -> None:
    assert mount("-o", "remount,ro", disk) == 0
    command = [ZOO, *TRAIN, "--epochs", "1"]
    result = subprocess.run(command, cwd=disk, env=zoo_environment, capture_output=True, text=True)
    assert_refused(Result(result.returncode, "", result.stderr), 2, "Cannot make the run directory runs: Read-only")


# Gone


def test_a_run_that_is_removed_while_it_trains_ends_in_one_line(
    tmp_path: Path, endless: Callable[[Path], Endless]
) -> None:
    training = endless(tmp_path)
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    before = contents(tmp_path / "elsewhere")
    assert_refused(training.end(), 1, "No such file or directory")
    assert contents(tmp_path / "elsewhere") == before
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments", [TRAIN, ("eval", "run"), ("list",)], ids=lambda arguments: arguments[0])
def test_a_working_directory_that_was_removed_is_said_so(
    tmp_path: Path, zoo_environment: dict[str, str], arguments: tuple[str, ...]
) -> None:
    (tmp_path / "gone").mkdir()
    command = ["sh", "-c", 'rmdir ../gone && exec "$@"', "sh", ZOO, *arguments]
    result = subprocess.run(command, cwd=tmp_path / "gone", env=zoo_environment, capture_output=True, text=True)
    assert_refused(Result(result.returncode, "", result.stderr), 2, "The working directory is gone")


@pytest.mark.parametrize("command", ["train", "eval"])
def test_no_home_directory_is_needed(run: Path, zoo_environment: dict[str, str], command: str) -> None:
    """As in a container whose user is in no password file: no HOME, and none to be looked up."""
    environment = {name: value for name, value in zoo_environment.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    arguments = [*TRAIN, "--epochs", "1", "--output", "new"] if command == "train" else ["eval", "run"]
    command_line = [sys.executable, "-c", HOMELESS, *arguments]
    result = subprocess.run(command_line, cwd=run.parent, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


# Links


def test_a_run_may_be_on_another_disk_behind_a_link(tmp_path: Path, run_zoo: Callable[..., Result]) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to("disk")
    assert run_zoo(*TRAIN, "--epochs", 1, "--output", "run").status == 0
    assert (tmp_path / "run").is_symlink()
    assert (tmp_path / "disk" / "model.safetensors").is_file()
    assert run_zoo("eval", "run").status == 0


def test_a_link_to_nowhere_is_refused_and_left(tmp_path: Path, run_zoo: Callable[..., Result]) -> None:
    (tmp_path / "run").symlink_to("nowhere")
    assert_refused(run_zoo(*TRAIN, "--output", "run"), 2, "Cannot make the run directory run")
    assert os.readlink(tmp_path / "run") == "nowhere"


# No files


@pytest.mark.parametrize("place", ["fifo", "/dev/zero", "run"])
@pytest.mark.parametrize("command", ["eval", "reconstruct"])
def test_a_checkpoint_that_is_no_file_is_refused(
    run: Path, run_zoo: Callable[..., Result], command: str, place: str
) -> None:
    os.mkfifo(run.parent / "fifo")
    (run / "model.safetensors").unlink()
    os.mkfifo(run / "model.safetensors")
    assert_refused(run_zoo(command, place), 1, "is not a regular file")


@pytest.mark.parametrize("place", ["fifo", "/dev/zero", "run"])
def test_a_config_that_is_no_file_is_refused(run: Path, run_zoo: Callable[..., Result], place: str) -> None:
    os.mkfifo(run.parent / "fifo")
    assert_refused(run_zoo("train", "--config", place), 2, f"Cannot read {place}: ")


def test_a_picture_never_takes_the_place_of_what_is_no_file(run: Path, run_zoo: Callable[..., Result]) -> None:
    os.mkfifo(run / "fifo.png")
    result = run_zoo("reconstruct", "run", "--output", "run/fifo.png")
    assert result.status in (1, 2)
    assert "is not a regular file" in result.stderr
    assert result.stderr.count("\n") == 1
    assert (run / "fifo.png").is_fifo()
