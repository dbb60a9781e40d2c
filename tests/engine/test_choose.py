"""Choosing tokens in parts on several threads changes nothing but the time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.engine.base import Chain
from trillama.engine.choose import WORTH_A_THREAD, Chooser, parts
from trillama.engine.sampling import RowSampler
from trillama.engine.topk import Floats

N_VOCAB = WORTH_A_THREAD // 4
PROMPT = np.arange(9, dtype=np.int32)


@dataclass
class Row:
    sampler: RowSampler
    chain: Chain | None = None
    job: Job = field(default_factory=lambda: Job(id="j", prompt=PROMPT, limit=99))


def rows(count: int) -> list[Row]:
    kinds = [
        Options(temperature=0.8, top_k=40, repeat_penalty=1.2, seed=1),
        Options(temperature=0),
        Options(temperature=1.5, top_k=7, top_p=0.5, seed=2),
    ]
    return [Row(RowSampler(kinds[row % 3], PROMPT, N_VOCAB)) for row in range(count)]


def chosen(logits: Floats, threads: int) -> list[int]:
    chooser = Chooser(threads)
    try:
        return chooser.choose(logits.copy(), rows(len(logits))).tokens
    finally:
        chooser.close()


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_parts_choose_what_one_thread_chooses(threads: int) -> None:
    """A row's token does not depend on how the rows are divided among threads."""
    logits = np.random.default_rng(5).standard_normal((17, N_VOCAB)).astype(np.float32)
    alone = chosen(logits, 1)
    assert chosen(logits, threads) == alone
    assert min(alone) >= 0


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_rows_are_divided_without_a_gap(count: int) -> None:
    """Every row belongs to one part, and no part is empty."""
    found = parts((count, WORTH_A_THREAD), 8)
    assert [row for part in found for row in range(count)[part]] == list(range(count))
    assert len(found) == min(8, count)


def test_few_logits_stay_on_one_thread() -> None:
    """A small model or a single row is not worth waking anybody for."""
    assert parts((8, 2048), 8) == [slice(0, 8)]
    assert parts((64, 128_256), 1) == [slice(0, 64)]


def test_a_row_without_a_token_is_told_from_any_part() -> None:
    """A NaN ends its own row, whichever thread finds it."""
    logits = np.zeros((8, N_VOCAB), np.float32)
    logits[6, 3] = np.nan
    tokens = chosen(logits, 4)
    assert tokens.pop(6) == -1
    assert min(tokens) >= 0


def test_scores_come_from_untouched_logits() -> None:
    """Penalties and biases do not show in what a client is told, and only who asks is told."""
    logits = np.zeros((2, N_VOCAB), np.float32)
    logits[:, 5] = 3
    asked = Row(RowSampler(Options(temperature=0, logit_bias=((7, 50.0),)), PROMPT, N_VOCAB))
    asked.job.logprobs = 1
    chooser = Chooser()
    tokens, scores = chooser.choose(logits, [rows(1)[0], asked])
    chooser.close()

    assert list(scores) == [1]
    assert (tokens[1], scores[1].top[0][0]) == (7, 5)
    assert scores[1].top[0][1] - scores[1].logprob == pytest.approx(3)
