"""Rows of float32 as JSON numbers: short, and exactly the values they were.

Eight or nine digits tell a float32 from its neighbours, where the float64 beside it prints with
seventeen. The short ones are found for whole arrays at once.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]


def shortest(rows: Rows) -> list[Any]:
    """Lists of floats that print short; each is ``rows``' value again when read as float32."""
    exact = rows.astype(np.float64)
    with np.errstate(all="ignore"):
        digits = np.floor(np.log10(np.abs(exact)))
        found = exact
        for count in (9, 8):
            scale = 10.0 ** (count - 1 - digits)
            rounded = np.rint(exact * scale) / scale
            found = np.where(rounded.astype(np.float32) == rows, rounded, found)
    lists: list[Any] = found.tolist()
    return lists


def base64_rows(rows: Rows) -> list[str]:
    """Each row's little-endian bytes in standard base64, as OpenAI's clients decode them."""
    return [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in rows]
