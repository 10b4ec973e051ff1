"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo import write_atomically


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
