"""Rows of float32 as numbers in JSON."""

from __future__ import annotations

import base64
import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trillama.wire.floats import base64_rows, shortest
from trillama.wire.gojson import encode

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(arrays.arrays(np.float32, (3, 7), elements=FLOATS))
def test_what_is_read_is_what_was_written(rows: np.ndarray) -> None:
    """Zeros, subnormals and the largest come back to the bit."""
    back = np.array(json.loads(encode(shortest(rows))), np.float64).astype(np.float32)
    assert np.array_equal(back, rows)


def test_numbers_are_as_short_as_gos() -> None:
    """Eight digits where they do, not the seventeen of a float64."""
    rows = np.array([[0.1, 1.0, -0.0063856714, 0.0, 3e-9]], np.float32)
    assert encode(shortest(rows)) == b"[[0.1,1.0,-0.0063856714,0.0,3e-9]]"


def test_base64_is_little_endian_float32() -> None:
    """As OpenAI's client unpacks it."""
    rows = np.array([[1.5, -2.0], [0.0, 3.25]], np.float32)
    back = [np.frombuffer(base64.b64decode(text), "<f4").tolist() for text in base64_rows(rows)]
    assert back == rows.tolist()
