"""``trillama export`` and ``import``: models in a file, for machines without a network."""

from __future__ import annotations

from pathlib import Path

from trillama.base.names import parse_name
from trillama.models.housekeeping.export import export_model
from trillama.models.housekeeping.take_in import Wish, import_archive
from trillama.models.store import ModelStore

from .console import human_bytes
from .progress import Shower


def exported(store: ModelStore, name: str, target: Path, *, quiet: bool = False) -> str:
    """Write a model to a file; what to print.

    Raises:
        NotFound, BadRequest, CorruptModel, StoreError: see ``export_model``.
    """
    size = store.find(name).size
    with (
        Shower(quiet=quiet) as shower,
        shower.bar(f"writing {target.name}", max(size, 1)) as advance,
    ):
        done = export_model(store, name, target, advance)
    return f"{done.name} ({done.digest}) in {target}, {human_bytes(done.size)}\n"


def imported(
    store: ModelStore, source: Path, *, name: str, replace: bool, quiet: bool = False
) -> str:
    """Bring in the models of a file; what to print.

    Raises:
        NotFound, BadRequest, StoreError: see ``import_archive``.
    """
    wish = Wish(name=parse_name(name) if name else None, replace=replace)
    size = source.stat().st_size if source.is_file() else 0
    with (
        Shower(quiet=quiet) as shower,
        shower.bar(f"reading {source.name}", max(size, 1)) as advance,
    ):
        done = import_archive(store, source, wish, advance)
    lines = [f"{one.name} ({one.digest}){'' if one.new else ' was there'}" for one in done]
    return "\n".join([*lines, ""])
