"""From logits to tokens for all rows of a step, whatever sampler each row has.

Owned by ``batching``, which calls it once a step. Rows with numpy samplers are chosen together; the
pass over all their logits is made in parts on several threads where those are free, since numpy
releases the GIL over large arrays. Rows with a library chain run beside each other on the same
threads, since a chain releases it too.

A row with a guide is sampled like any other first; only if the guide refuses the token, another is
drawn among those it allows. Masks that are likely to be needed are computed beside the decode.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from trillama.base.errors import EngineError
from trillama.base.events import TokenScores
from trillama.base.jobs import Guide, Job

from .base import Chain, Ranked
from .grammar.resample import draw_allowed, forbid
from .sampling import Rows, RowSampler
from .scores import token_scores
from .topk import Spread, Work

WORTH_A_THREAD = 1 << 20
"""Logits that take longer to look at than another thread takes to start on them."""


class Row(Protocol):
    """What decides a row's token.

    Attributes:
        chain: used instead of ``sampler`` where there is one.
    """

    job: Job
    sampler: RowSampler
    chain: Chain | None


def _pick(chain: Chain, row: npt.NDArray[np.float32]) -> int:
    try:
        return chain.pick(row)
    except EngineError:
        return -1


class Choice(NamedTuple):
    """Tokens of a step, one a row; -1 where a row gave no usable probabilities.

    Attributes:
        scores: by row, for the rows that wanted them.
    """

    tokens: list[int]
    scores: dict[int, TokenScores]


def _compute_masks(guides: Sequence[Guide]) -> None:
    for guide in guides:
        guide.mask()


def parts(shape: tuple[int, ...], threads: int) -> list[slice]:
    """Cut rows into one slice for each thread that is worth waking; at least one slice.

    Args:
        shape: of the logits, (rows, n_vocab).
    """
    rows, n_vocab = shape
    count = max(1, min(threads, rows, rows * n_vocab // WORTH_A_THREAD))
    bounds = [rows * part // count for part in range(count + 1)]
    return [slice(begin, end) for begin, end in pairwise(bounds)]


class Crew:
    """The rows of a step, and what follows from them: the same for as long as nobody comes or goes.

    Args:
        shape: of the logits.
        spread: how to look at all of them; None if one thread is enough.
    """

    def __init__(self, rows: Sequence[Row], shape: tuple[int, ...], spread: Spread | None) -> None:
        self.rows, self.shape = list(rows), shape
        self.scored = [at for at, row in enumerate(rows) if row.job.logprobs is not None]
        self.guided = [
            (at, row.job.guide) for at, row in enumerate(rows) if row.job.guide is not None
        ]
        self.chained = [(at, row.chain) for at, row in enumerate(rows) if row.chain is not None]
        self.samplers = Rows([None if row.chain else row.sampler for row in rows], spread)

    def same(self, rows: Sequence[Row], shape: tuple[int, ...]) -> bool:
        """Whether these are the very same rows."""
        return shape == self.shape and list(rows) == self.rows


class Chooser:
    """Chooses tokens, and owns the threads this may take; they start when first needed.

    Args:
        threads: how many may look at logits at once.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(max(2, threads), thread_name_prefix="sampling")
        self._ahead: Future[None] | None = None
        self._crew: Crew | None = None

    def prepare(self, rows: Sequence[Row]) -> None:
        """Have the masks that will be needed computed beside the decode of ``rows``."""
        self._await_masks()
        guides = [
            row.job.guide
            for row in rows
            if row.job.guide is not None and (row.job.guide.wary or row.chain is not None)
        ]
        if guides:
            self._ahead = self._pool.submit(_compute_masks, guides)

    def _await_masks(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.result()

    def choose(self, logits: npt.NDArray[np.float32] | Ranked, rows: Sequence[Row]) -> Choice:
        """One token for each row.

        Args:
            logits: shape (rows, n_vocab), overwritten where penalties apply; or the best of each
                row, where those are enough for all.
        """
        self._await_masks()
        if isinstance(logits, Ranked):
            samplers = self._crew_of(rows, logits.ids.shape).samplers
            return Choice(samplers.draw_ranked(*logits).tolist(), {})
        return self._choose_whole(logits, rows)

    def _crew_of(self, rows: Sequence[Row], shape: tuple[int, ...]) -> Crew:
        crew = self._crew
        if crew is None or not crew.same(rows, shape):
            worth_it = len(parts(shape, self._threads)) > 1
            crew = self._crew = Crew(rows, shape, self._spread if worth_it else None)
        return crew

    def _choose_whole(self, logits: npt.NDArray[np.float32], rows: Sequence[Row]) -> Choice:
        crew = self._crew_of(rows, logits.shape)
        raw = {at: logits[at].copy() for at in crew.scored}
        for at, guide in crew.guided:
            if rows[at].chain is not None:  # a chain remembers what it picks: no second try
                forbid(logits[at], guide.mask())
        picks = [self._pool.submit(_pick, chain, logits[at]) for at, chain in crew.chained]
        chosen: list[int] = crew.samplers.sample(logits).tolist()
        for (at, _), pick in zip(crew.chained, picks, strict=True):
            chosen[at] = pick.result()
        if crew.guided:
            self._obey(logits, rows, crew.guided, chosen)
        scores = {
            at: token_scores(row, chosen[at], rows[at].job.logprobs or 0)
            for at, row in raw.items()
            if chosen[at] >= 0
        }
        return Choice(chosen, scores)

    def _obey(
        self,
        logits: npt.NDArray[np.float32],
        rows: Sequence[Row],
        guided: Sequence[tuple[int, Guide]],
        chosen: list[int],
    ) -> None:
        """Have guides take the chosen tokens; what one refuses is drawn again among the allowed."""
        refused: list[tuple[int, Guide]] = []
        for at, guide in guided:
            chosen[at] = guide.take(chosen[at]) if chosen[at] >= 0 else -1
            if chosen[at] < 0 and rows[at].chain is None:
                refused.append((at, guide))
        if not refused:
            return
        places = [at for at, _ in refused]
        masks = [guide.mask() for _, guide in refused]
        tokens = draw_allowed(logits, places, masks, [rows[at].sampler for at in places])
        for (at, guide), token in zip(refused, tokens, strict=True):
            chosen[at] = guide.take(token) if token >= 0 else -1

    def _spread(self, shape: tuple[int, ...], work: Work) -> None:
        """Work on rows in parts, the first of them on the thread that asks for it."""
        first, *rest = parts(shape, self._threads)
        others = [self._pool.submit(work, part) for part in rest]
        work(first)
        for other in others:
            other.result()

    def close(self) -> None:
        """End the threads."""
        self._crew = None
        self._pool.shutdown()
