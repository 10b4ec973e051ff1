"""Pull the plug on trainings, again and again, and hold each that goes on to the result of one that never stopped.

    python -m tests.crashes

kills 60 trainings at random instants (ZOO_KILL_TRIALS=1000 for more), and one at each of its file
operations; resumes all of them to the end, and compares every file of their run directories to the
last byte. It prints what it counted, and exits with 1 where anything differs or is lost.
"""

from __future__ import annotations

import functools
import itertools
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import TINY_PLUGIN, differences, write_distribution

import zoo
from zoo import Run

TRIALS = int(os.environ.get("ZOO_KILL_TRIALS", "60"))
SEED = int(os.environ.get("ZOO_KILL_SEED", "0"))
SETTINGS: dict[str, Any] = {
    "encoder": {"name": "mlp", "options": {"hidden": [16]}}, "dataset": "tiny", "objective": "vae", "latent_dim": 2,
    "batch_size": 192, "epochs": 3, "ema": 0.9, "accelerator": "cpu",
}  # fmt: skip


@dataclass
class Count:
    """What came of trainings that were killed and resumed."""

    trainings: int = 0
    kills: int = 0
    finished: int = 0
    lost: int = 0
    different: int = 0

    def __str__(self) -> str:
        same = self.trainings - self.different
        return (
            f"{self.trainings} trainings, killed {self.kills} times and resumed: {same} ended as the one that was "
            f"never killed, {self.lost} of {self.finished} finished epochs were lost"
        )


class Training:
    """A training in a process of its own, forked from this one, which has imported torch.

    Args:
        directory: Its run directory; what is there it resumes.
        prepare: What is done first in the process.
    """

    def __init__(self, directory: Path, prepare: Callable[[], None] = lambda: None) -> None:
        self.output = directory.parent / f"{directory.name}.{time.monotonic_ns()}.txt"
        self.output.touch()
        self.process = os.fork()
        if self.process == 0:
            self._train(directory, prepare)

    def _train(self, directory: Path, prepare: Callable[[], None]) -> None:
        status = 1
        try:
            output = os.open(self.output, os.O_WRONLY)
            os.dup2(output, 1)
            os.dup2(output, 2)
            prepare()
            zoo.train(output=directory, resume=True, **SETTINGS)
            status = 0
        finally:
            sys.stdout.flush()
            os._exit(status)

    def kill(self) -> None:
        os.kill(self.process, signal.SIGKILL)

    def wait(self) -> bool:
        """Wait for its end, and say whether it was killed; any other end but success is an error."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        if status not in (0, -signal.SIGKILL):
            sys.exit(f"A training failed:\n{self.output.read_text()}")
        return status != 0

    @property
    def went_on_after(self) -> int:
        """The epoch after which it went on; 0 where it began."""
        text = self.output.read_text()
        went_on = re.search(r"goes on after epoch (\d+)/", text)
        return int(went_on[1]) if went_on else SETTINGS["epochs"] if "is finished" in text else 0

    @property
    def finished(self) -> int:
        """The last epoch of which it said that it is finished."""
        lines = re.findall(r"^epoch +(\d+)/", self.output.read_text(), re.MULTILINE)
        return int(lines[-1]) if lines else 0


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        _install_tiny(place)
        reference = zoo.train(output=place / "reference", quiet=True, **SETTINGS)  # here: all is imported now
        start = time.perf_counter()
        Training(place / "timed").wait()
        duration = time.perf_counter() - start
        counts = {
            "at random instants": trials(place, reference, at_random(duration)),
            "at each file operation": trials(place, reference, at_each_file_operation()),
        }
    for when, count in counts.items():
        print(f"{when}: {count}")
    sys.exit(any(count.lost or count.different for count in counts.values()))


def trials(place: Path, reference: Run, killings: Iterable[Callable[[Path], list[Training]]]) -> Count:
    """Kill a training in each of the ways, resume it to its end, and compare."""
    count = Count()
    for number, killing in enumerate(killings):
        directory = place / f"run-{number}"
        killed = killing(directory)
        if not killed:
            continue
        last = Training(directory)
        last.wait()
        finished = max(training.finished for training in killed)
        count.trainings += 1
        count.kills += len(killed)
        count.finished += finished
        count.lost += max(0, finished - last.went_on_after)
        count.different += bool(differences(Run(directory), reference))
        shutil.rmtree(directory)
    return count


def at_random(duration: float) -> Iterator[Callable[[Path], list[Training]]]:
    """Kill at a random instant; half of those that are resumed are killed again, and so on."""
    chance = random.Random(SEED)

    def kill(directory: Path) -> list[Training]:
        killed: list[Training] = []
        while not killed or chance.random() < 0.5:
            training = Training(directory)
            time.sleep(chance.uniform(0, duration))
            training.kill()
            if training.wait():
                killed.append(training)
            elif killed:
                break
            else:
                shutil.rmtree(directory)  # it was through already
        return killed

    yield from [kill] * TRIALS


def at_each_file_operation() -> Iterator[Callable[[Path], list[Training]]]:
    """Kill before the first, the second, … file operation of a training, until one comes through."""
    through = False

    def kill(directory: Path, number: int) -> list[Training]:
        nonlocal through
        training = Training(directory, lambda: _kill_myself_at(number, directory))
        through = not training.wait()
        return [] if through else [training]

    for number in itertools.count(1):
        yield functools.partial(kill, number=number)
        if through:
            return


def _kill_myself_at(number: int, directory: Path) -> None:
    """End this process before its n-th operation that changes the directory, or makes a change of it last."""
    operations = itertools.count(1)
    fsync = os.fsync

    def operate() -> None:
        if next(operations) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event in ("os.mkdir", "os.remove", "os.rename", "os.rmdir") or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if writes and str(arguments[0]).startswith(str(directory)):
            operate()

    def watched_fsync(file: int) -> None:
        operate()
        fsync(file)

    os.fsync = watched_fsync
    sys.addaudithook(watch)


def _install_tiny(place: Path) -> None:
    """Install zoo-tiny for this process and those that are forked from it."""
    write_distribution(place / "site", "zoo-tiny", {"tiny": "zoo_tiny.plugin"})
    sys.path[:0] = [str(place / "site"), str(TINY_PLUGIN)]


if __name__ == "__main__":
    main()
