"""Writing that a crash cannot halve, and the translation of what the system says.

A name appears when its content is on the disk, and is on the disk when success is told: temporary
file, fsync, rename, fsync of the folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from trillama.base.errors import NotFound, StoreError, StoreFull

FOLDER_MODE = 0o755


@contextlib.contextmanager
def translated(what: str, path: Path) -> Iterator[None]:
    """Turn an OSError of the block into ours; ``what`` is the verb of the message.

    Raises:
        NotFound, StoreFull, StoreError.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{path.name} does not exist") from error
    except OSError as error:
        kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
        raise kind(f"cannot {what} {path}: {error.strerror or error}") from error


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create ``folder`` and its parents durably, mode 0755."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    sync_folder(folder.parent)


def discard(temporary: Path) -> None:
    """Remove a temporary file if it is still there; one that stays is pruned at some start."""
    with contextlib.suppress(OSError):
        temporary.unlink()


def replace_file(target: Path, data: bytes, *, staging: Path) -> None:
    """Write a small file so that a crash leaves the old content or the new one, nothing between.

    Args:
        staging: an existing folder of the same file system for the temporary file.

    Raises:
        StoreFull, StoreError.
    """
    temporary = staging / f".trillama-{secrets.token_hex(8)}"
    with translated("write", target):
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            make_folder(target.parent)
            temporary.replace(target)
            sync_folder(target.parent)
        finally:
            discard(temporary)
