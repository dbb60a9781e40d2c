"""A reader of GGUF headers that trusts no number in the file.

Every weights file is read here before llama.cpp maps it. Counts, lengths, the header's total size
and the time spent are bounded, and each tensor must lie exactly where the previous one ends, inside
the file (the rule of llama.cpp's gguf.cpp). Nothing is mapped into memory: a file that shrinks
while it is read is an error, not a signal. Versions 2 and 3, little endian. The only failure of a
damaged file is ``CorruptModel``.
"""

from __future__ import annotations

import math
import os
import stat
import struct
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np

from trillama.base.errors import CorruptModel, NotFound

from .ggml_types import ELEMENT_TYPES, ElementType

MIB = 1024 * 1024
DEFAULT_ALIGNMENT = 32
MAX_DIMENSIONS = 4
MAX_KEY, MAX_TENSOR_NAME = 65535, 63  # bytes
STRING, ARRAY = 8, 9
KEY_WORTH, TENSOR_WORTH = 32, 48  # elements of an array that take as long to read


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a header may cost; sizes in bytes, time in seconds.

    Attributes:
        kept: elements of arrays that are kept, or are strings, with what keys and tensors are
            worth. The largest vocabularies with their merges have about a million.
    """

    header: int = 64 * MIB
    string: int = 16 * MIB
    keys: int = 1 << 16
    tensors: int = 1 << 15
    elements: int = 1 << 23
    kept: int = 1 << 21
    seconds: float = 20.0
    window: int = MIB


DEFAULT_LIMITS = Limits()


class GgufArray(msgspec.Struct, frozen=True):
    """An array of the metadata.

    Attributes:
        element: GGUF name of the element type, such as "string" or "int32".
        count: number of elements.
        values: the elements, None where they were skipped. Bytes that are not UTF-8 are kept as
            lone surrogates, so that different strings stay different.
    """

    element: str
    count: int
    values: list[int] | list[float] | list[bool] | list[str] | None = None


Read: TypeAlias = Callable[[int, int], bytes]
"""Bytes of a file: how many, and from where; fewer where it ends."""

Value: TypeAlias = int | float | bool | str | GgufArray


class TensorInfo(msgspec.Struct, frozen=True):
    """One tensor: dimensions in ggml order, ``offset`` from the start of the data, in bytes."""

    name: str
    shape: tuple[int, ...]
    type: ElementType
    offset: int

    @property
    def elements(self) -> int:
        """Product of the dimensions."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes of data."""
        return self.elements // self.type.block * self.type.size


