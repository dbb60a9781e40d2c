"""Random quantised weights made as bits: no float is ever rounded, so a core fills 1 GB/s.

A block's scale is chosen so that its weights have the standard deviation asked for; its codes are
random bytes, uniform where real weights are bell-shaped. That costs a GPU exactly as much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

Q8_STD = 73.9
"""Standard deviation of a uniform signed byte."""
Q6_STD = 18.47
"""Of a uniform 6-bit code."""
Q4_STD, Q4_MEAN, Q4_SCALE = 4.61, 7.5, 4
"""Of a uniform 4-bit code; its mean; the 6-bit scale and minimum of every sub-block."""


def _half(value: float) -> Bytes:
    return np.array([value], "<f2").view(np.uint8)


def fill_q8_0(blocks: Bytes, std: float) -> None:
    blocks[:, 0:2] = _half(std / Q8_STD)


def fill_q6_k(blocks: Bytes, std: float) -> None:
    blocks[:, 192:208] = 1
    blocks[:, 208:210] = _half(std / Q6_STD)


def fill_q4_k(blocks: Bytes, std: float) -> None:
    unit = std / Q4_STD / Q4_SCALE
    blocks[:, 0:2] = _half(unit)
    blocks[:, 2:4] = _half(unit * Q4_MEAN)
    blocks[:, 4:12] = Q4_SCALE  # scales and minima of sub-blocks 0 to 3
    blocks[:, 12:16] = Q4_SCALE | Q4_SCALE << 4  # of 4 to 7, low and high half of a byte


def fill_f16(blocks: Bytes, std: float) -> None:
    codes = blocks[:, 0].copy().view(np.int8)  # half the random bits, as floats
    blocks[:] = (
        np.multiply(codes, std / Q8_STD, dtype=np.float32).astype("<f2")[:, None].view(np.uint8)
    )


@dataclass(frozen=True)
class Format:
    """One block type: elements and bytes of a block, and how its scales are set, in place."""

    elements: int
    size: int
    fill: Callable[[Bytes, float], None]


FORMATS = {
    "Q8_0": Format(32, 34, fill_q8_0),
    "Q6_K": Format(256, 210, fill_q6_k),
    "Q4_K": Format(256, 144, fill_q4_k),
    "F16": Format(1, 2, fill_f16),
}


POOL = 1 << 24
"""Random bytes drawn once a process: a matrix is filled with pieces of them."""


@cache
def _pool(seed: int) -> Bytes:
    return np.random.Generator(np.random.SFC64(seed)).integers(0, 256, POOL, np.uint8)


def random_bytes(size: int, seed: int) -> Bytes:
    """`size` bytes, pieces of one pool from places that `seed` decides; shape (size,)."""
    pool, places = _pool(0), np.random.Generator(np.random.SFC64(seed))
    out = np.empty(size, np.uint8)
    for start in range(0, size, POOL // 2):
        piece = out[start : start + POOL // 2]
        first = int(places.integers(0, POOL // 2))
        piece[:] = pool[first : first + len(piece)]
    return out


def random_rows(kind: str, size: tuple[int, int], std: float, seed: int) -> Bytes:
    """Rows of a matrix, shape (rows, blocks of a row, bytes of a block).

    Args:
        kind: a key of FORMATS whose block length divides the columns.
        size: rows and columns.
    """
    form = FORMATS[kind]
    shape = (size[0], size[1] // form.elements, form.size)
    out = random_bytes(int(np.prod(shape)), seed).reshape(shape)
    form.fill(out.reshape(-1, form.size), std)
    return out


def set_first_column(kind: str, rows: Bytes, values: npt.NDArray[np.float32]) -> None:
    """Give element 0 of each row its value and the rest of its block 0. Raises ValueError for
    Q4_K, whose blocks have a minimum that is not 0."""
    first = rows[:, 0]
    if kind == "Q8_0":
        first[:] = 0
        first[:, 2] = 127
        unit = values / 127
    elif kind == "Q6_K":
        first[:, 0:128], first[:, 128:192] = 0, 0xAA  # code 32 is weight 0
        first[:, 0], first[:, 128] = 0xF, 0xAB  # and 0x3F, in two parts, is 31
        first[:, 192:208] = 1
        unit = values / 31
    else:
        raise ValueError(f"{kind} cannot hold a single element")
    scale = slice(0, 2) if kind == "Q8_0" else slice(208, 210)
    first[:, scale] = unit.astype("<f2")[:, None].view(np.uint8)
