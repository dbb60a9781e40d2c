"""Faults at every place where a request waits, one a request: an error, a hang-up, its time over.

The tasks of a request are stepped by hand, so that every await of theirs is seen, however deep in
trio it is. An error takes the place of what was waited for.
"""

from __future__ import annotations

import functools
import types
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import pytest
import trio

from trillama.api.answering import Choices, Pending
from trillama.api.callers import Deadline
from trillama.api.connection import Connection

TASKS: tuple[tuple[Any, str], ...] = (
    (Connection, "_answer"), (Pending, "run"), (Choices, "_read"),
)  # fmt: skip
"""The tasks of a request, but for the one that listens for its end."""


class Kind(Enum):
    """What happens."""

    ERROR = "error"
    HANG_UP = "hang-up"
    LATE = "late"


class Fault(Exception):
    """Nothing of ours: what a bug would raise."""


Place = tuple[int, tuple[str, ...]]
"""Functions that wait in each other, outermost first, and how often they did so far."""


class Faults:
    """Strikes at the first await of a request that was not struck before.

    Args:
        known: the places that were; the one of this request joins them.
        kind: what happens there.

    Attributes:
        kind: see above.
        where: the functions that waited where it struck; empty before.
    """

    def __init__(self, known: set[Place], kind: Kind) -> None:
        self.where: tuple[str, ...] = ()
        self._known = known
        self.kind = kind
        self._seen: Counter[tuple[str, ...]] = Counter()
        self._cancel: Callable[[], None] = lambda: None

    def _strikes(self, codes: list[types.CodeType]) -> bool:
        """Whether this is the place."""
        names = tuple(code.co_qualname for code in codes)
        self._seen[names] += 1
        place = (self._seen[names], names)
        if self.where or place in self._known:
            return False
        self._known.add(place)
        self.where = names
        return True

    def begins(self, work: Coroutine[Any, Any, Any]) -> None:
        """``work`` is about to wait."""
        if self.kind is not Kind.ERROR and self._strikes(list(waiting(work))):
            self._cancel()

    def error(self, codes: list[types.CodeType]) -> Exception | None:
        """What waiting there ends with in place of its result; None to let it be."""
        failed = failure(codes) if self.kind is Kind.ERROR else None
        return failed if failed and self._strikes(codes) else None

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` with its awaits counted."""

        @functools.wraps(function)
        async def counted(*args: Any) -> Any:
            if isinstance(args[0], Connection) and self.kind is Kind.HANG_UP:
                self._cancel = args[0]._visit.nursery.cancel_scope.cancel
            return await _stepped(function(*args), self)

        return counted

    def entered(self, deadline: Deadline) -> Deadline:
        """In place of ``Deadline.__enter__``."""
        if self.kind is Kind.LATE:
            self._cancel = deadline._scope.cancel
        deadline._scope.__enter__()
        return deadline


@types.coroutine
def _stepped(work: Coroutine[Any, Any, Any], faults: Faults) -> Generator[Any, Any, Any]:
    step: Callable[[Any], Any] = work.send
    value: Any = None
    while True:
        try:
            wanted = step(value)
        except StopIteration as end:
            return end.value
        faults.begins(work)
        try:
            value, step = (yield wanted), work.send
        except BaseException as error:
            value, step = error, work.throw
        else:
            if (failed := faults.error(list(waiting(work)))) is not None:
                value, step = failed, work.throw


def waiting(work: Any) -> Iterator[types.CodeType]:
    """The functions a coroutine waits in, outermost first."""
    while work is not None:
        code = getattr(work, "cr_code", None) or getattr(work, "gi_code", None)
        if code is not None:
            yield code
        work = getattr(work, "cr_await", None) or getattr(work, "gi_yieldfrom", None)


def failure(codes: list[types.CodeType]) -> Exception | None:
    """How waiting there can fail: a write breaks; anything else meets a bug."""
    names = [code.co_name for code in codes]
    if any("hypercorn" in code.co_filename for code in codes):
        return trio.BrokenResourceError() if "send_all" in names else None
    return None if never_fails(names) else Fault("made to fail")


def never_fails(names: list[str]) -> bool:
    """Whether trio promises that this await ends well: it holds a lock there, or owns tasks."""
    shielded = "cancel_shielded_checkpoint" in names
    return "_nested_child_finished" in names or (shielded and "checkpoint" not in names)


@contextmanager
def striking(faults: Faults) -> Iterator[None]:
    """``faults`` in every request."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in TASKS:
            patch.setattr(owner, name, faults.around(getattr(owner, name)))
        patch.setattr(Deadline, "__enter__", lambda deadline: faults.entered(deadline))
        yield


def connections() -> int:
    """Connections that are served: tasks in which all those of their requests are nested."""

    def below(task: trio.lowlevel.Task) -> int:
        children = (child for nursery in task.child_nurseries for child in nursery.child_tasks)
        return task.name.endswith("._run_handler") + sum(map(below, children))

    root = trio.lowlevel.current_root_task()
    assert root is not None
    return below(root)
