"""How many prompt tokens one step may carry, from measured step times.

Pure arithmetic, driven by ``batching``. While others generate, a step with prompt tokens in it may
take at most ``STRETCH`` times a step without, which bounds the gap a running stream can feel, but
up to ``UNNOTICED_NS`` where that is too short for a sound chunk, because small chunks cost more a
token and nobody sees so short a gap, and a little longer for short prompts that are over with it.
Where many wait the bound grows with their number: a few streams are not kept smooth at the price of
a crowd that cannot begin, but they are not halted for it either: ``MOST_BURST_GAPS``. A long prompt
fills the pool, and with it all steps get longer: streams are held to what they were used to before
it came. While nobody generates, only the time until a newcomer can join, or a finished prompt be
answered, bounds a step.

What a step will take is predicted by small linear models (``costs``) of what rows pay for (see
``base.Attention``). Where sequences have cells of their own, prompts are computed apart from those
who generate and have a model of their own: their rows want no logits, and read the cells of one
sequence together. Chunks of a long prompt are all alike, and a model learns only their sum from
them, not what a token more would cost. So no chunk is larger than the fastest of the latest ones
can vouch for: one more token never costs more than those of a chunk did on average.

Tiled attention needs two models, because llama.cpp's has two kernels: up to ``KNEE`` rows each row
visits the cells it sees, from there on tiles of rows visit all cells in use together. The one is
cheap for short contexts, the other for many rows and long contexts; whichever promises more tokens
a second within the bound is taken. Where the bound would make a long prompt crawl, the smallest
tiled step is taken although it breaks the bound: see ``WORTH``.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from statistics import median

from .base import Attention, ContextLimits
from .costs import LinearCost

STRETCH = 2.0
"""Longest step with prompt tokens, in steps without, as those were measured last. Steps beside a
deep prompt are slower by themselves, and vary: the worst gap is then below three usual ones."""
LEAST_STRETCH = 1.5
"""The same in steps as they are predicted to be by now, so that no prompt comes to a halt."""
PLAIN_STEPS = 5
"""Latest measured steps without prompt tokens that tell what streams are used to."""
VOUCHING_CHUNKS = 5
"""Latest chunks of prompts apart that say how large the next may be."""
UNNOTICED_NS = 60_000_000
"""A gap of this length is no stall."""
SOUND_CHUNK = 64
"""Tokens that a step may carry at the price of such a gap."""
BRIEF, BRIEF_NS = 1024, 80_000_000
"""Tokens of a prompt that disturbs others less by being over soon than by small steps, and how long
a step with such prompts may take."""
BURST_NS, BURST_STEPS = 250_000_000, 48
"""Time allowed for each one who waits beside the first, or so many steps of a lone stream where
those take longer; divided by those who run."""
MOST_BURST_NS = 6_000_000_000
"""Longest step for the sake of a crowd."""
MOST_BURST_GAPS = 10
"""The same while others answer, in the gaps that all will have when the crowd answers too."""
IDLE_STEP_NS = 400_000_000
"""Longest prompt-only step for one who waits alone."""
WORTH = 4.0
"""So many times faster a prompt must get on by a step beyond the bound to be allowed one."""
LEARN_EVERY = 8
"""Of steps without prompt tokens one in so many is worth observing."""
GRAIN, FINE_GRAIN = 16, 2
"""Chunks are multiples of these, which suits the library's matrix tiles; small ones of the finer
grain, because the next coarse one may be far from what is allowed."""
LEAST_WORTH, MOST_WORTH = 2_000.0, 200_000.0
"""Bounds of ``run_worth``: what was learned from steps that are all alike means little."""
KNEE = 64
"""Rows from which llama.cpp's CPU attention works in tiles (``ggml_fa_tile_config``)."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a step finds.

    Attributes:
        generating: rows of sequences that generate.
        seen: positions of all those sequences together.
        waiting: sequences whose prompt is not computed yet.
        depth: positions already computed of those prompts, on average.
        cells: cells of the pool in use.
        runs: executions of the graph that those who generate need.
        brief: tokens to compute of prompts that are no longer than ``BRIEF``.
    """

    generating: int
    seen: float = 0.0
    waiting: int = 1
    depth: float = 0.0
    cells: int = 0
    runs: int = 1
    brief: int = 0


class StepBudget:
    """Chooses the prompt tokens of the next step and learns from each step's duration.

    Args:
        mode: "auto", "off" (whole batches) or a fixed number of tokens.
        limits: of the context; the size of a micro batch is the first guess while nobody generates.
        lone_ns: what a token of a lone stream was seen to take; 0 if nobody knows. With it the
            first step can be as long as a crowd is worth: a model that was waited for has one.
    """

    def __init__(self, mode: str, limits: ContextLimits, lone_ns: int = 0) -> None:
        self._fixed = int(mode) if mode.isdigit() else 0
        self._off = mode == "off"
        self._batch = limits.batch
        self._micro_batch = limits.micro_batch
        self._attention = limits.attention
        self._tiles = limits.attention is Attention.TILED
        self._apart = limits.attention is Attention.SEPARATE
        self._lone_ns = lone_ns
        self._plain: deque[tuple[int, int]] = deque(maxlen=PLAIN_STEPS)  # (rows, nanoseconds)
        self._by_row = LinearCost(3)  # of a run, of a row, of a cell that a row pays for
        self._by_tile = LinearCost(4)  # the same, and of a cell in use
        self._by_chunk = LinearCost(4)  # where prompts are apart: the same, and of a cell read once
        self._rates: deque[float] = deque(maxlen=VOUCHING_CHUNKS)  # tokens a nanosecond, there

    def choose(self, load: Load) -> int:
        """Prompt tokens for a step that also has ``load.generating`` rows of others."""
        room = self._batch - load.generating
        if self._off:
            return room
        if self._fixed:
            return min(self._fixed, room)
        if not self._by_row.known:
            return min(max(self._micro_batch, self._first(load)), room)
        return max(1, min(room, self._beside(load) if load.generating else self._alone(load)))

    def _first(self, load: Load) -> int:
        """Tokens of the first step, before any prompt was computed.

        A token of a stream alone waits for the weights: a prompt's costs a fraction of it.
        """
        row = self.token_ns
        return int(self._burst_ns(load) / row) if row else 0

    def _alone(self, load: Load) -> int:
        most = self._most(load, max(IDLE_STEP_NS, self._burst_ns(load)), tiled=self._tiles)
        return _whole_grains(max(self._micro_batch // 4, most))

    def _beside(self, load: Load) -> int:
        allowed = self.allowed_ns(load)
        if not self._tiles:
            return _whole_grains(self._most(load, allowed, tiled=False))
        least = KNEE - load.generating  # tokens that make a step a tiled one
        few = min(self._most(load, allowed, tiled=False), least - 1)
        many = self._most(load, allowed, tiled=True)
        if least <= many and self._rate(load, few) < self._rate(load, many):
            return _whole_grains(many)
        if few < least and WORTH * self._rate(load, max(few, 1)) < self._rate(load, least):
            return least
        return _whole_grains(few)

    def allowed_ns(self, load: Load) -> float:
        """How long a step may take."""
        plain = self.predict_ns(load, 0)
        usual = [elapsed for rows, elapsed in self._plain if rows >= load.generating]
        calm = min(plain, median(usual)) if usual else plain
        sound = self.predict_ns(_before(load), SOUND_CHUNK)
        brief = self.predict_ns(_before(load), load.brief) if load.brief else 0.0
        short = max(min(UNNOTICED_NS, sound), min(BRIEF_NS, brief))
        return max(STRETCH * calm, LEAST_STRETCH * plain, short, self._burst_ns(load))

    def _burst_ns(self, load: Load) -> float:
        """What a crowd is allowed: prompts computed together cost less, and answer in step."""
        lone = self._ns(Load(1), 0, tiled=False) if self._by_row.known else self._lone_ns
        each = max(BURST_NS, BURST_STEPS * lone)
        wanted = min(each * (load.waiting - 1) / max(load.generating, 1), MOST_BURST_NS)
        if not load.generating:
            return wanted
        together = replace(load, generating=load.generating + load.waiting)
        return min(wanted, MOST_BURST_GAPS * self.predict_ns(together, 0))

    @property
    def token_ns(self) -> float:
        """What a token of a prompt takes among many, while nobody generates."""
        if not self._by_row.known:
            return self._lone_ns / _FIRST_BY_ROW[0][1]
        return self.predict_ns(Load(0), self._micro_batch) / self._micro_batch

    def predict_ns(self, load: Load, tokens: int) -> float:
        """How long a step with ``tokens`` of prompts should take."""
        return self._ns(load, tokens, tiled=self._is_tiled(load, tokens))

    def _is_tiled(self, load: Load, tokens: int) -> bool:
        return self._tiles and load.generating + tokens >= KNEE

    def _ns(self, load: Load, tokens: int, *, tiled: bool) -> float:
        """The same by one of the kernels."""
        if tiled:
            return self._by_tile.predict(_tile_amounts(load, tokens))
        if not self._apart:
            return self._by_row.predict(self._row_amounts(load, tokens))
        heads = self._by_row.predict(_heads_amounts(load)) if load.generating else 0.0
        return heads + (self._by_chunk.predict(_chunk_amounts(load, tokens)) if tokens else 0.0)

    @property
    def run_worth(self) -> float:
        """Cells that a row may pay for at the price of one more execution of the graph."""
        run, cell = (self._by_row.predict(amounts) for amounts in ((1, 0, 0), (0, 0, 1)))
        return min(max(run / cell, LEAST_WORTH), MOST_WORTH) if cell > 0 else MOST_WORTH

    def _rate(self, load: Load, tokens: int) -> float:
        return tokens / max(self.predict_ns(load, tokens), 1.0) if tokens > 0 else 0.0

    def _most(self, load: Load, allowed: float, *, tiled: bool) -> int:
        """Prompt tokens that fit into ``allowed`` nanoseconds by one of the models."""
        one, two = (self._ns(load, tokens, tiled=tiled) for tokens in (1, 2))
        most = 1 + int((allowed - one) / max(two - one, 1.0))
        if self._rates:
            most = min(most, int(max(self._rates) * (allowed - self._ns(load, 0, tiled=tiled))))
        return max(0, min(self._batch, most))

    def observe(self, load: Load, tokens: int, elapsed_ns: int) -> None:
        """Learn from a finished step that computed ``tokens`` of prompts."""
        if not self._by_row.known and tokens:
            self._guess(elapsed_ns / (tokens + load.generating))
        if load.generating and not tokens:
            self._plain.append((load.generating, elapsed_ns))
        if self._is_tiled(load, tokens):
            self._by_tile.observe(_tile_amounts(load, tokens), elapsed_ns)
        elif not self._apart:
            self._by_row.observe(self._row_amounts(load, tokens), elapsed_ns)
        elif not tokens:
            self._by_row.observe(_heads_amounts(load), elapsed_ns)
        elif not load.generating:
            self._by_chunk.observe(_chunk_amounts(load, tokens), elapsed_ns)
            self._rates.append(tokens / max(elapsed_ns, 1))

    def _row_amounts(self, load: Load, tokens: int) -> tuple[float, ...]:
        rows = load.generating + tokens
        if self._attention is Attention.POOLED:
            return (1, rows, rows * load.cells)
        return (1, rows, tokens * load.depth + load.seen)

    def _guess(self, row: float) -> None:
        """Begin with prices in the proportions of a small model on two cores (bench/README.md)."""
        for model, first in (
            (self._by_row, _FIRST_BY_ROW),
            (self._by_chunk, _FIRST_BY_CHUNK),
            (self._by_tile, _FIRST_BY_TILE),
        ):
            for amounts, rows in first:
                model.observe(amounts, rows * row)


_FIRST_BY_ROW = (((1, 1, 0), 6), ((1, 16, 0), 20), ((1, 16, 3200), 36))
_FIRST_BY_CHUNK = (
    ((1, 1, 0, 0), 4),
    ((1, 64, 0, 0), 64),
    ((1, 1, 12_000, 12_000), 30),
    ((1, 16, 12_000, 192_000), 130),
)
_FIRST_BY_TILE = (
    ((1, 64, 0, 0), 64),
    ((1, 64, 0, 4000), 120),
    ((1, 512, 0, 0), 512),
    ((1, 512, 1_000_000, 4000), 900),
)


def _tile_amounts(load: Load, tokens: int) -> tuple[float, ...]:
    """An execution, rows, cells that rows of prompts see, and cells in use."""
    return (1, load.generating + tokens, tokens * load.depth, load.cells)


def _heads_amounts(load: Load) -> tuple[float, ...]:
    """Executions, rows, and the cells they visit, of those who generate apart from prompts."""
    return (load.runs, load.generating, load.seen)


def _chunk_amounts(load: Load, tokens: int) -> tuple[float, ...]:
    """An execution, rows, cells read, and cells visited by rows, of a prompt apart."""
    return (1, tokens, load.depth, tokens * load.depth)


def _before(load: Load) -> Load:
    """What the streams had to themselves before the prompts came, which have no depth yet."""
    return replace(load, depth=0.0, cells=max(0, load.cells - int(load.waiting * load.depth)))


def _whole_grains(tokens: int) -> int:
    grain = GRAIN if tokens >= KNEE else FINE_GRAIN
    return tokens - tokens % grain if tokens >= grain else tokens
