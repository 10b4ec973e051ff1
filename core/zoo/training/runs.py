"""Run directories: what one training leaves behind.

runs/mnist-mlp-1/
  config.json            the whole RunConfig; `zoo train --config` on it repeats the run
  model.safetensors      weights of the best epoch, or of the last with --keep last; self-contained
  metrics.csv            a row an epoch
  reconstructions.png    originals over reconstructions, from the test split
  curves.png             the losses over the epochs
  resume/                the state that a resumed training starts from, and the lock that a training holds
"""

from __future__ import annotations

import contextlib
import csv
import errno
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING

from zoo.errors import OutputError, command, printable
from zoo.files import flush_directory
from zoo.model.display import run_html, run_text

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo.model.autoencoder import Autoencoder

RUNS = Path("runs")
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # A file system without locks answers so.

_log = logging.getLogger("zoo")


@dataclass(frozen=True)
class Run:
    """One training and its directory."""

    directory: Path

    @property
    def checkpoint(self) -> Path:
        return self.directory / "model.safetensors"

    @property
    def config(self) -> RunConfig:
        from zoo.config import RunConfig

        return RunConfig.model_validate_json(self.config_file.read_text(encoding="utf-8"))

    @property
    def config_file(self) -> Path:
        return self.directory / "config.json"

    @property
    def metrics_file(self) -> Path:
        return self.directory / "metrics.csv"

    @property
    def reconstructions_picture(self) -> Path:
        return self.directory / "reconstructions.png"

    @property
    def curves_picture(self) -> Path:
        return self.directory / "curves.png"

    @property
    def resume_directory(self) -> Path:
        return self.directory / "resume"

    @property
    def lock_file(self) -> Path:
        return self.resume_directory / "lock"

    @property
    def history(self) -> list[dict[str, float]]:
        """The rows of metrics.csv, one a finished epoch; a loss that had not begun is left out."""
        with self.metrics_file.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [{name: float(value) for name, value in row.items() if value != ""} for row in rows]

    @property
    def test_metrics(self) -> dict[str, float] | None:
        """The test split's metrics by name; None where the run was not finished."""
        from zoo.model.checkpoint import read

        return read(self.checkpoint).metadata.test_metrics

    def load(self) -> Autoencoder:
        """Return the model with the weights that were kept, in eval mode."""
        from zoo.model.checkpoint import load

        return load(self.checkpoint)

    def __repr__(self) -> str:
        return run_text(self)

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return run_html(self)


@contextlib.contextmanager
def new_run(output: str | os.PathLike[str] | None, config: RunConfig) -> Iterator[Run]:
    """Make and lock the directory of a new run, and take it away again if the body fails before using it.

    Args:
        output: The directory; it may exist if it is empty. By default the first free one of
            `runs/DATASET-ENCODER-1`, `-2` and so on.
        config: Gives the default its name.

    Raises:
        OutputError: The directory is not empty, is a file, or cannot be written.
    """
    with _as_output_error(output):
        made, run = _make(Path(output)) if output is not None else (True, _make_numbered(config))
        _require_unused(run)
    with _held(run, made):
        _require_unused(run)  # nor has it been used a moment ago
        yield run


@contextlib.contextmanager
def begun_run(output: str | os.PathLike[str]) -> Iterator[Run]:
    """Lock the directory of a run that was begun; where none was, it is that of a new run.

    Raises:
        OutputError: The directory is in use, holds something else, or cannot be written.
    """
    with _as_output_error(output):
        made, run = _make(Path(output))
        if not run.config_file.exists():
            _require_unused(run)
    with _held(run, made):
        yield run


def is_in_training(run: Run) -> bool:
    """Say whether a process holds the run's lock. Nothing is written, and the lock is taken for an instant only."""
    try:
        import fcntl

        with run.lock_file.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):  # no lock file, or a system without locks
        return False
    return False


