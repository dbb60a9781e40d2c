"""Making a context's memory agree with the book again after a decode that failed.

Used by ``batching``, which knows what each sequence should hold. What the library computed beyond
that is dropped; what it holds less, or differently, is reported.
"""

from __future__ import annotations

from collections.abc import Mapping

from .base import Context


def cut_back(context: Context, held: Mapping[int, int]) -> set[int]:
    """Drop every position past the end of the given sequences, where the memory can.

    Args:
        held: sequence ids and the number of positions each should hold.

    Returns:
        ids of sequences whose last position was another one.
    """
    broken = {
        sequence for sequence, length in held.items() if context.seq_pos_max(sequence) != length - 1
    }
    for sequence, length in held.items():
        context.seq_remove(sequence, length)
    return broken
