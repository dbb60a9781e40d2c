"""``trillama prune``, ``du`` and ``fsck``: looking after the models folder.

They work on the folder itself, without a server, and may run beside one.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from trillama.base.durations import SECOND, parse_duration
from trillama.base.errors import BadRequest
from trillama.models.housekeeping.check import QUARANTINE, Report, check_store
from trillama.models.housekeeping.usage import Usage, disk_usage
from trillama.models.pruning import PARTIAL_GRACE, Stale
from trillama.models.store import ModelStore

from .console import human_bytes, table
from .progress import Shower

SOUND, MENDED, DAMAGED = 0, 2, 4
"""Exit statuses of ``fsck``; 1 is that of any command that failed."""


def as_json(value: Any) -> str:
    """A record of ours for programs."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def prune(store: ModelStore, *, older: str = "", dry_run: bool = False, json: bool = False) -> str:
    """Remove what nobody needs, and say what went.

    Args:
        older: age in Go's notation from which what a broken-off pull left goes; a week.

    Raises:
        BadRequest: ``older`` is no duration.
        CorruptModel: a manifest is unreadable, so that nothing may go.
    """
    grace = _seconds(older) if older else PARTIAL_GRACE
    gone = store.sweep(partial_grace=grace, dry_run=dry_run)
    freed = sum(one.size for one in gone)
    if json:
        return as_json({"dry_run": dry_run, "freed": freed, "files": gone})
    lines = [f"{one.kind:<10}  {human_bytes(one.size):>7}  {one.file}" for one in gone]
    verb = "would be removed" if dry_run else "removed"
    return "\n".join([*lines, f"{_files(gone)} {verb}, {human_bytes(freed)} freed", ""])


def _seconds(text: str) -> float:
    try:
        return max(parse_duration(text), 0) / SECOND
    except ValueError as error:
        raise BadRequest(str(error)) from None


def _files(gone: list[Stale]) -> str:
    return "1 file" if len(gone) == 1 else f"{len(gone)} files"


def du(store: ModelStore, *, json: bool = False) -> str:
    """What each model costs, and the whole folder."""
    usage = disk_usage(store)
    if json:
        return as_json(usage)
    rows = [
        [one.name, *map(human_bytes, (one.size, one.own, one.shared, one.elsewhere))]
        for one in usage.models
    ]
    return table(("NAME", "SIZE", "OWN", "SHARED", "ELSEWHERE"), rows) + _totals(usage)


def _totals(usage: Usage) -> str:
    lines = [f"\n{human_bytes(usage.total)} needed by models"]
    others = (
        (usage.unreferenced, "in blobs that no model needs (trillama prune)"),
        (usage.downloads, "of downloads under way or broken off"),
        (usage.quarantined, f"in {QUARANTINE}/, to be deleted at will"),
    )
    lines += [f"{human_bytes(size)} {what}" for size, what in others if size]
    lines += [f"{path} cannot be read (trillama fsck)" for path in usage.unreadable]
    lines += [
        f"{one.name}: {one.missing} missing (trillama pull {one.name})"
        for one in usage.models
        if one.missing
    ]
    return "\n".join(lines) + "\n"


def fsck(store: ModelStore, *, repair: bool = False, json: bool = False) -> tuple[str, int]:
    """Read all of the store; what to print, and the exit status."""
    if json:
        report = check_store(store, repair=repair)
        return as_json({"sound": report.sound, "mended": report.mended, "report": report}), _status(
            report
        )
    total = store.blobs.statistics().size
    with Shower() as shower, shower.bar("verifying", max(total, 1)) as advance:
        report = check_store(store, repair=repair, advance=advance)
    return _words(report), _status(report)


def _status(report: Report) -> int:
    if report.sound:
        return SOUND
    return MENDED if report.mended else DAMAGED


def _words(report: Report) -> str:
    lines = []
    for one in report.problems:
        models = f" (needed by {', '.join(one.models)})" if one.models else ""
        moved = f"; moved to {one.moved}" if one.moved else ""
        lines.append(f"{one.kind}: {one.file}{models}: {one.reason}{moved}")
    kinds = Counter(one.kind for one in report.problems)
    summary = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "all sound"
    checked = f"{report.manifests} manifests, {report.blobs} blobs, {human_bytes(report.size)}"
    lines.append(f"{checked}: {summary}")
    again = sorted({name for one in report.problems for name in one.models})
    lines += [f"to mend it: trillama pull {name}" for name in again]
    return "\n".join(lines) + "\n"
