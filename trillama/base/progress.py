"""Progress of long work on the store: pull, push, create.

One noun for every such operation, and the way it is told: by a plain call that never waits, from
whatever task or, through ``trio.from_thread``, thread does the work.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """One status line; ``total`` and ``completed`` in bytes, of the blob ``digest`` names.

    Fields in the order of the wire; what is empty or 0 is left out there.
    """

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0


Tell = Callable[[Progress], None]
"""Reports a line; returns at once."""
