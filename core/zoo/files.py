"""Files written whole or not at all, and down to the disk; read only if they are files."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes | bytearray) -> None:
    """Write a file so that a reader sees the old content or the new, whatever happens meanwhile.

    A temporary file in the same directory is written, flushed to the disk and renamed.

    Raises:
        OSError: It could not be written; what was there is untouched. It names the file, never the
            temporary one.
    """
    try:
        target = _regular_target(path)
        _write(target, content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    flush_directory(target.parent)


def _write(path: Path, content: bytes | bytearray) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _regular_target(path: Path) -> Path:
    """Return the file that a path means: a link stays one, and a device is never replaced by a file."""
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return path


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file to read; a FIFO, which would block, or a device, which may never end, is an error.

    Raises:
        OSError: It is no regular file, or cannot be opened.
        ValueError: No file can have this name.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    with os.fdopen(handle, "rb") as file:
        yield file


def append(path: Path, content: bytes) -> None:
    """Append to a file, and flush it to the disk.

    Raises:
        OSError: It could not be written; the file is as it was.
    """
    size = path.stat().st_size
    try:
        with open(path, "ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.truncate(path, size)
        raise


def flush_directory(directory: Path) -> None:
    """Make what was renamed or made in it survive a power cut; where it cannot be opened, that is up to the system."""
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
