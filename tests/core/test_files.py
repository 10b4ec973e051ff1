"""Files are written whole or not at all, whichever call of the system fails."""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from conftest import components_of_run
from zoo import write_atomically
from zoo.config import components_of
from zoo.files import append
from zoo.model import checkpoint, tensor_file
from zoo.model.autoencoder import build
from zoo.training import resume_state
from zoo.training.resume_state import SafetensorsIO


@pytest.fixture
def umask() -> Iterator[None]:
    """Put the process's umask back after the test."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_file_holds_what_was_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_bare_name_is_written_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomically(Path("file"), b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_an_old_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a longer old content")
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_files_mode_follows_the_umask(tmp_path: Path, umask: None, mask: int, mode: int) -> None:
    os.umask(mask)
    write_atomically(tmp_path / "file", b"content")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
    assert os.umask(mask) == mask


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["disk", "Ctrl-C"])
@pytest.mark.parametrize("call", ["fchmod", "fsync", "replace"])
@pytest.mark.parametrize("old", [{}, {"file": b"old"}], ids=["new file", "old file"])
def test_a_failed_write_leaves_the_directory_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: dict[str, bytes], call: str, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    for name, content in old.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        write_atomically(tmp_path / "file", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_a_link_stays_and_the_file_behind_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("disk/file")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "file").read_bytes() == b"new"
    assert list((tmp_path / "disk").iterdir()) == [tmp_path / "disk" / "file"]


@pytest.mark.parametrize("through_a_link", [False, True])
def test_what_is_no_file_is_never_replaced_by_one(tmp_path: Path, through_a_link: bool) -> None:
    """`--output /dev/null` of a superuser would take the device away from the whole system."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    with pytest.raises(OSError, match="not a regular file"):
        write_atomically(tmp_path / ("link" if through_a_link else "fifo"), b"new")
    assert (tmp_path / "fifo").is_fifo()
    assert (tmp_path / "link").is_symlink()


class FailingSystem:
    """Makes the n-th call fail that a save makes of the system: open, write, fchmod, fsync, rename or close."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.number, self.error = -1, 0
        for name in ("open", "fchmod", "fsync", "replace"):
            monkeypatch.setattr(os, name, self._failing(name, getattr(os, name)))
        monkeypatch.setattr(zoo.files, "open", self._open, raising=False)

    def fail(self, number: int, error: int) -> None:
        self.calls, self.number, self.error = [], number, error

    def _failing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def fail_or_call(*arguments: Any, **options: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) - 1 == self.number:
                raise OSError(self.error, os.strerror(self.error))
            return call(*arguments, **options)

        return fail_or_call

    def _open(self, file: Any, mode: str) -> Any:
        return FailingFile(io.FileIO(file, mode), self)


class FailingFile:
    """A file whose write is cut short when it fails, as on a full disk."""

    def __init__(self, file: Any, system: FailingSystem) -> None:
        self._file = file
        self.flush, self.fileno = file.flush, file.fileno
        self._write_half = lambda content: file.write(content[: len(content) // 2])
        self._write = system._failing("write", file.write)
        self._close = system._failing("close", file.close)

    def write(self, content: bytes) -> None:
        try:
            self._write(content)
        except OSError:
            self._write_half(content)
            raise

    def __enter__(self) -> FailingFile:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._close()
        finally:
            self._file.close()


def _save_bytes(path: Path, number: int) -> None:
    write_atomically(path, bytes([number]) * 100_000)


def _save_checkpoint(path: Path, number: int) -> None:
    config = zoo.resolve({"encoder": "mlp", "dataset": "tiny", "seed": number})
    data = zoo.DataFacts((1, 16, 16))
    model = build(config, components_of(config), data)
    checkpoint.save(path, model, checkpoint.new_metadata(config, components_of_run(config), data, epoch=number))


def _save_state(path: Path, number: int) -> None:
    SafetensorsIO().save_checkpoint({"weights": torch.full((1000,), float(number))}, path)


def _append_row(path: Path, number: int) -> None:
    if number == 0:
        write_atomically(path, b"header\r\n")
    append(path, f"{number},1.0\r\n".encode())


def _content(kind: tensor_file.FileKind) -> Callable[[Path], Any]:
    def read(path: Path) -> Any:
        record, tensors = tensor_file.read(kind, path)
        return record, {name: tensor.tolist() for name, tensor in tensors.items()}

    return read


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
@pytest.mark.parametrize(
    ("save", "read"),
    [
        (_save_bytes, Path.read_bytes),
        (_save_checkpoint, _content(checkpoint.KIND)),
        (_save_state, _content(resume_state.KIND)),
        (_append_row, Path.read_bytes),
    ],
    ids=["bytes", "checkpoint", "resume state", "row"],
)
def test_whichever_call_fails_the_old_file_or_the_new_one_is_whole(
    save: Callable[[Path, int], None],
    read: Callable[[Path], Any],
    error: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "file"
    save(path, 0)
    old_bytes, old = path.read_bytes(), read(path)
    system = FailingSystem(monkeypatch)
    save(path, 1)
    calls, new = list(system.calls), read(path)
    assert {"write", "fsync", "close"} <= set(calls)
    assert old != new

    for number, name in enumerate(calls):
        path.write_bytes(old_bytes)
        system.fail(number, error)
        failed = None
        try:
            save(path, 1)
        except OSError as raised:
            failed = raised.errno
        assert system.calls[number] == name
        assert failed in (error, None)
        assert read(path) == (old if failed else new)
        assert failed or number > calls.index("replace")  # what fails after it only hurries the disk
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("path", ["missing/file", "plain/file", "directory"])
def test_a_place_where_no_file_can_be_is_an_os_error_that_names_the_file(tmp_path: Path, path: str) -> None:
    (tmp_path / "plain").touch()
    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError, match="directory") as caught:
        write_atomically(tmp_path / path, b"content")
    assert caught.value.filename == str(tmp_path / path)
    assert caught.value.filename2 is None


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([digit]) * 100_000 for digit in range(20)]
    path.write_bytes(contents[0])
    writer = threading.Thread(target=lambda: [write_atomically(path, content) for content in contents])
    writer.start()
    seen = {path.read_bytes()}
    while writer.is_alive():
        seen.add(path.read_bytes())
    writer.join()
    assert seen <= set(contents)
    assert path.read_bytes() == contents[-1]
