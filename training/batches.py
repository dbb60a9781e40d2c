"""Packs samples into rows: tokens, document numbers and targets, ready for the network.

Called by train.py. Documents never see each other (the mask is block-diagonal), and only learned
pieces give targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.corpus.chat import Piece
from training.corpus.mixture import stream

IGNORE = -100
SHORT, LONG = 512, 2048


@dataclass
class Row:
    """A row being filled: parallel lists of token, document number and target."""

    tokens: list[int] = field(default_factory=list)
    docs: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)

    def add(self, tokens: list[int], learn: list[bool]) -> None:
        number = self.docs[-1] + 1 if self.docs else 1
        self.docs += [number] * len(tokens)
        self.tokens += tokens
        self.targets += [
            t if use else IGNORE for t, use in zip(tokens[1:], learn[1:], strict=True)
        ] + [IGNORE]


@dataclass(frozen=True)
class Batch:
    """int64 arrays (rows, width); document 0 is padding."""

    tokens: NDArray[np.int64]
    docs: NDArray[np.int64]
    targets: NDArray[np.int64]


def encode(
    tokenizer: Tokenizer, samples: list[list[Piece]]
) -> Iterator[tuple[list[int], list[bool]]]:
    """Tokens and learn flags of each sample."""
    flat = tokenizer.encode_batch_fast([piece.text for sample in samples for piece in sample])
    encodings = iter(flat)
    for sample in samples:
        tokens: list[int] = []
        learn: list[bool] = []
        for piece in sample:
            ids = next(encodings).ids
            tokens += ids
            learn += [piece.learn and i >= piece.skip for i in range(len(ids))]
        yield tokens, learn


class Packer:
    """First-fit packing with a few open rows of one width."""

    def __init__(self, width: int, rows: int, n_open: int = 24) -> None:
        self.width, self.rows, self.n_open = width, rows, n_open
        self.open: list[Row] = []
        self.full: list[Row] = []

    def add(self, tokens: list[int], learn: list[bool]) -> Batch | None:
        """Place a sample; a batch comes back whenever enough rows are full."""
        fitting = (row for row in self.open if len(row.tokens) + len(tokens) <= self.width)
        row = next(fitting, None)
        if row is None:
            if len(self.open) >= self.n_open:
                fullest = max(range(len(self.open)), key=lambda i: len(self.open[i].tokens))
                self.full.append(self.open.pop(fullest))
            self.open.append(row := Row())
        row.add(tokens, learn)
        if len(self.full) < self.rows:
            return None
        rows, self.full = self.full, []
        return self._batch(rows)

    def _batch(self, rows: list[Row]) -> Batch:
        def pad(lists: list[list[int]], fill: int) -> NDArray[np.int64]:
            out = np.full((len(lists), self.width), fill, np.int64)
            for line, values in zip(out, lists, strict=True):
                line[: len(values)] = values
            return out

        return Batch(
            pad([r.tokens for r in rows], 0),
            pad([r.docs for r in rows], 0),
            pad([r.targets for r in rows], IGNORE),
        )


def batches(tokenizer: Tokenizer, seed: int, n_tokens: int) -> Iterator[Batch]:
    """Endless batches of about `n_tokens`: short rows, and now and then long ones."""
    source = stream(seed)
    short, long = Packer(SHORT, n_tokens // SHORT), Packer(LONG, n_tokens // LONG, n_open=2)
    while True:
        for tokens, learn in encode(tokenizer, [next(source) for _ in range(1000)]):
            packer = short if len(tokens) <= SHORT else long
            if len(tokens) <= LONG and (batch := packer.add(tokens, learn)):
                yield batch
