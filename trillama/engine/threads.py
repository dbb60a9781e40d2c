"""Threads beside the trio thread: one that drives an engine, and a few with deep stacks.

Owns the mechanics only: commands go in through a queue, results come back through a courier and
``TrioToken.run_sync_soon``. What is driven and who is told are protocols, so this room knows no
model, no job and no request. ``runner_pool`` is the caller.

It never touches trio state from a thread, never polls, and never lets a dead trio loop hang a
thread: a post that finds the loop finished ends the thread instead.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import trio

T = TypeVar("T")
E = TypeVar("E")
Out = TypeVar("Out", covariant=True)
In = TypeVar("In", contravariant=True)

SWITCH_INTERVAL = 2e-4
"""Seconds. A thread coming back from a long foreign call waits up to this for the GIL; at
CPython's 5 ms a 1.4 ms decode loop was measured at 8-9 ms beside one busy Python thread."""

DEEP_STACK = 512 << 20
"""Bytes, virtual. std::regex recurses per character in several llama.cpp pre-tokenizers."""

LEAST_STACK = 64 << 20
"""Where the address space is limited; runs of some 150 000 like characters still pass."""


class Machine(Protocol[Out]):
    """What an engine thread drives; every method runs on that thread."""

    @property
    def busy(self) -> bool:
        """True while ``step`` has something to do."""
        ...

    @property
    def linger(self) -> float:
        """Seconds the next step may wait for a further command; 0 for none."""
        ...

    def open(self) -> None:
        """Get ready; may take minutes. An exception ends the thread."""
        ...

    def step(self) -> Sequence[Out]:
        """Advance once; an exception ends the thread."""
        ...

    def close(self) -> None:
        """Free everything, also after a failed ``open``; must not raise."""
        ...


class Watcher(Protocol[In]):
    """Who is told; every method runs on the trio thread and must not raise."""

    def opened(self) -> None:
        """The machine is ready for commands."""
        ...

    def deliver(self, events: Sequence[In]) -> None:
        """What one step brought, in order."""
        ...

    def broke(self, error: Exception) -> None:
        """The machine raised; nothing is delivered after this."""
        ...

    def closed(self) -> None:
        """The machine is closed and the thread gone."""
        ...


Errand: TypeAlias = tuple[Callable[..., object], tuple[Any, ...]]
"""A function and what it is called with."""


class Courier:
    """Takes errands to the trio thread, in order, without letting whoever sends them wait.

    ``run_sync_soon`` lets the GIL go when it wakes the trio thread, which then keeps it for all it
    has to do: an engine that called it before a decode was held up by a millisecond and more. A
    queue wakes this thread and keeps the GIL, so the trio thread works beside the decode.

    Args:
        lost: called, once, when the trio loop turns out to be over.
    """

    def __init__(self, name: str, lost: Callable[[], object]) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._lost = lost
        self._over = False
        self._errands: SimpleQueue[Errand | None] = SimpleQueue()
        threading.Thread(target=self._main, name=name, daemon=True).start()

    def send(self, callback: Callable[..., object], *args: object) -> None:
        """Run ``callback`` soon on the trio thread.

        Raises:
            trio.RunFinishedError: the trio loop is known to be over.
        """
        if self._over:
            raise trio.RunFinishedError
        self._errands.put((callback, args))

    def stop(self) -> None:
        """End the thread once what was sent before is delivered."""
        self._errands.put(None)

    def _main(self) -> None:
        try:
            while (errand := self._errands.get()) is not None:
                self._token.run_sync_soon(errand[0], *errand[1])
        except trio.RunFinishedError:
            self._over = True
            self._lost()


