"""One GGUF file out of its shards.

Ollama knows models of one file only, so shards are joined when they enter the store. What the first
shard says about the model is kept to the byte, without what it says about the split; tensors follow
in the order of the shards.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from trillama.base.errors import BadRequest, CorruptModel

from ..ggml_types import ELEMENT_TYPES
from ..gguf import GgufFile, TensorInfo

CHUNK = 4 << 20
SPLIT_KEYS = ("split.no", "split.count", "split.tensors.count")

Shard = tuple[Path, GgufFile]
Write = Callable[[bytes], None]


def _padding(size: int, alignment: int) -> int:
    return -size % alignment


def merged_size(shards: Sequence[Shard]) -> int:
    """Bytes the whole will have, at most."""
    return sum(header.size for _, header in shards)


def write_merged(shards: Sequence[Shard], write: Write) -> None:
    """Write the whole of ``shards``, which are all there and in order.

    Raises:
        BadRequest: they do not belong together.
        CorruptModel: a file has changed meanwhile.
    """
    path, first = shards[0]
    tensors = [tensor for _, header in shards for tensor in header.tensors]
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise BadRequest("two shards hold the same tensor")
    if any(header.alignment != first.alignment for _, header in shards):
        raise BadRequest("shards differ in general.alignment")
    head = _head(path, first, tensors)
    write(head + bytes(_padding(len(head), first.alignment)))
    for shard, header in shards:
        with shard.open("rb") as file:
            for tensor in header.tensors:
                _copy(file, header.data_offset + tensor.offset, tensor.size, write)
                write(bytes(_padding(tensor.size, first.alignment)))


def _head(path: Path, first: GgufFile, tensors: Sequence[TensorInfo]) -> bytes:
    keys = [key for key in first.metadata if not key.endswith(SPLIT_KEYS)]
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(keys))]
    with path.open("rb") as file:
        for key in keys:
            start, end = first.spans[key]
            file.seek(start)
            parts.append(file.read(end - start))
    numbers = {kind.name: number for number, kind in ELEMENT_TYPES.items()}
    offset = 0
    for tensor in tensors:
        name = tensor.name.encode()
        parts.append(struct.pack("<Q", len(name)) + name)
        parts.append(struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape))
        parts.append(struct.pack("<IQ", numbers[tensor.type.name], offset))
        offset += tensor.size + _padding(tensor.size, first.alignment)
    return b"".join(parts)


def _copy(file: BinaryIO, start: int, size: int, write: Write) -> None:
    file.seek(start)
    while size:
        data = file.read(min(CHUNK, size))
        if not data:
            raise CorruptModel("a shard became shorter while it was read")
        write(data)
        size -= len(data)