class GgufFile(msgspec.Struct, frozen=True):
    """A header that was found sound; ``size`` is that of the whole file.

    Attributes:
        spans: where each key with its value stands in the file, from and to.
    """

    version: int
    alignment: int
    metadata: dict[str, Value]
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    size: int
    spans: dict[str, tuple[int, int]] = {}

    @property
    def architecture(self) -> str:
        """``general.architecture``, "" when absent."""
        return self.text("general.architecture")

    @property
    def parameter_count(self) -> int:
        """Number of weights."""
        return sum(tensor.elements for tensor in self.tensors)

    def text(self, key: str) -> str:
        """A string value, "" when absent or of another type."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def hyper(self, name: str) -> Value | None:
        """A hyper-parameter by its name below the architecture, such as "block_count"."""
        return self.metadata.get(f"{self.architecture}.{name}")


_SCALARS: dict[int, tuple[str, struct.Struct]] = {
    0: ("uint8", struct.Struct("<B")),
    1: ("int8", struct.Struct("<b")),
    2: ("uint16", struct.Struct("<H")),
    3: ("int16", struct.Struct("<h")),
    4: ("uint32", struct.Struct("<I")),
    5: ("int32", struct.Struct("<i")),
    6: ("float32", struct.Struct("<f")),
    7: ("bool", struct.Struct("<?")),
    10: ("uint64", struct.Struct("<Q")),
    11: ("int64", struct.Struct("<q")),
    12: ("float64", struct.Struct("<d")),
}
_U32 = _SCALARS[4][1]
_U64 = _SCALARS[10][1]


class _Cursor:
    """A bounded, buffered walk through the front of a file."""

    def __init__(self, read: Read, size: int, limits: Limits) -> None:
        self.limits = limits
        self.position = 0
        self._read = read
        self._size = size
        self._buffer = b""
        self._start = 0
        self._kept = 0
        self._deadline = time.monotonic() + limits.seconds

    def window(self, need: int) -> tuple[bytes, int]:
        """A buffer and the index in it from which at least ``need`` bytes can be read."""
        at = self.position - self._start
        if at >= 0 and at + need <= len(self._buffer):
            return self._buffer, at
        self._check(need)
        ahead = min(self.limits.window, self.limits.header - self.position)
        self._buffer = self._read(max(need, ahead), self.position)
        self._start = self.position
        if len(self._buffer) < need:
            raise CorruptModel("the file is truncated: it ends inside the header")
        return self._buffer, 0

    def _check(self, need: int) -> None:
        end = self.position + need
        if end > self._size:
            raise CorruptModel("the file is truncated: its header claims more bytes than there are")
        if end > self.limits.header:
            raise CorruptModel(f"the header is larger than {self.limits.header} bytes")
        if time.monotonic() > self._deadline:
            raise CorruptModel(f"reading the header took longer than {self.limits.seconds:g} s")

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        buffer, at = self.window(count)
        self.position += count
        return buffer[at : at + count]

    def keep(self, count: int) -> None:
        """Account for elements that cost time or memory each."""
        self._kept += count
        if self._kept > self.limits.kept:
            raise CorruptModel(f"the header holds more than {self.limits.kept} elements")

    def skip(self, count: int) -> None:
        """Step over ``count`` bytes without reading them."""
        self._check(count)
        self.position += count

    def number(self, layout: struct.Struct) -> int | float | bool:
        """The next scalar."""
        buffer, at = self.window(layout.size)
        self.position += layout.size
        value: int | float | bool = layout.unpack_from(buffer, at)[0]
        return value

    def count(self, layout: struct.Struct, most: int, what: str) -> int:
        """The next unsigned number, refused above ``most``."""
        value = int(self.number(layout))
        if value > most:
            raise CorruptModel(f"the header claims {value} {what}; at most {most} are accepted")
        return value

    def string(self, most: int | None = None) -> bytes:
        """The next string."""
        return self.take(self.count(_U64, most or self.limits.string, "bytes in one string"))

    def text(self, most: int | None = None) -> str:
        """The next string as text; bytes that are not UTF-8 become U+FFFD."""
        return self.string(most).decode("utf-8", "replace")

    def strings(self, count: int, into: list[str] | None) -> None:
        """Walk over ``count`` strings, keeping them when a list is given.

        Vocabularies hold hundreds of thousands, so the loop stays inside one buffer.
        """
        length_of = _U64.unpack_from
        while count:
            buffer, at = self.window(_U64.size)
            start, end = at, len(buffer)
            while count and at + 8 <= end:
                after = at + 8 + length_of(buffer, at)[0]
                if after > end:
                    break
                if into is not None:
                    into.append(buffer[at + 8 : after].decode("utf-8", "surrogateescape"))
                at, count = after, count - 1
            self.position += at - start
            if count and at == start:
                self._long_string(into)
                count -= 1

    def _long_string(self, into: list[str] | None) -> None:
        text = self.string()
        if into is not None:
            into.append(text.decode("utf-8", "surrogateescape"))


def _array(cursor: _Cursor, keep: int | None) -> GgufArray:
    kind = int(cursor.number(_U32))
    count = cursor.count(_U64, cursor.limits.elements, "elements in one array")
    kept = keep is None or count <= keep
    if kept or kind == STRING:
        cursor.keep(count)
    if kind == STRING:
        texts: list[str] | None = [] if kept else None
        cursor.strings(count, texts)
        return GgufArray("string", count, texts)
    if kind not in _SCALARS:
        raise CorruptModel(f"an array has elements of type {kind}, which is not supported")
    name, layout = _SCALARS[kind]
    if not kept:
        cursor.skip(count * layout.size)
        return GgufArray(name, count)
    data = np.frombuffer(cursor.take(count * layout.size), np.dtype(name).newbyteorder("<"))
    return GgufArray(name, count, data.tolist())


def _value(cursor: _Cursor, keep: int | None) -> Value:
    kind = int(cursor.number(_U32))
    if kind == STRING:
        return cursor.text()
    if kind == ARRAY:
        return _array(cursor, keep)
    if kind not in _SCALARS:
        raise CorruptModel(f"a value has type {kind}, which does not exist")
    return cursor.number(_SCALARS[kind][1])


def _metadata(
    cursor: _Cursor, count: int, keep: int | None
) -> tuple[dict[str, Value], dict[str, tuple[int, int]]]:
    found: dict[str, Value] = {}
    spans: dict[str, tuple[int, int]] = {}
    for _ in range(count):
        start = cursor.position
        key = cursor.text(MAX_KEY)
        if not key or key in found:
            raise CorruptModel(f"the key {key!r} is empty or appears twice")
        found[key] = _value(cursor, keep)
        spans[key] = start, cursor.position
    return found, spans


def _tensor(cursor: _Cursor) -> TensorInfo:
    name = cursor.text(MAX_TENSOR_NAME)
    dimensions = cursor.count(_U32, MAX_DIMENSIONS, f"dimensions for tensor {name!r}")
    shape = tuple(int(cursor.number(_U64)) for _ in range(dimensions))
    kind = int(cursor.number(_U32))
    offset = int(cursor.number(_U64))
    if kind not in ELEMENT_TYPES:
        raise CorruptModel(f"tensor {name!r} has element type {kind}, which does not exist")
    element = ELEMENT_TYPES[kind]
    if math.prod(shape) >= 2**63 or (shape[0] if shape else 1) % element.block:
        raise CorruptModel(f"tensor {name!r} cannot have shape {list(shape)} as {element.name}")
    return TensorInfo(name, shape, element, offset)


def _alignment(metadata: dict[str, Value]) -> int:
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if type(value) is not int or value <= 0 or value & (value - 1):
        raise CorruptModel("general.alignment is not a power of two")
    return value


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _check_extents(tensors: tuple[TensorInfo, ...], alignment: int, room: int) -> None:
    names = {tensor.name for tensor in tensors}
    if len(names) < len(tensors):
        raise CorruptModel("two tensors have the same name")
    expected = 0
    for tensor in tensors:
        if tensor.offset != expected:
            raise CorruptModel(
                f"tensor {tensor.name!r} is at offset {tensor.offset}, expected {expected}"
            )
        if tensor.offset + tensor.size > room:
            raise CorruptModel(f"the file is truncated: tensor {tensor.name!r} ends after it")
        expected = _padded(tensor.offset + tensor.size, alignment)


def _version(cursor: _Cursor) -> int:
    if cursor.take(4) != b"GGUF":
        raise CorruptModel("this is not a GGUF file")
    version = int(cursor.number(_U32))
    if not version & 0xFFFF:
        raise CorruptModel("big-endian GGUF files are not supported")
    if version not in (2, 3):
        raise CorruptModel(f"GGUF version {version} is not supported, only 2 and 3 are")
    return version


def _parse(cursor: _Cursor, size: int, keep: int | None) -> GgufFile:
    version = _version(cursor)
    tensor_count = cursor.count(_U64, cursor.limits.tensors, "tensors")
    key_count = cursor.count(_U64, cursor.limits.keys, "metadata keys")
    cursor.keep(key_count * KEY_WORTH + tensor_count * TENSOR_WORTH)
    metadata, spans = _metadata(cursor, key_count, keep)
    alignment = _alignment(metadata)
    tensors = tuple(_tensor(cursor) for _ in range(tensor_count))
    data = _padded(cursor.position, alignment) if tensors else cursor.position
    _check_extents(tensors, alignment, size - data)
    return GgufFile(version, alignment, metadata, tensors, data, size, spans)


def parse_gguf(
    read: Read, size: int, *, keep_arrays: int | None = 1024, limits: Limits = DEFAULT_LIMITS
) -> GgufFile:
    """Read and check the header of ``size`` bytes that lie anywhere; see ``read_gguf``.

    Raises:
        CorruptModel; and whatever ``read`` does.
    """
    return _parse(_Cursor(read, size, limits), size, keep_arrays)


def read_gguf(
    path: Path, *, keep_arrays: int | None = 1024, limits: Limits = DEFAULT_LIMITS
) -> GgufFile:
    """Read and check the header of a GGUF file.

    Args:
        keep_arrays: arrays with more elements are stepped over; None keeps all.

    Raises:
        CorruptModel: the file is not sound, or asks for more than the limits.
        NotFound: there is no such file.
    """
    try:
        # O_NONBLOCK: opening a pipe must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NotFound(f"the weights file {path.name} does not exist") from None
    except OSError as error:
        raise CorruptModel(f"{path.name} cannot be opened: {error.strerror}") from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise CorruptModel(f"{path.name} is not a regular file")
        read = partial(os.pread, descriptor)
        return parse_gguf(read, facts.st_size, keep_arrays=keep_arrays, limits=limits)
    except OSError as error:
        raise CorruptModel(f"{path.name} cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
