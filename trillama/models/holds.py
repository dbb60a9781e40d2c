"""Blobs that somebody counts on before a manifest names them.

Between the moment a create, pull or import finds or writes a blob and the moment its manifest is
there, nothing in the store says that the blob is needed. Whoever works so holds it here, and
pruning passes over what is held.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from trillama.base.names import Digest


class Hold:
    """The blobs of one operation."""

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self.digests: list[Digest] = []

    def add(self, digest: Digest) -> None:
        """Keep ``digest``, in the store already or about to be, until the operation is over."""
        self._holds.change(digest, 1)
        self.digests.append(digest)


class Holds:
    """All holds of this process. Safe to use from many threads."""

    def __init__(self) -> None:
        self._counts: Counter[Digest] = Counter()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Holds {len(self._counts)} blobs>"

    def __contains__(self, digest: Digest) -> bool:
        return self._counts[digest] > 0

    def if_free(self, digest: Digest, remove: Callable[[Digest], bool]) -> bool:
        """Call ``remove`` unless the blob is held; nobody can begin to hold it meanwhile."""
        with self._lock:
            return self._counts[digest] <= 0 and remove(digest)

    @contextlib.contextmanager
    def hold(self) -> Iterator[Hold]:
        """Holds for the length of the block; write the manifest inside it."""
        hold = Hold(self)
        try:
            yield hold
        finally:
            for digest in hold.digests:
                self.change(digest, -1)

    def change(self, digest: Digest, by: int) -> None:
        """Count one more or one less who needs ``digest``."""
        with self._lock:
            self._counts[digest] += by
            if self._counts[digest] <= 0:
                del self._counts[digest]
