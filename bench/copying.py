"""Weights of a model that says again what its prompt said, for questions about guessing ahead.

`bench.make_model --copies` writes it. A random model never repeats its prompt and a real one cannot
be had here, so two attention layers are set by hand to what trained models have too: an induction
circuit (Olsson et al., "In-context Learning and Induction Heads", 2022). The first one looks one
position back and notes what was there, the second finds the place whose note is the present token
and says what stands there. All other layers are as large and as slow as ever, but add nothing.

The residual stream: channel 0 is constant; then come, each as wide as a token's code of plus and
minus ones, the token itself and the one before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]

FREQ_BASE = 1_000_000.0
"""Half of the rotations hardly turn within two thousand positions: tokens are compared there."""
CONSTANT = 4.0
BACK = 3.0
"""Sharpness of the look at the position before."""
SAME = 8.0
"""Sharpness of the comparison of tokens."""
LOUD = 4.0
"""The found token beside the present one."""
LOGIT = 0.05
_BEFORE, _FIND = 0, 1


class Shape(Protocol):
    """What is asked of `make_model.ModelShape`."""

    layers: int
    dim: int
    heads: int
    kv_heads: int
    vocab: int


@dataclass(frozen=True)
class Circuit:
    """Where what lies in the residual stream of a shape.

    Attributes:
        share: channels of a code that one head of values carries.
    """

    shape: Shape
    seed: int

    @property
    def head(self) -> int:
        return self.shape.dim // self.shape.heads

    @property
    def share(self) -> int:
        return min((self.shape.dim - 32) // 2 // self.shape.kv_heads, self.head)

    @property
    def width(self) -> int:
        return self.share * self.shape.kv_heads

    @property
    def token(self) -> slice:
        return slice(32, 32 + self.width)

    @property
    def before(self) -> slice:
        return slice(32 + self.width, 32 + 2 * self.width)

    def codes(self) -> Matrix:
        """One row of plus and minus ones for each token, shape (vocab, width)."""
        rng = np.random.default_rng([self.seed, self.shape.vocab])
        return rng.integers(0, 2, (self.shape.vocab, self.width)).astype(np.float32) * 2 - 1

    def grown(self, size: float) -> float:
        """What a norm multiplies a stream of this length (squared) by."""
        return float(np.sqrt(self.shape.dim / size))


def copying_weights(name: str, size: tuple[int, int], circuit: Circuit) -> Matrix | None:
    """The matrix of that name, None for one that stays random; `size` is (rows, columns)."""
    made = np.zeros(size, np.float32)
    layer, _, part = name.removeprefix("blk.").partition(".")
    if name == "token_embd":
        made[:, 0], made[:, circuit.token] = CONSTANT, circuit.codes()
    elif name == "output":
        made[:, circuit.token] = LOGIT * circuit.codes()
    elif part in ("attn_q", "attn_k", "attn_v", "attn_output") and int(layer) in (_BEFORE, _FIND):
        _set_attention(made, part, int(layer), circuit)
    elif part not in ("attn_output", "ffn_down"):
        return None
    return made


def _set_attention(made: Matrix, part: str, layer: int, circuit: Circuit) -> None:
    width = circuit.width
    grown = circuit.grown(CONSTANT**2 + width * (1 if layer == _BEFORE else 2))
    if part == "attn_v":
        for head in range(circuit.shape.kv_heads):
            for at in range(circuit.share):
                made[head * circuit.head + at, circuit.token.start + head * circuit.share + at] = 1
    elif part == "attn_output":
        target = circuit.before if layer == _BEFORE else circuit.token
        loud = (1 if layer == _BEFORE else LOUD) / grown
        group = circuit.shape.heads // circuit.shape.kv_heads * circuit.head
        for head in range(circuit.shape.kv_heads):
            for at in range(circuit.share):
                made[target.start + head * circuit.share + at, head * group + at] = loud
    elif layer == _BEFORE:
        made[:, 0] = BACK * np.tile(_turned(circuit.head, part), len(made) // circuit.head)
    else:
        _compare(made, part, circuit)


def _turned(head: int, part: str) -> Matrix:
    """A constant vector that, as a query, points to the key one position back."""
    angles = FREQ_BASE ** (-np.arange(head // 2) / (head // 2))
    angles = angles if part == "attn_q" else np.zeros(head // 2)
    return np.stack((np.cos(angles), -np.sin(angles)), axis=1).reshape(-1).astype(np.float32)


def _compare(made: Matrix, part: str, circuit: Circuit) -> None:
    """Queries are the token's code, keys the code of the one before, where rotations are slow."""
    heads = len(made) // circuit.head
    group = heads // circuit.shape.kv_heads
    source, size = (circuit.token, SAME) if part == "attn_q" else (circuit.before, 1.0)
    slow = circuit.head // 2
    for head in range(heads):
        first = head // group * circuit.share
        for at in range(min(slow, circuit.share)):
            made[head * circuit.head + slow + at, source.start + first + at] = size
