"""Values that are made when first asked for, kept while they are used, and dropped when others are."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Cache(Generic[V]):
    """The values of the keys that were used last.

    Threads that ask for one key at once wait while one of them makes its value. A value that could
    not be made is tried again by whoever asks next.

    Args:
        size: How many values are kept.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry[V]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """Return the value of a key, made now if it is not there."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            if len(self._entries) > self.size:
                self._entries.popitem(last=False)
        with entry.lock:
            if not entry.made:
                entry.made.append(make())
            return entry.made[0]


class _Entry(Generic[V]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made: list[V] = []
