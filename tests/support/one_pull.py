"""One pull in a process of its own: ``python -m tests.support.one_pull FOLDER NAME``.

Slow enough to be killed in the middle of it. Prints a line when it begins, one when bytes come, and
at its end one JSON object with the number of bytes that came. What comes is also counted in a file
beside the folder, ``fetched``, which a kill leaves right.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path

import trio

from trillama.base.names import parse_reference
from trillama.base.progress import Progress
from trillama.base.settings import Settings
from trillama.models.registry.download import Download
from trillama.models.registry.pull import Puller, PullRequest
from trillama.models.registry.transfers import Transfers
from trillama.models.store import ModelStore

RATE = 120_000_000


async def main(root: Path, name: str) -> None:
    """Pull ``name`` into ``root``."""
    settings = Settings(max_download_rate=RATE, identity=str(root.parent / "key"))
    store = ModelStore(root)
    transfers = Transfers(store.blobs, settings)
    fetched = [0]
    store_part = Download._store
    tally = os.open(root.parent / "fetched", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def counted(self: Download, part: object, chunks: list[bytes]) -> None:
        if not fetched[0]:
            print("flowing", flush=True)  # noqa: T201
        size = sum(map(len, chunks))
        fetched[0] += size
        os.write(tally, struct.pack("<Q", size))
        await store_part(self, part, chunks)  # type: ignore[arg-type]

    Download._store = counted  # type: ignore[method-assign, assignment]

    def quiet(line: Progress) -> None:
        """Nobody listens."""

    print("begun", flush=True)  # noqa: T201
    async with trio.open_nursery() as nursery:
        await nursery.start(transfers.run)
        await Puller(store, transfers).pull(PullRequest(parse_reference(name), True), quiet)
        nursery.cancel_scope.cancel()
    print(json.dumps({"fetched": fetched[0]}), flush=True)  # noqa: T201


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), sys.argv[2])
