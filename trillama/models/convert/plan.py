"""What a family says about a checkpoint, and the writing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGUFWriter

Array = npt.NDArray[np.float32]

FLOATS: dict[str, tuple[Any, int]] = {"F32": (np.float32, 0), "F16": (np.float16, 1)}
"""Types of matrices, with llama.cpp's number for a file of them."""


@dataclass(slots=True)
class Plan:
    """A GGUF file to be written.

    Attributes:
        metadata: called with the writer; adds every key but the file type.
        tensors: name in the file and a call that reads it; made only when it is written.
        whole: tensors that stay float32 although they have two dimensions.
    """

    architecture: str
    metadata: Callable[[GGUFWriter], None]
    tensors: list[tuple[str, Callable[[], Array]]]
    whole: frozenset[str] = field(default_factory=frozenset)

    def arrays(self, kind: str) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """The tensors in the file's types."""
        wanted = FLOATS[kind][0]
        for name, read in self.tensors:
            values = read()
            small = values.ndim < 2 or name in self.whole
            yield name, values if small else values.astype(wanted)


def write_gguf(plan: Plan, target: Path, kind: str) -> None:
    """Write ``plan`` to ``target``."""
    writer = GGUFWriter(target, plan.architecture)
    try:
        plan.metadata(writer)
        writer.add_file_type(FLOATS[kind][1])
        for name, values in plan.arrays(kind):
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
