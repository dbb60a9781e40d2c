"""How much of the coming prompts finished sequences could have saved: what a cache is worth.

Pure, used by ``kv`` alone. Cached cells are not free: in a unified KV every row's attention runs
over all cells in use, so 6,000 cached cells made a step of 16 rows half as long again (250 M
parameters, two cores). They are worth it only as far as later prompts begin with them. The
forecast remembers hashes of finished sequences long after their cells are gone, so that it also
learns from the hits an empty cache misses.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from .prefix_tree import Tokens

BLOCK = 32
"""Tokens per remembered hash."""
BLOCKS = 1 << 15
"""Hashes remembered, least recently used forgotten: about a million tokens."""
FIRST_GUESS = 0.05
RISE, FALL = 0.3, 0.1
"""Weights of a new observation above and below the forecast: quick to hope, slower to give up."""


class ReuseForecast:
    """Share of a prompt that finished sequences will save, from the prompts seen so far.

    Attributes:
        share: the forecast, 0..1.
    """

    def __init__(self) -> None:
        self.share = FIRST_GUESS
        self._known: OrderedDict[int, None] = OrderedDict()

    def observe(self, key: str, prompt: Tokens, shared: int) -> None:
        """Learn from a prompt of which ``shared`` tokens are held by running sequences anyway."""
        gain = max(0, self.known(key, prompt) - shared) / len(prompt)
        weight = RISE if gain > self.share else FALL
        self.share += weight * (gain - self.share)

    def remember(self, key: str, tokens: Tokens) -> None:
        """Note a sequence."""
        for block in _blocks(key, tokens):
            self._known[block] = None
            self._known.move_to_end(block)
        while len(self._known) > BLOCKS:
            self._known.popitem(last=False)

    def known(self, key: str, prompt: Tokens) -> int:
        """Tokens of the prompt, in whole blocks, that a remembered sequence began with."""
        matched = 0
        for block in _blocks(key, prompt):
            if block not in self._known:
                break
            matched += BLOCK
        return matched


def _blocks(key: str, tokens: Tokens) -> Iterator[int]:
    """A chain of hashes, one for each whole block: equal exactly for equal beginnings."""
    chain = hash(key)
    data = tokens.tobytes()
    width = BLOCK * tokens.itemsize
    for start in range(0, len(data) - width + 1, width):
        chain = hash((chain, data[start : start + width]))
        yield chain
