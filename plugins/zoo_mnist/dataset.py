"""MNIST as tensors, from the files in this package, kept unpacked in the user's cache directory.

The cache has torchvision's own layout, `ROOT/MNIST/raw/train-images-idx3-ubyte` and so on, so
`torchvision.datasets.MNIST(ROOT)` reads what is laid down here, and what torchvision downloaded is
used here. Every file is checked by SHA-256 each time it is read, and laid down anew if it differs.
"""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
from importlib.resources import files
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch.utils.data import TensorDataset

from zoo import DatasetError, write_atomically

_STEMS = {"train": "train", "test": "t10k"}


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
    with contextlib.suppress(OSError):
        content = bytearray((directory / name).read_bytes())
        if hashlib.sha256(content).hexdigest() == expected:
            return content
    content = _packed(name)
    if hashlib.sha256(content).hexdigest() != expected:
        raise DatasetError(
            f"{name}.xz in the installed package is damaged: pip install --force-reinstall autoencoder-zoo"
        )
    with contextlib.suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(directory / name, content)
    return content


def _packed(name: str) -> bytearray:
    try:
        return bytearray(lzma.decompress((files("zoo_mnist") / "data" / f"{name}.xz").read_bytes()))
    except (OSError, lzma.LZMAError) as error:
        raise DatasetError(
            f"{name}.xz in the installed package cannot be read: pip install --force-reinstall autoencoder-zoo"
        ) from error


def _checksums() -> dict[str, str]:
    try:
        lines = (files("zoo_mnist") / "data" / "SHA256SUMS").read_text(encoding="ascii").splitlines()
        return {name: checksum for checksum, name in map(str.split, lines)}
    except (OSError, ValueError) as error:
        raise DatasetError(
            "SHA256SUMS in the installed package cannot be read: pip install --force-reinstall autoencoder-zoo"
        ) from error
