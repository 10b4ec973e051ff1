"""What loading a file came to: accepted as it is, refused in one line, or a failure."""

from __future__ import annotations

import contextlib
import ctypes
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from tests.hostile.mutations import Mutant

import zoo
from zoo import ZooError
from zoo.model import checkpoint

HANG_SECONDS = 30
LONGEST_MESSAGE = 1000
MEMORY_PER_BYTE = 3
MEMORY_BESIDE = 64 * 2**20


class HangError(BaseException):
    """Loading takes longer than anything may."""


@dataclass
class Judge:
    """Loads files and counts what becomes of them.

    Attributes:
        path: Where it writes each of them.
        refusals: How often each kind of message came.
        failures: What must not be, one line each.
        slowest: CPU seconds of the slowest refusal.
        largest: Bytes of memory that a load took beyond three times its file.
    """

    path: Path
    refusals: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    largest: int = 0

    def try_one(self, label: str, mutant: Mutant) -> None:
        """Load a file that must be refused, or be what it says; the label names it in a failure."""
        raw = mutant.raw
        self.path.write_bytes(raw)
        if len(raw) > 2**20:
            _give_back_memory()
        _reset_peak()
        before, started = resident_memory(), time.process_time()
        try:
            with _time_limit():
                model = zoo.load(self.path)
        except ZooError as error:
            self.slowest = max(self.slowest, time.process_time() - started)
            self._refused(label, str(error))
        except HangError:
            self.failures.append(f"{label}: it takes more than {HANG_SECONDS} s")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            self.failures.append(f"{label}: {type(error).__name__}: {str(error)[:200]!r}")
        else:
            self.accepted += 1
            self._accepted(label, model, raw, mutant.original)
        beyond = peak_memory() - before - MEMORY_PER_BYTE * len(raw)
        self.largest = max(self.largest, beyond)
        if beyond > MEMORY_BESIDE:
            self.failures.append(f"{label}: {beyond / 2**20:.0f} MB beyond three times the file's size")

    def _refused(self, label: str, message: str) -> None:
        if not message.isprintable() or not 0 < len(message) <= LONGEST_MESSAGE:
            self.failures.append(f"{label}: not one printable line: {message[:300]!r}")
        named = message.replace(str(self.path), "FILE")
        self.refusals[re.sub(r"'.*?'|\d+|\(.*?\)|got .*|: .*|(?<=checkpoint needs ).*", "…", named)[:60]] += 1

    def _accepted(self, label: str, model: zoo.Autoencoder, raw: bytes, original: bytes | None) -> None:
        weights = model.state_dict()
        if not _same(weights, safetensors.torch.load(raw if original is None else original)):
            self.failures.append(f"{label}: accepted with other weights")
        if not all(bool(torch.isfinite(weight).all()) for weight in weights.values()):
            self.failures.append(f"{label}: accepted with weights that are not finite")
        metadata = checkpoint.read(self.path).metadata
        text = metadata.model_dump_json()
        if original is not None:
            self.path.write_bytes(original)
            if checkpoint.read(self.path).metadata.model_dump_json() != text:
                self.failures.append(f"{label}: accepted with other metadata")
            return
        checkpoint.save(self.path, model, metadata)
        again = checkpoint.read(self.path)
        if again.metadata.model_dump_json() != text or not _same(again.build().state_dict(), weights):
            self.failures.append(f"{label}: saved again, it is another")


def resident_memory() -> int:
    """Return the bytes of memory that this process holds; 0 where the system does not say."""
    return _status(b"VmRSS")


def peak_memory() -> int:
    """Return the most that it held since `_reset_peak`."""
    return _status(b"VmHWM")


def settle_memory() -> int:
    """Return `resident_memory` once all that is free has been given back."""
    _give_back_memory()
    return resident_memory()


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        weight.dtype == other[name].dtype and weight.numpy().tobytes() == other[name].numpy().tobytes()
        for name, weight in one.items()
    )


def _status(name: bytes) -> int:
    with contextlib.suppress(OSError), open("/proc/self/status", "rb", buffering=0) as file:
        value = file.read().partition(b"\n%s:" % name)[2]
        return 1024 * int(value.split(maxsplit=1)[0])
    return 0


def _reset_peak() -> None:
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "wb", buffering=0) as file:
        file.write(b"5")


def _give_back_memory() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise HangError

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANG_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