def is_first_process() -> bool:
    """Say whether this is the one process of a training that writes files and speaks.

    Lightning knows the rank from the environment, and exactly since a trainer was made.
    """
    from pytorch_lightning.utilities import rank_zero_only

    return bool(getattr(rank_zero_only, "rank", 0) == 0)


@contextlib.contextmanager
def _as_output_error(output: str | os.PathLike[str] | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = printable(error.filename or output)
        raise OutputError(
            f"Cannot make the run directory {where}: {error.strerror}. Choose another --output."
        ) from error


def _make(path: Path) -> tuple[bool, Run]:
    """Return a run, and whether its directory was made for it."""
    made = not path.is_dir()
    if made and path.exists():
        raise OutputError(f"{printable(path)} is a file, not a directory: choose another --output.")
    if made:
        path.mkdir(parents=True, exist_ok=True)
        flush_directory(path.parent)
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(0, "Permission denied", str(path))
    return made, Run(path)


def _make_numbered(config: RunConfig) -> Run:
    stem = "-".join(part.name.replace(":", "-") for part in (config.dataset, config.encoder))
    RUNS.mkdir(exist_ok=True)
    for number in count(1):
        with contextlib.suppress(FileExistsError):
            directory = RUNS / f"{stem}-{number}"
            directory.mkdir()
            flush_directory(RUNS)
            return Run(directory)
    raise AssertionError("unreachable")


def _is_unused(run: Run) -> bool:
    """Say whether there is nothing in the directory but what a run leaves that was killed before it began."""
    names = {name for name in os.listdir(run.directory) if not fnmatch(name, f".{run.config_file.name}.*.tmp")}
    return not names or (names == {run.resume_directory.name} and set(os.listdir(run.resume_directory)) <= {"lock"})


def _require_unused(run: Run) -> None:
    if _is_unused(run):
        return
    name = printable(run.directory)
    if not run.config_file.exists():
        raise OutputError(f"{name} exists and is not empty: choose another --output.")
    if run.lock_file.exists():
        with _locked(run):  # or this says who holds it
            pass
    go_on = command("zoo", "resume", run.directory)
    raise OutputError(f"{name} holds a run. To go on with it: {go_on}. For another, choose another --output.")


@contextlib.contextmanager
def _held(run: Run, made: bool) -> Iterator[None]:
    """Hold the run's lock; if the body fails before using the directory, leave it as it was."""
    with _locked(run):
        _sweep(run)
        try:
            yield
        except BaseException:
            if _is_unused(run):
                with contextlib.suppress(OSError):
                    run.lock_file.unlink()
                    run.resume_directory.rmdir()
                    if made:
                        run.directory.rmdir()
            raise


@contextlib.contextmanager
def _locked(run: Run) -> Iterator[None]:
    """Hold the run's lock. The kernel lets go of it when the process ends, however it ends.

    Raises:
        OutputError: Another process holds it.
    """
    with _as_output_error(run.directory):
        file = _lock(run)
    with file:
        yield


def _lock(run: Run) -> IO[str]:
    import fcntl  # which Windows lacks: there, what does not train still works

    run.resume_directory.mkdir(exist_ok=True)
    with contextlib.ExitStack() as closing:
        file = closing.enter_context(run.lock_file.open("a+", encoding="ascii"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read()
            who = f"process {owner}" if owner.isdigit() else "another process"
            raise OutputError(f"{printable(run.directory)} is in use: {who} is training in it.") from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            _log.warning("zoo: %s is on a file system without locks: train there once at a time.", run.directory)
        if not run.lock_file.exists() or not os.path.samestat(os.fstat(file.fileno()), os.stat(run.lock_file)):
            return _lock(run)  # its last owner took it away a moment ago
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        closing.pop_all()
        return file


def _sweep(run: Run) -> None:
    """Remove the temporary files that a killed process left."""
    kept = (run.config_file, run.checkpoint, run.metrics_file, run.reconstructions_picture, run.curves_picture)
    for file in (*kept, run.resume_directory / "epoch-*"):
        for stale in file.parent.glob(f".{file.name}.*.tmp"):
            stale.unlink()
