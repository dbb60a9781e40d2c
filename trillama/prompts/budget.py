"""What rendering one template may cost, counted while it runs.

A template comes with a model, so it is a stranger's program. Everything it builds is weighed (the
characters it would print) and charged; a value too large, too much work in all, or too much
processor time ends the rendering. Time is that of the thread, so a busy machine fails nobody.

One ``Budget`` belongs to one rendering in one thread; ``current()`` finds it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from contextlib import contextmanager
from typing import Any

VALUE = 4 << 20
"""Characters a single value may print, before the allowance for large inputs."""
SECONDS = 1.0
"""Processor time of one rendering, and as much again for each mebibyte of input."""
WORK = 64
"""Times the largest value, for everything together."""
STEP = 64
"""Charge of one turn of a loop or one call."""
_CHECK_EVERY = 1024
_CONTAINERS = (list, tuple, dict, KeysView, ValuesView, ItemsView)


class TooExpensive(Exception):
    """The template asks for more than a prompt may cost."""


class Budget:
    """Counts the work of one rendering.

    Args:
        given: what the template works on; its size widens the limits.
    """

    def __init__(self, given: Any = ()) -> None:
        self._weights: dict[int, tuple[Any, int]] = {}
        self._largest = self._most = 2**62
        self._spent = self._next_check = self._added = 0
        size = self.weigh(given)
        self._largest = VALUE + 4 * size
        self._most = WORK * self._largest
        self._deadline = time.thread_time() + SECONDS * (1 + size / (1 << 20))

    def charge(self, amount: int) -> None:
        """Count ``amount`` of work.

        Raises:
            TooExpensive: that is too much.
        """
        self._spent += amount
        if self._spent >= self._next_check:
            self._check()

    def _check(self) -> None:
        self._next_check = self._spent + _CHECK_EVERY
        if self._spent > self._most:
            raise TooExpensive("the chat template does too much work")
        if time.thread_time() > self._deadline:
            raise TooExpensive("the chat template takes too long")

    def allow(self, size: int) -> None:
        """Charge for a value of ``size`` before it is built.

        Raises:
            TooExpensive: it is too large.
        """
        self.fit(size)
        self.charge(size)

    def fit(self, size: int) -> None:
        """Make sure that a value of ``size`` may exist, without a charge.

        Raises:
            TooExpensive: it is too large.
        """
        if size > self._largest:
            raise TooExpensive("the chat template builds too large a value")

    def weigh(self, value: Any) -> int:
        """Characters ``value`` would print, about; what nests shared values counts them each time.

        Each container is weighed once, until a list grows.

        Raises:
            TooExpensive: it is too large.
        """
        if isinstance(value, str):
            return len(value)
        if isinstance(value, int):
            return value.bit_length() // 3 + 1
        if not isinstance(value, _CONTAINERS):
            return 1
        known = self._weights.get(id(value))
        if known is None:
            parts = value.items() if isinstance(value, dict) else value
            weight = 2 + sum(map(self.weigh, parts)) + 2 * len(value)
            self._weights[id(value)] = known = (value, weight)
        self.fit(known[1])
        return known[1]

    def grow(self, added: Any) -> None:
        """A list is about to be given more to hold; it and all that holds it are weighed anew.

        Raises:
            TooExpensive: lists have been given too much in all.
        """
        self._added += self.weigh(added)
        self._weights.clear()
        self.fit(self._added)


_local = threading.local()


def current() -> Budget:
    """The budget of the rendering this thread is in."""
    budget: Budget | None = getattr(_local, "budget", None)
    if budget is None:
        raise RuntimeError("template code ran outside a rendering")
    return budget


@contextmanager
def spending(budget: Budget) -> Iterator[None]:
    """Make ``budget`` the current one of this thread."""
    before = getattr(_local, "budget", None)
    _local.budget = budget
    try:
        yield
    finally:
        _local.budget = before
