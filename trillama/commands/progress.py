"""Progress of long commands on standard error: one line for each step, bars where bytes are known.

On a terminal the current step spins; elsewhere each step is a line, so that logs stay readable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from .console import human_bytes


class Shower:
    """Shows what is going on, unless ``quiet``; a context manager that tidies the terminal up."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self._console = console or Console(
            stderr=True, highlight=False, soft_wrap=True, quiet=quiet
        )
        self._spinner = Progress(
            TextColumn("{task.description}", markup=False), SpinnerColumn(),
            console=self._console, transient=True, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._current: TaskID | None = None
        self._status = ""
        self._bars: Bars | None = None

    def __enter__(self) -> Shower:
        self._spinner.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close_bars()
        self._spinner.stop()
        if error is None:
            self._finish()

    def tell(self, text: str) -> None:
        """A line that stays."""
        self._finish()
        self._console.print(text, markup=False)

    def status(self, text: str) -> None:
        """A step that goes on until the next one."""
        if text == self._status:
            return
        self._finish()
        self._status = text
        self._current = self._spinner.add_task(text, total=None)

    def _finish(self) -> None:
        if self._current is not None:
            self._spinner.remove_task(self._current)
            self._current = None
        if self._status:
            self._console.print(self._status, markup=False)
        self._status = ""

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """A step that takes its time and leaves no line."""
        task = self._spinner.add_task(text, total=None)
        try:
            yield
        finally:
            self._spinner.remove_task(task)

    @contextmanager
    def bar(self, text: str, total: int) -> Iterator[Callable[[int], None]]:
        """A step measured in bytes; gives a call that adds to them."""
        self._spinner.stop()
        with Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(),
            TransferSpeedColumn(), TimeRemainingColumn(),
            console=self._console, disable=not self._console.is_terminal,
        ) as progress:  # fmt: skip
            task = progress.add_task(text, total=total)
            yield lambda count: progress.advance(task, count)
        if not self._console.is_terminal:
            self._console.print(text, markup=False)
        self._spinner.start()

    def record(self, record: dict[str, Any], suffix: str = "") -> None:
        """A status line of the server's; one with a digest is a bar, labelled with ``suffix``."""
        text, digest = str(record.get("status", "")), record.get("digest")
        if digest:
            if self._bars is None:
                self._finish()
                self._spinner.stop()
                self._bars = Bars(self._console)
            self._bars.show(digest, text + suffix, record)
        elif self._bars is not None and self._bars.unfinished:
            self._console.print(text, markup=False)
        else:
            self._close_bars()
            self.status(text)

    def _close_bars(self) -> None:
        if self._bars is not None:
            self._bars.close()
            self._bars = None
            self._spinner.start()


class Bars:
    """A bar for each of several downloads; off a terminal, a line when each begins."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False), TaskProgressColumn(), BarColumn(),
            DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(compact=True),
            console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._progress.start()

    @property
    def unfinished(self) -> bool:
        """Whether something is still on its way."""
        return not self._progress.finished

    def show(self, digest: str, label: str, record: dict[str, Any]) -> None:
        """How far ``digest`` is."""
        total, completed = record.get("total", 0), record.get("completed", 0)
        if digest not in self._tasks:
            self._tasks[digest] = self._progress.add_task(label, total=total)
            if not self._console.is_terminal:
                self._console.print(f"{label} {human_bytes(total)}", markup=False)
        self._progress.update(self._tasks[digest], completed=completed)

    def close(self) -> None:
        """Leave the bars as they are."""
        self._progress.stop()
