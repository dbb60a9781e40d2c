"""How many prompt tokens one step may carry, from measured step times.

Pure arithmetic, driven by ``batching``. While others generate, a step with prompt tokens in it may
take at most ``STRETCH`` times a step without, which bounds the gap a running stream can feel, but
up to ``UNNOTICED_NS`` for ``SOUND_CHUNK`` tokens, because small chunks cost more a token and nobody
sees so short a gap; a GPU has no need of it.
Where many wait the bound grows with their number: a few streams are not kept smooth at the price
of a crowd that cannot begin. While nobody generates, only the time until a newcomer can join, or
a finished prompt be answered, bounds a step.

What a chunk will take is predicted by two small linear models (``costs``), because llama.cpp's
attention on the CPU has two kernels: up to ``KNEE`` rows each row visits the cells it sees, from
there on tiles of rows visit all cells in use together. The one is cheap for short contexts, the
other for large chunks and long contexts; whichever promises more tokens a second is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

from .costs import LinearCost

STRETCH = 2.5
"""Longest step with prompt tokens, in steps without."""
UNNOTICED_NS = 60_000_000
"""A gap of this length is no stall."""
SOUND_CHUNK = 64
"""Tokens that a step may carry at the price of such a gap."""
BURST_NS = 250_000_000
"""Gap allowed for each one who waits beside the first, divided by those who run."""
IDLE_STEP_NS = 400_000_000
"""Longest prompt-only step."""
GRAIN = 16
"""Chunks are multiples of this where they are larger, which suits the library's matrix tiles."""
FIRST_CHUNK = 64
"""Tokens beside running streams before anything was measured."""
KNEE = 64
"""Rows from which llama.cpp's CPU attention works in tiles (``ggml_fa_tile_config``)."""
_WEIGHT = 0.25


def _blend(old: float, new: float) -> float:
    return new if not old else old + _WEIGHT * (new - old)


@dataclass(frozen=True, slots=True)
class Load:
    """What a step finds.

    Attributes:
        generating: sequences that get their next token.
        waiting: sequences whose prompt is not computed yet.
        depth: positions already computed of those prompts, on average.
        cells: cells of the pool in use.
    """

    generating: int
    waiting: int = 1
    depth: float = 0.0
    cells: int = 0


class StepBudget:
    """Chooses the prompt tokens of the next step and learns from each step's duration.

    Args:
        mode: "auto", "off" (whole batches) or a fixed number of tokens.
        batch: tokens of one decode call at most.
        micro_batch: tokens of one graph execution; the first guess while nobody generates.
    """

    def __init__(self, mode: str, batch: int, micro_batch: int) -> None:
        self._fixed = int(mode) if mode.isdigit() else 0
        self._off = mode == "off"
        self._batch = batch
        self._micro_batch = micro_batch
        self._plain_ns: dict[int, float] = {}
        self._alone_ns = 0.0
        self._by_row = LinearCost(2)  # of a token, and of a token for each cell it sees
        self._by_tile = LinearCost(3)  # the same, and of a cell in use

    def choose(self, load: Load) -> int:
        """Prompt tokens for a step that also gives ``load.generating`` sequences a token."""
        room = self._batch - load.generating
        if self._off:
            return room
        if self._fixed:
            return min(self._fixed, room)
        return min(room, self._beside(load) if load.generating else self._alone())

    def _alone(self) -> int:
        if not self._alone_ns:
            return self._micro_batch
        return _whole_grains(max(self._micro_batch // 4, int(IDLE_STEP_NS / self._alone_ns)))

    def _beside(self, load: Load) -> int:
        plain = self._plain(load.generating)
        if not plain or not (self._by_row.known or self._alone_ns):
            return FIRST_CHUNK
        spare = self.allowed_ns(load) - plain
        few = min(self._most_by_row(load, spare), max(KNEE - 1 - load.generating, 1))
        many = self._most_by_tile(load, spare)
        if load.generating + many < KNEE or many < few:
            return max(1, _whole_grains(few))
        rate_of_few = few / (plain + self._row_ns(load) * few)
        rate_of_many = many / (plain + spare)
        return _whole_grains(many) if rate_of_many > rate_of_few else max(1, _whole_grains(few))

    def allowed_ns(self, load: Load) -> float:
        """How long a step may take."""
        plain = self._plain(load.generating)
        crowd = BURST_NS * (load.waiting - 1) / load.generating
        burst = min(crowd, plain + IDLE_STEP_NS)
        unnoticed = min(UNNOTICED_NS, plain + SOUND_CHUNK * self._row_ns(load))
        return max(STRETCH * plain, unnoticed, burst)

    def _row_ns(self, load: Load) -> float:
        """Price of a token in a small step."""
        if not self._by_row.known:
            return 2 * self._alone_ns
        return max(self._by_row.predict((1.0, load.depth)), self._alone_ns / 2)

    def _most_by_row(self, load: Load, spare: float) -> int:
        return int(spare / self._row_ns(load))

    def _most_by_tile(self, load: Load, spare: float) -> int:
        """Tokens of a large step, 0 where even the first does not fit."""
        if not self._by_tile.known:  # hope for the best, so that it is tried
            return int(spare / self._alone_ns) if self._alone_ns else 0
        spare -= self._by_tile.predict((0.0, 0.0, load.cells))
        price = max(self._by_tile.predict((1.0, load.depth, 0.0)), self._alone_ns / 2)
        return max(0, int(spare / price)) if price else 0

    def _plain(self, generating: int) -> float:
        """Expected duration of a step without prompt tokens; 0 when none was seen."""
        size = generating.bit_length()
        known = min(self._plain_ns, key=lambda seen: abs(seen - size), default=size)
        return self._plain_ns.get(known, 0.0)

    def observe(self, load: Load, tokens: int, elapsed_ns: int) -> None:
        """Learn from a finished step that computed ``tokens`` of prompts."""
        if not tokens:
            size = load.generating.bit_length()
            self._plain_ns[size] = _blend(self._plain_ns.get(size, 0.0), elapsed_ns)
        elif not load.generating:
            self._alone_ns = _blend(self._alone_ns, elapsed_ns / tokens)
        else:
            extra = max(elapsed_ns - self._plain(load.generating), 0.0)
            seen = float(tokens), tokens * (load.depth + tokens / (2 * max(load.waiting, 1)))
            if load.generating + tokens < KNEE:
                self._by_row.observe(seen, extra)
            else:
                self._by_tile.observe((*seen, load.cells), extra)


def _whole_grains(tokens: int) -> int:
    return tokens - tokens % GRAIN if tokens >= GRAIN else tokens
