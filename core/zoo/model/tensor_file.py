"""A safetensors file that holds a JSON record beside its tensors, and a checksum over both.

The file's metadata has three entries: `format` (`pt`, safetensors' own), the record under a name
that says what the file is, and `sha256`, over the record and every tensor's name, type, shape and
bytes. Reading verifies all of it and unpickles nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError
from safetensors import SafetensorError

from zoo.errors import CheckpointError, UnknownModelError, printable
from zoo.files import open_regular

if TYPE_CHECKING:  # a record is read without torch
    from torch import Tensor

MAX_DEPTH = 64  # of lists and objects in one another


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

    @property
    def max_values(self) -> int:
        """How many JSON values a header may hold; one of two bytes can take a hundred when it is parsed."""
        return self.max_header_bytes // 20


CHECKPOINT = FileKind("checkpoint", "autoencoder_zoo", max_bytes=8 * 2**30, max_header_bytes=4 * 2**20)


class _Entry(BaseModel):
    """What the header says of a tensor."""

    model_config = ConfigDict(strict=True, extra="forbid")

    dtype: str
    shape: list[NonNegativeInt]
    data_offsets: Annotated[list[NonNegativeInt], Field(min_length=2, max_length=2)]


@dataclass(frozen=True)
class _Header:
    """A file's first part: up to `end`, where the tensors' bytes begin."""

    entries: dict[str, str]
    tensors: dict[str, _Entry]
    end: int

    @property
    def file_size(self) -> int:
        return self.end + max((entry.data_offsets[1] for entry in self.tensors.values()), default=0)


def encode(kind: FileKind, record: str, tensors: dict[str, Tensor]) -> bytes:
    """Return the file's bytes: the same for the same content.

    Args:
        kind: What the file is.
        record: A JSON object.
        tensors: On the CPU, contiguous, none sharing memory with another.

    Raises:
        CheckpointError: There are more tensors than the header may hold.
    """
    import safetensors.torch

    entries = {"format": "pt", kind.entry: record, "sha256": "0" * 64}
    raw = safetensors.torch.save(tensors, entries)
    try:
        header = _header(kind, raw, len(raw))
    except ValueError as error:
        raise CheckpointError(f"{len(tensors)} tensors are more than the header of a {kind.name} holds.") from error
    entries["sha256"] = _digest(kind, header, raw)
    # Written again: safetensors puts these entries in an order that changes from one time to the next.
    parts = {"__metadata__": entries} | {name: entry.model_dump() for name, entry in header.tensors.items()}
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(raw)[header.end :]))


def read(kind: FileKind, path: Path) -> tuple[str, dict[str, Tensor]]:
    """Return a file's record, still JSON, and its tensors.

    Raises:
        UnknownModelError: There is no such file.
        CheckpointError: It is damaged or of another kind.
    """
    import safetensors.torch

    from zoo.defaults import float32_on_cpu

    name = printable(path)
    with _open(kind, path) as file:
        header, raw = _read(kind, name, file)
    try:
        with float32_on_cpu():
            tensors = safetensors.torch.load(raw)  # refuses overlaps, over which a checksum could take for ever
    except (SafetensorError, AssertionError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{name} is damaged: {printable(error)}") from error
    if header.entries["format"] != "pt" or header.entries["sha256"] != _digest(kind, header, raw):
        raise CheckpointError(f"{name} is damaged: its checksum does not match its content.")
    return header.entries[kind.entry], tensors


def read_record(kind: FileKind, path: Path) -> dict[str, Any]:
    """Return a file's record alone, quickly: the tensors are not read, so the checksum is not compared.

    Raises:
        UnknownModelError: There is no such file.
        CheckpointError: Its header is damaged or of another kind.
    """
    with _open(kind, path) as file:
        header, _ = _read_header(kind, printable(path), file)
    try:
        return strict_json(kind, header.entries[kind.entry])
    except ValueError as error:
        raise CheckpointError(f"{printable(path)} is damaged: its metadata is no JSON object.") from error


@contextlib.contextmanager
def _open(kind: FileKind, path: Path) -> Iterator[BinaryIO]:
    """Open a file to read in the body, with the errors that users understand."""
    name = printable(path)
    try:
        with open_regular(path) as file:
            yield file
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnknownModelError(f"No run directory or {kind.name} at {name}.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"Cannot read {name}: {getattr(error, 'strerror', None) or error}.") from error
    except MemoryError as error:
        raise CheckpointError(f"Cannot read {name}: it is larger than the memory that is left.") from error


def strict_json(kind: FileKind, text: str) -> dict[str, Any]:
    """Parse a JSON object strictly: each name once, every number finite, not too many values or levels.

    Raises:
        ValueError: It is no such object.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            raise ValueError("a name stands twice")
        return value

    def finite(number: str) -> float:
        value = float(number)  # 1e999 is JSON, NaN and Infinity are not
        if not math.isfinite(value):
            raise ValueError("a number is not finite")
        return value

    if sum(map(text.count, ",:[{")) > kind.max_values:
        raise ValueError("too many values")
    try:
        value = json.loads(text, object_pairs_hook=unique, parse_float=finite, parse_constant=finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    if _is_deeper(value, MAX_DEPTH):
        raise ValueError("nested too deeply")
    return value


def _is_deeper(value: object, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_is_deeper(part, levels - 1) for part in inside if isinstance(part, dict | list))


def _read(kind: FileKind, name: str, file: BinaryIO) -> tuple[_Header, bytes]:
    """Read a file whole, its header verified first: what is refused by it is not read at all.

    A map would die with the process if the file were cut meanwhile.
    """
    header, start = _read_header(kind, name, file)
    return header, b"".join([start, file.read(header.file_size - header.end)])


def _read_header(kind: FileKind, name: str, file: BinaryIO) -> tuple[_Header, bytes]:
    """Return a file's header, verified against the file's size, and the bytes that hold it."""
    size = os.fstat(file.fileno()).st_size
    if size > kind.max_bytes:
        raise CheckpointError(f"{name} has {size} bytes; at most {kind.max_bytes} are read.")
    start = file.read(8)
    try:
        start += file.read(_header_end(kind, start, size) - 8)
        header = _header(kind, start, size)
    except ValueError as error:
        raise CheckpointError(f"{name} is not a {kind.name} of Autoencoder Zoo: {_guess(kind, start)}") from error
    if set(header.entries) != {"format", kind.entry, "sha256"}:
        raise CheckpointError(f"{name} is a safetensors file, but not a {kind.name} that Autoencoder Zoo wrote.")
    if header.file_size != size:
        raise CheckpointError(f"{name} is damaged: it must have {header.file_size} bytes, and has {size}.")
    return header, start


def _header_end(kind: FileKind, start: bytes, size: int) -> int:
    length = int.from_bytes(start[:8], "little")
    if not 2 <= length <= min(kind.max_header_bytes, size - 8):
        raise ValueError("no safetensors header")
    return 8 + length


def _header(kind: FileKind, start: bytes, size: int) -> _Header:
    """Return the header of a safetensors file, parsed strictly, from its first bytes and its size."""
    end = _header_end(kind, start, size)
    header = strict_json(kind, start[8:end].decode("utf-8"))
    entries = header.pop("__metadata__", {})
    if not isinstance(entries, dict) or not all(isinstance(entry, str) for entry in entries.values()):
        raise ValueError("no safetensors header")
    try:  # one by one: of a whole header pydantic would list every error
        return _Header(entries, {name: _Entry.model_validate(entry) for name, entry in header.items()}, end)
    except ValidationError as error:
        raise ValueError("no safetensors header") from error


def _digest(kind: FileKind, header: _Header, raw: bytes) -> str:
    """Return the SHA-256 over the record and each tensor, in the order of their names."""
    content = memoryview(raw)[header.end :]
    digest = hashlib.sha256(header.entries[kind.entry].encode())
    for name, entry in sorted(header.tensors.items()):
        start, end = entry.data_offsets
        digest.update(json.dumps([name, entry.dtype, entry.shape]).encode())
        digest.update(content[start:end])
    return digest.hexdigest()


def _guess(kind: FileKind, start: bytes) -> str:
    # A header's size may also begin with a pickle's first byte.
    pickled = start[:1] == b"\x80" and int.from_bytes(start[:8], "little") > kind.max_header_bytes
    if start[:4] == b"PK\x03\x04" or pickled:
        return "it looks like a pickle (torch.save), and Autoencoder Zoo never unpickles."
    return "it is no safetensors file, or was cut short." if start else "it is empty."
