"""A checkpoint as Hugging Face lays it out: JSON files, a tokenizer, tensors in safetensors.

A safetensors file is an eight-byte length, a JSON header of that length, and the tensors' bytes;
the header says where each lies. It is mapped, never read whole.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trillama.base.errors import CorruptModel, Unsupported

MAX_JSON = 64 << 20
MAX_HEADER = 100 << 20

_KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "BF16": "<u2"}


class Checkpoint:
    """One folder.

    Attributes:
        config: ``config.json``.
        tensors: by name; floats as float32.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = self.json("config.json")
        if not self.config:
            raise CorruptModel(f"{folder.name} has no config.json")
        self._places: dict[str, tuple[Path, str, tuple[int, ...], int, int]] = {}
        for path in sorted(folder.glob("*.safetensors")):
            self._read_header(path)
        if not self._places:
            raise CorruptModel(f"{folder.name} has no safetensors")

    def json(self, name: str) -> dict[str, Any]:
        """An object from a file of the folder; {} where there is none.

        Raises:
            CorruptModel: it is no object, or too large.
        """
        found = self._json(name)
        if not isinstance(found, dict):
            raise CorruptModel(f"{name} is no object")
        return found

    def modules(self) -> list[Any]:
        """The parts of a sentence-transformers model; [] for others."""
        found = self._json("modules.json")
        return found if isinstance(found, list) else []

    def _json(self, name: str) -> Any:
        path = self.folder / name
        if not path.is_file():
            return {}
        if path.stat().st_size > MAX_JSON:
            raise CorruptModel(f"{name} is too large")
        try:
            return json.loads(path.read_text("utf-8"))
        except (ValueError, RecursionError) as error:
            raise CorruptModel(f"{name} is damaged: {error}") from None

    def lines(self, name: str) -> list[str]:
        """Lines of a text file; [] where there is none."""
        path = self.folder / name
        if not path.is_file() or path.stat().st_size > MAX_JSON:
            return []
        return path.read_text("utf-8", "strict").split("\n")

    def _read_header(self, path: Path) -> None:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
            if length > min(size - 8, MAX_HEADER):
                raise CorruptModel(f"{path.name} is damaged: its header is longer than it")
            try:
                header = json.loads(file.read(length))
                for name, entry in header.items():
                    if name != "__metadata__":
                        self._places[name] = _place(path, entry, 8 + length, size)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise CorruptModel(f"{path.name} is damaged: {error}") from None

    @property
    def names(self) -> Iterator[str]:
        """Names of all tensors."""
        return iter(self._places)

    def tensor(self, name: str) -> npt.NDArray[np.float32]:
        """A tensor as float32.

        Raises:
            KeyError: there is none of that name.
        """
        path, kind, shape, start, count = self._places[name]
        raw = np.memmap(path, _KINDS[kind], "r", start, (count,))
        if kind == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32).reshape(shape)
        return raw.astype(np.float32).reshape(shape)


def _place(
    path: Path, entry: dict[str, Any], base: int, size: int
) -> tuple[Path, str, tuple[int, ...], int, int]:
    kind, shape = entry["dtype"], tuple(entry["shape"])
    if kind not in _KINDS:
        raise Unsupported(f"tensors of type {kind!r} in {path.name}")
    start, end = entry["data_offsets"]
    if not all(isinstance(n, int) and n >= 0 for n in (*shape, start, end)):
        raise ValueError("a size that is none")
    count = int(np.prod(shape, dtype=object))
    width = np.dtype(_KINDS[kind]).itemsize
    if base + end > size or end - start != count * width:
        raise ValueError("a tensor that is not where it should be")
    return path, kind, shape, base + start, count
