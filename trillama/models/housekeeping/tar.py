"""Reading the little of the tar format that an exported model needs, and nothing else.

Files and folders in the headers that GNU tar and the standard library write; no links, no devices,
no sparse files, no extended headers. The standard library's reader understands all of these, and
has been made to hang by headers of each kind (CVE-2024-6232, CVE-2025-8194), so a stranger's file
is not given to it. No number in the file is believed before it was compared with the file's size.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from trillama.base.errors import BadRequest
from trillama.blobs import translated

BLOCK = 512
MOST_MEMBERS = 100_000
LONG_NAME = 2048
_OCTAL = re.compile(rb"[ ]*([0-7]+)[ \0]*", re.ASCII)
_KINDS = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device",
    b"6": "a pipe", b"S": "a sparse file", b"x": "an extended header", b"g": "an extended header",
}  # fmt: skip
Read = Callable[[int, int], bytes]
"""As ``os.pread``: how many bytes, and from where."""


class BadArchive(BadRequest):
    """The file is no archive of models, or one that cannot be trusted."""

    code = "bad_archive"


class Member(msgspec.Struct, frozen=True):
    """A file inside the archive: ``size`` bytes from ``offset``; a folder has no size."""

    name: str
    folder: bool
    offset: int
    size: int


@contextmanager
def opened(path: Path) -> Iterator[tuple[Read, int]]:
    """A regular file, to be read anywhere, and its size.

    Raises:
        NotFound, StoreError: it is not there, or cannot be read.
        BadArchive: it is no regular file.
    """
    with translated("read", path):
        # O_NONBLOCK: opening a pipe must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise BadArchive(f"{path.name} is not a regular file")

        def read(count: int, offset: int) -> bytes:
            with translated("read", path):
                return os.pread(descriptor, count, offset)

        yield read, facts.st_size
    finally:
        os.close(descriptor)


def members(read: Read, size: int) -> Iterator[Member]:
    """What is in an archive of ``size`` bytes, in order.

    Raises:
        BadArchive.
    """
    position, long_name = 0, ""
    for _ in range(MOST_MEMBERS):
        head = read(BLOCK, position)
        if len(head) < BLOCK:
            raise BadArchive("the archive is truncated, or not a tar file")
        if head == bytes(BLOCK):
            return
        _check_sum(head)
        kind, length = head[156:157], _number(head[124:136])
        start = position + BLOCK
        if start + length > size:
            raise BadArchive("the archive is truncated: a member ends after it")
        position = start + -(-length // BLOCK) * BLOCK
        if kind == b"L":
            long_name = _long_name(read, start, length)
            continue
        name, long_name = long_name or _name(head), ""
        if kind not in (b"0", b"\0", b"5"):
            raise BadArchive(f"{name!r} is {_KINDS.get(kind, 'of an unknown kind')}, not a file")
        if kind == b"5" and length:
            raise BadArchive(f"{name!r} is a folder with content")
        yield Member(name, kind == b"5", start, length)
    raise BadArchive(f"the archive has more than {MOST_MEMBERS} members")


def _check_sum(head: bytes) -> None:
    # Of the bytes of the header, its own field taken as blanks.
    if _number(head[148:156]) != sum(head) - sum(head[148:156]) + 8 * ord(" "):
        raise BadArchive("this is not a tar file, or a header in it is damaged")


def _number(field: bytes) -> int:
    if field[0] == 0x80:  # sizes of 8 GiB and more
        return int.from_bytes(field[1:], "big")
    found = _OCTAL.fullmatch(field)
    if not found:
        raise BadArchive("this is not a tar file, or a number in it is damaged")
    return int(found[1], 8)


def _long_name(read: Read, start: int, length: int) -> str:
    if length > LONG_NAME:
        raise BadArchive(f"the archive has a name of {length} characters")
    return _text(read(length, start))


def _name(head: bytes) -> str:
    prefix = _text(head[345:500]) if head[257:263] == b"ustar\0" else ""
    name = _text(head[:100])
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    try:
        return field.partition(b"\0")[0].decode("ascii")
    except UnicodeDecodeError:
        raise BadArchive("the archive has a name that no model has") from None
