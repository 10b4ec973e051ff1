"""MNIST as tensors, from the files in this package, kept unpacked in the user's cache directory.

The cache has torchvision's own layout, `ROOT/MNIST/raw/train-images-idx3-ubyte` and so on, so
`torchvision.datasets.MNIST(ROOT)` reads what is laid down here, and what torchvision downloaded is
used here. Every file is checked by SHA-256 each time it is read, and laid down anew if it differs;
of several processes that start at once, one lays it down and the others wait.
"""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch.utils.data import TensorDataset

from zoo import DatasetError, write_atomically

LOCK_SECONDS = 60.0

_STEMS = {"train": "train", "test": "t10k"}
_MAX_BYTES = 2**26  # the largest file has 47 million


def mnist(split: str, *, root: str | None = None) -> TensorDataset:
    """Return images uint8 `(N, 1, 28, 28)` and labels int64 `(N,)` of MNIST.

    Args:
        split: `train` (60,000 digits) or `test` (10,000).
        root: Directory to keep the unpacked files in, as torchvision's `root`; the user's cache
            directory by default. Where it cannot be written, the files are unpacked in memory.

    Raises:
        DatasetError: The packed files are missing or damaged.
    """
    try:
        directory = Path(root or platformdirs.user_cache_dir("autoencoder-zoo")).expanduser() / "MNIST" / "raw"
    except RuntimeError:  # no home directory
        directory = Path(os.devnull)  # holds nothing, so the files are unpacked in memory
    stem = _STEMS[split]
    pixels = np.frombuffer(_unpacked(f"{stem}-images-idx3-ubyte", directory), np.uint8, offset=16)
    digits = np.frombuffer(_unpacked(f"{stem}-labels-idx1-ubyte", directory), np.uint8, offset=8)
    images = torch.from_numpy(pixels).view(-1, 1, 28, 28)  # (N, 1, 28, 28)
    return TensorDataset(images, torch.from_numpy(digits).long())


def _unpacked(name: str, directory: Path) -> bytearray:
    """Return a canonical IDX file's bytes: from the directory, or else unpacked and put there."""
    expected = _checksums()[name]
    if content := _cached(directory / name, expected):
        return content
    with contextlib.suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory) as alone:
        if alone:
            if content := _cached(directory / name, expected):
                return content  # laid down by another process meanwhile
            _sweep(directory, name)
        content = _packed(name, expected)
        with contextlib.suppress(OSError):
            write_atomically(directory / name, content)
    return content


def _cached(path: Path, expected: str) -> bytearray | None:
    """Return a file's content if it is there and what it must be."""
    with contextlib.suppress(OSError):
        if path.is_file() and (size := path.stat().st_size) <= _MAX_BYTES:  # a FIFO would block, a device never end
            content = bytearray(size)
            with path.open("rb") as file:
                file.readinto(content)
            if hashlib.sha256(content).hexdigest() == expected:
                return content
    return None


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Lock the directory against other processes, and say whether that was possible.

    The lock only spares work: files are written atomically. It lies on the directory itself, so it
    leaves no file behind and ends with the process that holds it.
    """
    handle, alone = None, False
    with contextlib.suppress(ImportError, OSError):  # no fcntl on Windows; some file systems lock no directory
        import fcntl

        handle = os.open(directory, os.O_RDONLY)
        deadline = time.monotonic() + LOCK_SECONDS
        while not alone and time.monotonic() < deadline:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
            except BlockingIOError:
                time.sleep(0.05)
    try:
        yield alone
    finally:
        if handle is not None:
            os.close(handle)


def _sweep(directory: Path, name: str) -> None:
    """Remove what processes that were killed while they wrote this file have left."""
    with contextlib.suppress(OSError):
        for temporary in directory.glob(f".{name}.*.tmp"):
            temporary.unlink()


def _packed(name: str, expected: str) -> bytearray:
    try:
        content = bytearray(lzma.decompress((files("zoo_mnist") / "data" / f"{name}.xz").read_bytes()))
    except (OSError, lzma.LZMAError) as error:
        raise DatasetError(
            f"{name}.xz in the installed package cannot be read: pip install --force-reinstall autoencoder-zoo"
        ) from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise DatasetError(
            f"{name}.xz in the installed package is damaged: pip install --force-reinstall autoencoder-zoo"
        )
    return content


def _checksums() -> dict[str, str]:
    try:
        lines = (files("zoo_mnist") / "data" / "SHA256SUMS").read_text(encoding="ascii").splitlines()
        return {name: checksum for checksum, name in map(str.split, lines)}
    except (OSError, ValueError) as error:
        raise DatasetError(
            "SHA256SUMS in the installed package cannot be read: pip install --force-reinstall autoencoder-zoo"
        ) from error
