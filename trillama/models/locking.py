"""One at a time may change manifests or take blobs away, whichever program it is.

A server and ``trillama prune`` beside it see each other by a lock on the models folder itself, so
that no manifest appears between the moment a blob is found needless and the moment it is gone.
Where the file system knows no such locks, or the folder is not there yet, it holds for the threads
of this process alone.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path
from types import TracebackType

from trillama.base.errors import StoreError

PATIENCE = 30.0
"""Seconds to wait for another program, which holds the lock for far less than one."""
_LOOK = 0.01


class StoreLock:
    """The lock of the models folder ``root``; a context manager, not to be entered twice."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._threads = threading.Lock()
        self._descriptor = -1

    def __repr__(self) -> str:
        return f"<StoreLock {self._root}>"

    def __enter__(self) -> None:
        """Wait for the lock.

        Raises:
            StoreError: another program does not let go of it.
        """
        self._threads.acquire()
        try:
            self._descriptor = self._locked()
        except BaseException:
            self._threads.release()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        self._threads.release()

    def _locked(self) -> int:
        try:
            descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return -1
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise StoreError(f"another program keeps {self._root} locked") from None
                time.sleep(_LOOK)
            except OSError:
                return descriptor  # no locks here
            else:
                return descriptor
