"""A sign of life on the terminal until an answer begins: a spinner, or how far a load is."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from trillama.base.errors import TrillamaError

from .client import Client, ServerDown

PERIOD = 0.25
"""Seconds between two looks at the server."""
PATIENCE = 60.0
"""Seconds that a server which is away is waited for."""


class Waiting:
    """Shows on standard error that something goes on; a context manager that leaves no trace."""

    def __init__(self, client: Client, model: str) -> None:
        self._client = client
        self._model = model
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="loading", daemon=True)
        self._progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False),
            BarColumn(), TaskProgressColumn(),
            console=Console(stderr=True, highlight=False), transient=True,
        )  # fmt: skip
        self._spinner = Progress(
            SpinnerColumn(), console=Console(stderr=True, highlight=False), transient=True
        )

    def __enter__(self) -> None:
        self._spinner.add_task("", total=None)
        self._spinner.start()
        self._watcher.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._watcher.join()
        self._spinner.stop()
        self._progress.stop()

    def _watch(self) -> None:
        task = None
        while not self._over.wait(PERIOD):
            fraction = loading(self._client, self._model)
            if fraction is None:
                continue
            if task is None:
                self._spinner.stop()
                self._progress.start()
                task = self._progress.add_task(f"loading {self._model}", total=1.0)
            self._progress.update(task, completed=fraction)


def loading(client: Client, model: str) -> float | None:
    """How far the load of a model is, 0 to 1; None while it is not being loaded."""
    with contextlib.suppress(TrillamaError):
        for one in client.call("GET", "/api/ps").get("loading") or ():
            if one["name"].split(":")[0] == model.split(":")[0]:
                return float(one["progress"])
    return None


def awaited(
    client: Client, model: str, records: Iterator[dict[str, Any]], *, quiet: bool
) -> Iterator[dict[str, Any]]:
    """The records of an answer, with a sign of life until the first one comes."""
    if quiet or not sys.stderr.isatty():
        yield from records
        return
    with Waiting(client, model):
        first = next(records, None)
    if first is not None:
        yield first
        yield from records


def await_server(client: Client, patience: float = PATIENCE) -> None:
    """Wait until the server is there again.

    Raises:
        ServerDown: it is not back in ``patience`` seconds.
    """
    print("waiting for the server (Ctrl + c to stop)", file=sys.stderr)
    deadline = time.monotonic() + patience
    while True:
        try:
            return client.check()
        except ServerDown:
            if time.monotonic() > deadline:
                raise
        time.sleep(PERIOD)
