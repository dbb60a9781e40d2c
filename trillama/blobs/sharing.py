"""Files that become blobs without a byte being copied: shared blocks, else a hard link."""

from __future__ import annotations

import contextlib
import enum
import fcntl
import os
import stat
from pathlib import Path
from typing import BinaryIO

from trillama.base.errors import BadRequest

FILE_MODE = 0o644
_FICLONE = 0x40049409
"""The ioctl that makes one file share another's extents (linux/fs.h)."""


class Published(enum.StrEnum):
    """How a file came into the store."""

    PRESENT = "present"
    REFLINK = "reflink"
    HARDLINK = "hardlink"
    REFERENCE = "reference"
    COPY = "copy"


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, which is to be a regular one.

    Raises:
        BadRequest: it is none.
        OSError.
    """
    # O_NONBLOCK: opening a pipe must not wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadRequest(f"{path.name} is not a regular file")
    return os.fdopen(descriptor, "rb")


def share_blocks(file: BinaryIO, linkable: Path | None, target: Path) -> Published | None:
    """Make ``target`` the same blocks as the file; None when the file system cannot."""
    with target.open("xb") as out, contextlib.suppress(OSError):
        fcntl.ioctl(out.fileno(), _FICLONE, file.fileno())
        os.fchmod(out.fileno(), FILE_MODE)
        return Published.REFLINK
    target.unlink()
    if linkable is None:
        return None
    with contextlib.suppress(OSError):
        os.link(linkable, target)
        # The name may have come to mean another file since it was opened.
        if os.path.samestat(target.lstat(), os.fstat(file.fileno())):
            return Published.HARDLINK
        target.unlink()
    return None
