"""A cache with a bound on what it holds: the entry that was not used for longest goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class BoundedCache(Generic[Value]):
    """Values by key, up to a ``limit`` in the unit of ``size`` (a function of a value); safe to use from threads."""

    def __init__(self, limit: int, size: Callable[[Value], int] = lambda _: 1) -> None:
        self._limit, self._size = limit, size
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """The sizes of all values, summed."""
        return self._held

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key, which ``make`` computes where it is missing."""
        value = self.find(key)
        # Not under the lock: others are served meanwhile. Two threads may compute the same value.
        return self.put(key, make()) if value is None else value

    def find(self, key: Hashable) -> Value | None:
        """Return the value of a key; None where there is none."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: Hashable, value: Value) -> Value:
        """Keep a value, unless another thread was first, and return it; others go to make room."""
        with self._lock:
            if key in self._values:
                return self._values[key]
            self._values[key] = value
            self._held += self._size(value)
            while self._held > self._limit and len(self._values) > 1:
                self._held -= self._size(self._values.popitem(last=False)[1])
        return value

    def clear(self) -> None:
        """Let go of all values."""
        with self._lock:
            self._values.clear()
            self._held = 0
