"""Watch what loading checkpoints does besides: `python -m tests.hostile.watch`.

Python's audit hooks see every file that a process opens, every socket, process and unpickling, and
`sys.modules` every import. After a first good load, loading a file, good or hostile, may open that
file to read it, and do nothing else at all. In a fresh process a hostile file may also import the
modules that a good file imports: zoo's own, the installed plugins' and what those import; and the
codec with which messages escape what cannot be printed.

Environment: ZOO_WATCHED is how many mutations. Exits with 1 when anything else was seen, or when
the watch fails to see what is done on purpose.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.hostile.form import Form
from tests.hostile.mutations import DATASET, ENCODER, TEXTS, mutate
from tests.hostile.subjects import good_checkpoints, install_plugins

import zoo.model.checkpoint
from zoo.errors import printable

MUTATIONS = int(os.environ.get("ZOO_WATCHED", "300"))
FRESH = 40
PATHS = ["/etc/passwd", "/dev/zero", "../../etc/passwd", str(Path(__file__).resolve())]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
ON_PURPOSE = {"import", "open for writing", "os.fork", "pickle.find_class", "socket.__new__", "subprocess.Popen"}
HARMLESS = {"builtins.id"}
IMPORTING = {
    "code.__new__",
    "compile",
    "exec",
    "import",
    "marshal.loads",
    "object.__getattr__",
    "os.listdir",
    "sys._getframe",
}


def main() -> None:
    sys.dont_write_bytecode = True
    with tempfile.TemporaryDirectory() as plugins, tempfile.TemporaryDirectory() as directory:
        install_plugins(Path(plugins))
        Path(directory, "trap.py").write_text("def attack(): ...\n")
        sys.path.append(directory)
        good, hostile = in_child(lambda: write_files(Path(directory)))
        failures = watch_warm(good, hostile) + watch_fresh(good, hostile) + watch_the_watch(directory)
    sys.exit(1 if failures else 0)


def write_files(directory: Path) -> tuple[list[str], list[str]]:
    """Write good checkpoints and hostile ones, and return their paths."""
    raws = good_checkpoints(directory)
    attacks = [pickle.dumps(print)]
    for text in TEXTS:
        form = Form.of(raws[0])
        form.record["config"]["encoder"]["name"] = form.record["components"][ENCODER]["name"] = text
        attacks.append(form.to_bytes())
    for path in PATHS:  # An option may name a path; opening a checkpoint must not open that.
        form = Form.of(raws[0])
        form.record["config"]["dataset"] = {"name": "mnist", "options": {"root": path}}
        form.record["components"][DATASET] |= {"name": "mnist", "distribution": "autoencoder-zoo"}
        attacks.append(form.to_bytes())
    random = Random(0)
    attacks += [mutate(raws, random).raw for _ in range(MUTATIONS)]
    paths = []
    for name, contents in (("good", raws), ("hostile", attacks)):
        paths.append([str(directory / f"{name}-{number}.safetensors") for number in range(len(contents))])
        for path, content in zip(paths[-1], contents, strict=True):
            Path(path).write_bytes(content)
    return paths[0], paths[1]


def watch_warm(good: list[str], hostile: list[str]) -> int:
    """Load all in one process, after each good one was loaded once."""

    def watched() -> tuple[list[str], list[str]]:
        load_good(good)
        return seen_during(lambda: load_all(good + hostile), {*good, *hostile}, HARMLESS)

    events, modules = in_child(watched)
    print(f"{len(good + hostile)} files after a first good load: {len(events + modules)} events that must not be")
    return _report(events + modules)


def watch_fresh(good: list[str], hostile: list[str]) -> int:
    """Load files each in a process that has loaded none."""

    def fresh(load: Callable[[list[str]], None], paths: list[str]) -> tuple[list[str], list[str]]:
        return in_child(lambda: seen_during(lambda: load(paths), set(), HARMLESS | IMPORTING))

    _, allowed = fresh(load_good, good)
    failures = []
    for path in good + hostile[:FRESH]:
        events, modules = fresh(load_all, [path])
        failures += events + sorted(set(modules) - set(allowed))
    packages = sorted({module.partition(".")[0] for module in allowed})
    print(f"{len(good) + FRESH} files, each the first of a process: {len(failures)} events that must not be")
    print(f"  imports that may be, as a good file's: {len(allowed)} modules of {', '.join(packages)}")
    return _report(failures)


def watch_the_watch(directory: str) -> int:
    """Do on purpose what no file may do."""

    def attack() -> None:
        import socket
        import subprocess
        import wave  # noqa: F401

        socket.socket().close()
        subprocess.run(["true"], check=True)
        pickle.loads(pickle.dumps(print))
        Path(directory, "written").write_text("")
        if os.fork() == 0:
            os._exit(0)

    events, modules = in_child(lambda: seen_during(attack, set(), HARMLESS))
    seen = {event for event in ON_PURPOSE if any(line.startswith(event) for line in events)}
    seen |= {"import"} if "wave" in modules else set()
    print(f"on purpose the watch has seen {', '.join(sorted(seen))}")
    return _report([f"not seen: {event}" for event in sorted(ON_PURPOSE - seen)])


def load_good(paths: list[str]) -> None:
    """Load files that are good, and print what is not, so that all is imported that may be."""
    for path in paths:
        zoo.load(path)
    printable("\0")


def load_all(paths: list[str]) -> None:
    for path in paths:
        with contextlib.suppress(zoo.ZooError):
            zoo.load(path)


def seen_during(action: Callable[[], None], readable: set[str], harmless: set[str]) -> tuple[list[str], list[str]]:
    """Return what happened meanwhile, without what is harmless, and the modules that were imported.

    Args:
        action: What is watched; the hook stays, so the process should end soon.
        readable: The only files that may be opened to read them; any, where it is empty.
        harmless: Audit events that may be.
    """
    events: set[str] = set()
    before, watching = set(sys.modules), True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not watching or event in harmless:
            return
        if event == "open":
            path, _, flags = arguments
            if flags & WRITING:
                events.add(f"open for writing: {path!r}")
            elif readable and path not in readable and not isinstance(path, int):  # what is open was seen by its name
                events.add(f"open: {path!r}")
        else:
            events.add(f"{event}: {arguments!r:.100}")

    sys.addaudithook(hook)
    action()
    watching = False
    return sorted(events), sorted(set(sys.modules) - before)


def in_child(function: Callable[[], Any]) -> Any:
    """Return what a function returns, as JSON, in a process that is forked from this one."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            result = json.dumps(function())
            with open(writer, "w") as pipe:
                pipe.write(result)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader) as pipe:
        result = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"a watched process ended with {os.waitstatus_to_exitcode(status)}")
    return json.loads(result)


def _report(failures: list[str]) -> int:
    for failure in failures[:20]:
        print(f"  {failure}")
    return len(failures)


if __name__ == "__main__":
    main()
