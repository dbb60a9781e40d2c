"""Write a large random model in seconds: the header by gguf, the weights as bits, on all cores.

    python -m bench.gpu.models --shape 8b --out /tmp/8b.gguf

Names, sizes, the constant channel and the vocabulary are those of `bench.make_model`, which is for
small models with rounded normal weights. Here the layers have the type of the shape's recipe, the
embeddings Q8_0.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf.constants import GGMLQuantizationType as GGMLType
from gguf.constants import LlamaFileType

from bench.gpu.blocks import FORMATS, random_rows, set_first_column
from bench.gpu.shapes import RECIPES, Recipe
from bench.make_model import (
    SUPPRESSION,
    TensorPlan,
    count_parameters,
    norm_names,
    plan_tensors,
    write_metadata,
)
from bench.vocabulary import build_vocabulary

FILE_TYPES = {
    "Q4_K": LlamaFileType.MOSTLY_Q4_K_M,
    "Q8_0": LlamaFileType.MOSTLY_Q8_0,
    "F16": LlamaFileType.MOSTLY_F16,
}
#: Bytes one process makes at a time.
SLAB = 1 << 25


@dataclass(frozen=True)
class Slab:
    """Rows `start ...` of a matrix and the place of the first of them in the file.

    Attributes:
        words: token ids that are words: [first, end); the others are suppressed in the output.
    """

    plan: TensorPlan
    kind: str
    start: int
    rows: int
    offset: int
    words: tuple[int, int]
    seed: int


def kind_of(plan: TensorPlan, recipe: Recipe) -> str:
    """The block type of a matrix."""
    return {"token_embd": "Q8_0", "output": recipe.output_kind}.get(plan.name, recipe.kind)


def row_bytes(plan: TensorPlan, kind: str) -> int:
    form = FORMATS[kind]
    return plan.cols // form.elements * form.size


def fill(slab: Slab) -> npt.NDArray[np.uint8]:
    """The bytes of a slab, shape (rows, blocks, bytes of a block)."""
    plan = slab.plan
    rows = random_rows(slab.kind, (slab.rows, plan.cols), plan.std, slab.seed)
    if plan.channel == "embed":
        set_first_column(slab.kind, rows, np.ones(slab.rows, np.float32))
    elif plan.channel == "output":
        ids = np.arange(slab.start, slab.start + slab.rows)
        is_word = (ids >= slab.words[0]) & (ids < slab.words[1])
        set_first_column(slab.kind, rows, np.where(is_word, 0, -SUPPRESSION).astype(np.float32))
    elif plan.channel == "silent" and slab.start == 0:
        rows[0] = 0
    return rows


def write_slab(path: Path, slab: Slab) -> None:
    """Make a slab and write it where it belongs; run by the processes of the pool."""
    data, at = fill(slab).reshape(-1).data, slab.offset
    file = os.open(path, os.O_WRONLY)
    try:
        while data:
            written = os.pwrite(file, data, at)
            data, at = data[written:], at + written
    finally:
        os.close(file)


def cut(plan: TensorPlan, kind: str, words: tuple[int, int], offset: int) -> Iterator[Slab]:
    """A matrix in slabs; a slab's seed is its place in the file."""
    width = row_bytes(plan, kind)
    step = max(1, SLAB // width)
    for start in range(0, plan.rows, step):
        rows, at = min(step, plan.rows - start), offset + start * width
        yield Slab(plan, kind, start, rows, at, words, at)


def write_header(path: Path, recipe: Recipe) -> int:
    """Everything before the weights; returns where these begin."""
    shape, vocab = recipe.shape, build_vocabulary(recipe.shape.vocab)
    writer: Any = gguf.GGUFWriter(path, "llama")
    write_metadata(writer, shape, vocab, FILE_TYPES[recipe.kind])
    f32 = np.dtype(np.float32)
    for plan in plan_tensors(shape):
        kind, size = kind_of(plan, recipe), (plan.rows, plan.cols)
        n_bytes = plan.rows * row_bytes(plan, kind)
        name = f"{plan.name}.weight"
        writer.add_tensor_info(name, size, f32, n_bytes, raw_dtype=GGMLType[kind])
    for name in norm_names(shape):
        writer.add_tensor_info(f"{name}.weight", (shape.dim,), f32, shape.dim * 4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    file = writer.fout[0]
    writer.write_padding(file, file.tell())
    begin = int(file.tell())
    file.close()
    return begin


def plan_slabs(recipe: Recipe, begin: int) -> tuple[list[Slab], int]:
    """All slabs in file order, and where the norms begin behind them."""
    vocab = build_vocabulary(recipe.shape.vocab)
    words = (vocab.first_word, vocab.first_special)
    slabs: list[Slab] = []
    offset = begin
    for plan in plan_tensors(recipe.shape):
        kind = kind_of(plan, recipe)
        slabs += cut(plan, kind, words, offset)
        size = plan.rows * row_bytes(plan, kind)
        offset += gguf.GGUFWriter.ggml_pad(size, gguf.GGUF_DEFAULT_ALIGNMENT)
    return slabs, offset


def write_model(path: Path, recipe: Recipe, processes: int = 0) -> float:
    """Write the model; returns bytes a second. A file is complete once it has its final name."""
    began = time.perf_counter()
    half = path.with_name(path.name + ".part")
    slabs, norms = plan_slabs(recipe, write_header(half, recipe))
    ones = np.ones(recipe.shape.dim, np.float32).tobytes() * len(norm_names(recipe.shape))
    with half.open("r+b") as file:
        file.seek(norms)
        file.write(ones)
    context = multiprocessing.get_context("spawn")
    workers = min(processes or os.cpu_count() or 1, len(slabs))
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        list(pool.map(write_slab, [half] * len(slabs), slabs))
    half.rename(path)
    return path.stat().st_size / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shape", choices=list(RECIPES), required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    recipe = RECIPES[options.shape]
    rate = write_model(options.out, recipe)
    size, millions = options.out.stat().st_size / 2**20, count_parameters(recipe.shape) / 1e6
    print(f"{options.out.name}: {millions:.0f} M parameters, {size:.0f} MiB, {rate / 1e6:.0f} MB/s")


if __name__ == "__main__":
    main()