class EngineThread(Generic[E]):
    """One thread that owns one machine from ``open`` to ``close``.

    It sleeps in its queue while the machine is idle. A machine that broke is kept, unused, until
    ``stop``: whoever still reads from it on other threads is given time to leave.
    """

    def __init__(self, name: str, machine: Machine[E], watcher: Watcher[E]) -> None:
        self._name = name
        self._machine = machine
        self._watcher = watcher
        self._commands: SimpleQueue[Errand | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._main, name=f"engine:{name}", daemon=True)

    def start(self) -> None:
        """Start the thread; call from trio.

        Raises:
            RuntimeError: the system has no thread left.
        """
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL))
        self._courier = Courier(f"courier:{self._name}", self.stop)
        try:
            self._thread.start()
        except RuntimeError:
            self._courier.stop()
            raise

    @property
    def alive(self) -> bool:
        """True from ``start`` until the thread has ended."""
        return self._thread.is_alive()

    def post(self, command: Callable[..., object], *args: object) -> None:
        """Have ``command(*args)`` run on the thread before its next step. Any thread."""
        self._commands.put((command, args))

    def stop(self) -> None:
        """Have the thread close its machine once the commands before this are done."""
        self._commands.put(None)

    def tell(self, callback: Callable[..., object], *args: object) -> None:
        """From the engine thread: run ``callback`` soon on the trio thread.

        Raises:
            trio.RunFinishedError: the trio loop is known to be over.
        """
        self._courier.send(callback, *args)

    def _main(self) -> None:
        # Where the trio loop is over nobody is left to be told; the machine is still closed.
        with contextlib.suppress(trio.RunFinishedError):
            self._live()
        self._machine.close()
        with contextlib.suppress(trio.RunFinishedError):
            self.tell(self._watcher.closed)
        self._courier.stop()
        # They know this thread in turn: without a ring, a model's tables go with its last user,
        # and not when the garbage collector comes by, many models later.
        del self._machine, self._watcher, self._courier

    def _live(self) -> None:
        try:
            self._machine.open()
            self.tell(self._watcher.opened)
            while self._obey():
                events = self._machine.step()
                if events:
                    self.tell(self._watcher.deliver, events)
        except trio.RunFinishedError:
            raise
        except Exception as error:
            self.tell(self._watcher.broke, error)
            while self._commands.get() is not None:
                pass

    def _obey(self) -> bool:
        """Carry out what was posted, waiting for work when idle; False at the stop."""
        machine, commands = self._machine, self._commands
        while True:
            wait: float | None = None
            if machine.busy and commands.empty():
                wait = machine.linger
                if wait <= 0:
                    return True
            try:
                command = commands.get(timeout=wait)
            except Empty:
                return True
            if command is None:
                return False
            command[0](*command[1])


_stack_sizes = threading.Lock()


@contextlib.contextmanager
def stack_size_of(size: int) -> Iterator[None]:
    """Threads started in this block get stacks of ``size`` bytes; the setting is the process's."""
    with _stack_sizes:
        before = threading.stack_size(size)
        try:
            yield
        finally:
            threading.stack_size(before)


class _Call(Generic[T]):
    """One function on its way through a StackPool."""

    def __init__(self, function: Callable[[], T], done: Callable[[], object]) -> None:
        self.function = function
        self.done = done
        self.token = trio.lowlevel.current_trio_token()
        self.finished = trio.Event()
        self.abandoned = False
        self.value: T | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        """On a pool thread: compute unless nobody waits any more, then tell trio."""
        if not self.abandoned:
            try:
                self.value = self.function()
            except Exception as error:
                self.error = error
        with contextlib.suppress(trio.RunFinishedError):
            self.token.run_sync_soon(self._finish)

    def _finish(self) -> None:
        self.finished.set()
        self.done()


class StackPool:
    """A few threads with deep stacks, started at the first call."""

    def __init__(self, name: str, threads: int = 2, stack_size: int = DEEP_STACK) -> None:
        self._name = name
        self._wanted = threads
        self._stack_size = stack_size
        self._calls: SimpleQueue[_Call[Any] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def run(self, function: Callable[[], T], done: Callable[[], object]) -> T:
        """The result of ``function`` computed on one of the threads.

        Cancelling returns at once and abandons the result; a call not yet begun is skipped.
        ``done`` runs on the trio thread when the pool has let go of ``function`` for good.
        """
        if not self._threads:
            self._start_threads()
        call = _Call(function, done)
        self._calls.put(call)
        try:
            await call.finished.wait()
        finally:
            call.abandoned = True
        if call.error is not None:
            raise call.error
        return call.value  # type: ignore[return-value] # None only where T allows it

    def close(self) -> None:
        """Let the threads end after the calls already queued."""
        for _ in self._threads:
            self._calls.put(None)
        self._threads = []

    def _start_threads(self) -> None:
        try:
            self._start(self._stack_size)
        except RuntimeError:  # no room for such stacks
            if not self._threads:
                self._start(min(self._stack_size, LEAST_STACK))

    def _start(self, stack_size: int) -> None:
        with stack_size_of(stack_size):
            for number in range(self._wanted):
                name = f"{self._name}:{number}"
                thread = threading.Thread(target=self._main, name=name, daemon=True)
                thread.start()
                self._threads.append(thread)

    def _main(self) -> None:
        while (call := self._calls.get()) is not None:
            call.run()
