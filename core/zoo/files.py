"""Files written whole or not at all, and down to the disk."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes | bytearray) -> None:
    """Write a file so that a reader sees the old content or the new, whatever happens meanwhile.

    A temporary file in the same directory is written, flushed to the disk and renamed.

    Raises:
        OSError: It could not be written; what was there is untouched.
    """
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
    flush_directory(path.parent)


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
