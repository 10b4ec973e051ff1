"""A checkpoint taken apart, to be put together again with anything in it: no library would write these files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Pairs = list[tuple[str, Any]]


@dataclass(frozen=True)
class Text:
    """JSON as it is to stand in the file."""

    json: str


@dataclass
class Form:
    """What a checkpoint holds, in pairs: a name may stand twice.

    Attributes:
        metadata: The header's `__metadata__`, without the record and its checksum.
        record: The JSON object `autoencoder_zoo`.
        tensors: Name and header entry of each tensor.
        content: The tensors' bytes.
        edits: What is done to the header's text at the end.
        sealed: Whether the checksum is computed anew.
    """

    metadata: Pairs
    record: Any
    tensors: Pairs
    content: bytearray
    edits: list[Callable[[str], str]] = field(default_factory=list)
    record_edits: list[Callable[[str], str]] = field(default_factory=list)
    sealed: bool = True
    checksum: str = ""

    @classmethod
    def of(cls, raw: bytes) -> Form:
        end = 8 + int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8:end])
        metadata = header.pop("__metadata__")
        record, checksum = json.loads(metadata.pop("autoencoder_zoo")), metadata.pop("sha256")
        return cls(list(metadata.items()), record, list(header.items()), bytearray(raw[end:]), checksum=checksum)

    def to_bytes(self) -> bytes:
        record = _edited(dump(self.record), self.record_edits)
        checksum = self.checksum
        if self.sealed:
            with contextlib.suppress(Exception):  # an entry that is no entry
                checksum = self._checksum(record)
        metadata = [*self.metadata, ("autoencoder_zoo", record), ("sha256", checksum)]
        header = _edited(_object([("__metadata__", Text(_object(metadata))), *self.tensors]), self.edits)
        encoded = header.encode("utf-8", "surrogatepass")
        return len(encoded).to_bytes(8, "little") + encoded + self.content

    def _checksum(self, record: str) -> str:
        """Return what an attacker computes who has read the documentation, and no more code than that."""
        digest = hashlib.sha256(record.encode())
        for name, entry in sorted(dict(self.tensors).items()):
            start, end = entry["data_offsets"]
            digest.update(json.dumps([name, entry["dtype"], entry["shape"]]).encode())
            digest.update(self.content[start:end])
        return digest.hexdigest()


def dump(value: Any) -> str:
    """Return compact JSON, with every `Text` in it as it is."""
    texts: list[str] = []

    def mark(text: Text) -> str:
        texts.append(text.json)
        return f"@@{len(texts) - 1}@@"

    dumped = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=mark)
    return re.sub(r'"@@(\d+)@@"', lambda match: texts[int(match[1])], dumped) if texts else dumped


def _object(pairs: Pairs) -> str:
    return "{" + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{dump(value)}" for name, value in pairs) + "}"


def _edited(text: str, edits: list[Callable[[str], str]]) -> str:
    for edit in edits:
        text = edit(text)
    return text
