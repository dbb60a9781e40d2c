"""Levenshtein distance by bit vectors: a column of the table is one integer.

The algorithm is Myers' of 1999 in Hyyrö's form. Python's integers have any width, so it costs a
few operations a character, whatever the length.
"""

from __future__ import annotations


def distance(one: str, other: str, limit: int) -> int:
    """Edits of single characters between two texts; ``limit`` stands for that many and more."""
    if not one or abs(len(one) - len(other)) >= limit:
        return min(max(len(one), len(other)), limit)
    places: dict[str, int] = {}
    for at, character in enumerate(one):
        places[character] = places.get(character, 0) | 1 << at
    full, last = (1 << len(one)) - 1, 1 << (len(one) - 1)
    more, less, found = full, 0, len(one)
    for at, character in enumerate(other, 1):
        same = places.get(character, 0)
        diagonal = (((same & more) + more) ^ more) | same | less
        up, down = less | ~(diagonal | more), diagonal & more
        found += bool(up & last) - bool(down & last)
        if found - (len(other) - at) >= limit:
            return limit
        up = up << 1 | 1
        more = (down << 1 | ~(diagonal | up)) & full
        less = diagonal & up & full
    return min(found, limit)
