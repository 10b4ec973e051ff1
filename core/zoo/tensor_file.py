"""A safetensors file that holds a JSON record beside its tensors, and a checksum over both.

The file's metadata has three entries: `format` (`pt`, safetensors' own), the record under a name
that says what the file is, and `sha256`, over the record and every tensor's name, type, shape and
bytes. Reading verifies all of it and unpickles nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from zoo.errors import CheckpointError, printable


@dataclass(frozen=True)
class FileKind:
    """What a file is.

    Attributes:
        name: As messages say it.
        entry: The record's name in the metadata.
        max_bytes: A larger file is not read.
        max_header_bytes: Nor one with a larger header: parsing takes many times its size.
    """

    name: str
    entry: str
    max_bytes: int
    max_header_bytes: int


def encode(kind: FileKind, record: str, tensors: dict[str, Tensor]) -> bytes:
    """Return the file's bytes: the same for the same content.

    Args:
        kind: What the file is.
        record: A JSON object.
        tensors: On the CPU, contiguous, none sharing memory with another.

    Raises:
        CheckpointError: There are more tensors than the header may hold.
    """
    entries = {"format": "pt", kind.entry: record}
    try:
        header, content = _split(kind, safetensors.torch.save(tensors, entries))
    except ValueError as error:
        raise CheckpointError(f"{len(tensors)} tensors are more than the header of a {kind.name} holds.") from error
    # safetensors writes these entries in an order that changes from one time to the next.
    header["__metadata__"] = entries | {"sha256": _digest(kind, header, content)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, content))


def read(kind: FileKind, path: Path) -> tuple[str, dict[str, Tensor]]:
    """Return a file's record, still JSON, and its tensors.

    Raises:
        CheckpointError: There is no such file, or it is damaged or of another kind.
    """
    raw = _read_bytes(kind, path)
    name = printable(path)
    try:
        header, content = _split(kind, raw)
        entries = header.get("__metadata__")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name} is not a {kind.name} of Autoencoder Zoo: {_guess(raw)}") from error
    if not isinstance(entries, dict) or set(entries) != {"format", kind.entry, "sha256"}:
        raise CheckpointError(f"{name} is a safetensors file, but not a {kind.name} that Autoencoder Zoo wrote.")
    try:
        tensors = safetensors.torch.load(raw)
    except (SafetensorError, KeyError, ValueError, RuntimeError, OverflowError, TypeError) as error:
        raise CheckpointError(f"{name} is damaged: {printable(error)}") from error
    if entries["format"] != "pt" or entries["sha256"] != _digest(kind, header, content):
        raise CheckpointError(f"{name} is damaged: its checksum does not match its content.")
    return entries[kind.entry], tensors


def strict_json(text: str) -> dict[str, Any]:
    """Parse a JSON object; a name that stands twice, or NaN, is an error.

    Raises:
        ValueError: It is no such object.
        RecursionError: It is nested too deeply.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a name stands twice")
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    value = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _read_bytes(kind: FileKind, path: Path) -> bytes:
    """Read a regular file whole: a memory map would die with the process if the file were cut."""
    name = printable(path)
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a FIFO must not block
        with open(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise CheckpointError(f"{name} is not a regular file.")
            if status.st_size > kind.max_bytes:
                raise CheckpointError(f"{name} has {status.st_size} bytes; at most {kind.max_bytes} are read.")
            return file.read()
    except FileNotFoundError as error:
        raise CheckpointError(f"No run directory or {kind.name} at {name}.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"Cannot read {name}: {getattr(error, 'strerror', None) or error}.") from error


def _split(kind: FileKind, raw: bytes) -> tuple[dict[str, Any], memoryview]:
    """Return a safetensors file's header, parsed strictly, and its tensors' bytes."""
    length = int.from_bytes(raw[:8], "little")
    if not 2 <= length <= min(kind.max_header_bytes, len(raw) - 8):
        raise ValueError("no safetensors header")
    header = strict_json(raw[8 : 8 + length].decode("utf-8"))
    return header, memoryview(raw)[8 + length :]


def _digest(kind: FileKind, header: Mapping[str, Any], content: memoryview) -> str:
    """Return the SHA-256 over the record and each tensor, in the order of their names."""
    digest = hashlib.sha256(header["__metadata__"][kind.entry].encode())
    for name in sorted(header.keys() - {"__metadata__"}):
        entry = header[name]
        start, end = entry["data_offsets"]
        digest.update(json.dumps([name, entry["dtype"], entry["shape"]]).encode())
        digest.update(content[start:end])
    return digest.hexdigest()


def _guess(raw: bytes) -> str:
    if raw[:4] == b"PK\x03\x04" or raw[:1] == b"\x80":
        return "it looks like a pickle (torch.save), and Autoencoder Zoo never unpickles."
    return "it is empty." if not raw else "it is no safetensors file, or was cut short."
