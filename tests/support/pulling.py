"""A store with all that pulls into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.rogue import World
from trillama.base.names import parse_reference
from trillama.base.progress import Progress
from trillama.base.settings import Settings
from trillama.models.registry.pull import Puller, PullRequest
from trillama.models.registry.transfers import Transfers
from trillama.models.store import ModelStore


class Bench:
    """A store, transfers into it, and what they told."""

    def __init__(self, root: Path, world: World, settings: dict[str, Any]) -> None:
        fields = {"models": str(root), "identity": str(root.parent / "id_ed25519")} | settings
        self.settings = Settings(**fields)
        self.store = ModelStore(root, noprune=self.settings.noprune)
        self.transfers = Transfers(self.store.blobs, self.settings, world.resolve, world.connect)
        self.puller = Puller(self.store, self.transfers)
        self.lines: list[Progress] = []

    async def pull(self, name: str, *, insecure: bool = True) -> list[str]:
        """Pull; returns the statuses told, each once."""
        self.lines.clear()
        request = PullRequest(parse_reference(name), insecure)
        await self.puller.pull(request, self.lines.append)
        return list(dict.fromkeys(line.status for line in self.lines))

    def files(self) -> set[str]:
        """Everything below the store's folder, by path."""
        root = self.store.root
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
