"""Rows sampled together get what each would get alone from the plain definition."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.logits import Floats, random_rows
from trillama.base.options import Options
from trillama.engine.penalties import RecentTokens
from trillama.engine.sampling import RowSampler, Tier, sample_rows, tier

NOTHING = np.empty(0, np.int32)


def sampler(n_vocab: int, prompt: npt.NDArray[np.int32] = NOTHING, **options: object) -> RowSampler:
    """A sampler for ``options``."""
    return RowSampler(Options(**options), prompt, n_vocab)  # type: ignore[arg-type]


def penalised(row: Floats, options: Options, history: list[int]) -> list[float]:
    """llama.cpp's penalties, one candidate at a time."""
    last = options.repeat_last_n
    recent = Counter(history if last < 0 else history[max(0, len(history) - last) :])
    logits = [float(value) for value in row]
    for token, value in options.logit_bias:
        logits[token] += value
    for token, count in recent.items():
        if logits[token] <= 0:
            logits[token] *= options.repeat_penalty
        else:
            logits[token] /= options.repeat_penalty
        logits[token] -= count * options.frequency_penalty + options.presence_penalty
    return logits


def distribution(row: Floats, options: Options, history: list[int]) -> dict[int, float]:
    """Probability of each token that may be drawn, one filter after the other."""
    logits = penalised(row, options, history)
    ranked = sorted(range(len(logits)), key=lambda token: (-logits[token], token))[: options.top_k]
    peak = logits[ranked[0]]
    mass = [math.exp(logits[token] - peak) for token in ranked]
    if options.top_p < 1:
        share = np.cumsum(mass) / sum(mass)
        ranked = ranked[: int(np.argmax(share >= options.top_p)) + 1]
    if options.min_p > 0:
        ranked = [t for t in ranked if logits[t] >= peak + math.log(options.min_p)]
    if options.temperature <= 0:
        return {ranked[0]: 1.0}
    weights = [math.exp((logits[token] - peak) / options.temperature) for token in ranked]
    return {token: weight / sum(weights) for token, weight in zip(ranked, weights, strict=True)}


# --- tiers ---


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(), Tier.TOPK),
        (Options(temperature=0), Tier.GREEDY),
        (Options(temperature=0, top_k=0), Tier.GREEDY),
        (Options(top_k=1), Tier.GREEDY),
        (Options(top_k=256), Tier.TOPK),
        (Options(top_k=257), Tier.CHAIN),
        (Options(top_k=0), Tier.CHAIN),
        (Options(typical_p=0.9), Tier.CHAIN),
        (Options(typical_p=0.9, temperature=0), Tier.CHAIN),
        (Options(typical_p=0.9, top_k=1), Tier.GREEDY),
        (Options(repeat_penalty=1.1, top_p=1, min_p=0.1), Tier.TOPK),
    ],
)
def test_the_tier_of_options(options: Options, expected: Tier) -> None:
    """What must sort or sum the whole vocabulary goes to a chain; greedy needs no draw."""
    assert tier(options) is expected


def test_rows_of_the_chain_tier_are_refused() -> None:
    """Sampling them here would silently leave a filter out."""
    with pytest.raises(ValueError, match="CHAIN"):
        sample_rows(random_rows(1, 10), [sampler(10, top_k=0)])


# --- choosing ---


def test_greedy_is_the_maximum() -> None:
    """temperature 0 and top_k 1 take the largest logit; of equal ones the lowest id."""
    logits = random_rows(4, 1000)
    logits[3, [5, 700]] = 99
    expected = logits.argmax(1).tolist()
    assert expected[3] == 5
    for options in ({"temperature": 0}, {"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}):
        samplers = [sampler(1000, **options) for _ in range(4)]
        assert sample_rows(logits, samplers)[:3].tolist() == expected[:3]
    mixed = [sampler(1000, temperature=0), sampler(1000)] * 2
    assert sample_rows(logits, mixed)[::2].tolist() == expected[::2]


CASES = [
    Options(),
    Options(top_p=1.0, temperature=1.0, top_k=5),
    Options(top_p=0.6, temperature=2.0),
    Options(top_p=1.0, min_p=0.2, temperature=1.5),
    Options(top_p=0.95, min_p=0.05, temperature=0.5, top_k=200),
    Options(repeat_penalty=1.5, presence_penalty=0.5, frequency_penalty=0.25, repeat_last_n=6),
    Options(logit_bias=((3, 4.0), (500, 2.5)), top_k=8),
    Options(temperature=0.8, top_k=100, top_p=1.0),
]
HISTORY = [1, 2, 3, 3, 3, 4, 9, 9, 500]


@pytest.mark.parametrize("options", CASES)
@pytest.mark.parametrize("n_vocab", [600, 40])
def test_draws_follow_the_distribution(options: Options, n_vocab: int) -> None:
    """A chi-square test against the plain definition; nothing it excludes is ever drawn."""
    history = [token % n_vocab for token in HISTORY]
    bias = tuple((token % n_vocab, value) for token, value in options.logit_bias)
    changes = {name: getattr(options, name) for name in Options.__struct_fields__}
    options = Options(**(changes | {"logit_bias": bias}))
    row = random_rows(1, n_vocab, seed=5)
    expected = distribution(row[0], options, history)
    prompt = np.array(history, np.int32)
    samplers = [RowSampler(options, prompt, n_vocab, entropy=seed) for seed in range(40)]
    drawn = Counter[int]()
    for _ in range(250):
        drawn.update(sample_rows(np.repeat(row, 40, axis=0), samplers).tolist())
    assert set(drawn) <= set(expected)
    likely = {token: share * 10_000 for token, share in expected.items() if share * 10_000 >= 5}
    chi_square = sum((drawn[token] - count) ** 2 / count for token, count in likely.items())
    freedom = max(1, len(likely) - 1)
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom) + 4


def test_filters_come_before_temperature() -> None:
    """A hot row draws among those that top_p kept of the cold one."""
    row = np.log(np.array([[0.6, 0.3, 0.06, 0.04]], np.float32))
    hot = sampler(4, top_p=0.8, temperature=100.0, seed=1)
    drawn = {int(sample_rows(row, [hot])[0]) for _ in range(200)}
    assert drawn == {0, 1}


def test_top_k_beyond_the_vocabulary_means_all_of_it() -> None:
    """A small vocabulary is no error; every token can be drawn."""
    hot = sampler(3, top_k=256, top_p=1.0, temperature=10.0, seed=1)
    assert {int(sample_rows(random_rows(1, 3), [hot])[0]) for _ in range(200)} == {0, 1, 2}


def test_each_row_keeps_its_own_top_k() -> None:
    """Rows with different top_k are ranked together and draw from their own part."""
    tops = (3, 200, 40)
    rows = [sampler(500, top_k=top, top_p=1.0, temperature=1e6, seed=4) for top in tops]
    logits = np.repeat(random_rows(1, 500), 3, axis=0)
    drawn = np.array([sample_rows(logits, rows) for _ in range(3000)])
    assert [len(set(column)) for column in drawn.T.tolist()] == list(tops)


def test_masked_tokens_are_never_drawn() -> None:
    """-inf has probability 0 even when fewer than top_k tokens are finite."""
    logits = np.full((1, 4000), -np.inf, np.float32)
    logits[0, [9, 3999]] = 0
    hot = sampler(4000, temperature=1e6, top_p=1.0, seed=2)
    assert {int(sample_rows(logits, [hot])[0]) for _ in range(100)} == {9, 3999}


@pytest.mark.parametrize("temperature", [1e-320, 1e-30, 1e6])
def test_extreme_temperatures(temperature: float) -> None:
    """The coldest is greedy, the hottest still honours the filters, nothing overflows."""
    logits = random_rows(1, 1000)
    row = sampler(1000, temperature=temperature, top_k=3, top_p=1.0, seed=0)
    drawn = {int(sample_rows(logits, [row])[0]) for _ in range(200)}
    assert len(drawn) == (3 if temperature > 1 else 1)
    assert int(logits.argmax()) in drawn


# --- penalties and bias ---


@pytest.mark.parametrize(
    ("repeat", "frequency", "presence", "last_n"),
    [(1.5, 0, 0, 64), (1, 0.5, 0, 64), (1, 0, 0.5, 64), (1.3, 0.2, -0.4, 4), (0.5, -1, 2, -1)],
)
def test_penalties_are_llama_cpps(
    repeat: float, frequency: float, presence: float, last_n: int
) -> None:
    """Logits are changed in place exactly as the definition says, and no others."""
    options = Options(
        repeat_penalty=repeat,
        frequency_penalty=frequency,
        presence_penalty=presence,
        repeat_last_n=last_n,
    )
    logits = random_rows(3, 600)
    logits[0, 3] = 0
    before = logits.copy()
    row = RowSampler(options, np.array(HISTORY[:5], np.int32), 600)
    for token in HISTORY[5:]:
        row.accept(token)
    sample_rows(logits, [row, sampler(600), row])
    for at in (0, 2):
        np.testing.assert_allclose(logits[at], penalised(before[at], options, HISTORY), rtol=1e-6)
    assert (logits[1] == before[1]).all()


def test_no_penalties_leave_the_logits_alone() -> None:
    """The defaults and repeat_last_n 0 look back at nothing."""
    for options in ({}, {"repeat_last_n": 0, "repeat_penalty": 2.0}):
        logits = random_rows(1, 100)
        row = sampler(100, np.arange(50, dtype=np.int32), **options)
        row.accept(7)
        before = logits.copy()
        sample_rows(logits, [row])
        assert (logits == before).all()


@given(
    st.lists(st.integers(-1, 6), max_size=30),
    st.lists(st.integers(0, 5), max_size=60),
    st.integers(-1, 12).filter(bool),
)
def test_recent_tokens_are_the_last_ones(prompt: list[int], said: list[int], window: int) -> None:
    """Counts always equal those of the last ``window`` tokens; ids outside do not count."""
    recent = RecentTokens(np.array(prompt, np.int32), window, 6)
    known = [token for token in (prompt if window < 0 else prompt[-window:]) if 0 <= token < 6]
    for token in said:
        recent.add(token)
        known.append(token)
    expected = Counter(known if window < 0 else known[-window:])
    counts = dict(zip(recent.ids.tolist(), recent.counts.tolist(), strict=True))
    assert counts == expected


def test_bias_is_added_and_strangers_are_ignored() -> None:
    """A strong bias decides; the same id twice adds up; ids outside the vocabulary do nothing."""
    logits = random_rows(2, 50)
    biased = sampler(50, logit_bias=((7, 60.0), (7, 40.0), (50, 100.0), (-1, 100.0)), top_k=40)
    before = logits.copy()
    tokens = sample_rows(logits, [sampler(50, temperature=0), biased])
    assert tokens.tolist() == [int(before[0].argmax()), 7]
    assert logits[1, 7] == pytest.approx(before[1, 7] + 100)
    assert (np.delete(logits, 7, axis=1) == np.delete(before, 7, axis=1)).all()


def test_bias_comes_before_penalties() -> None:
    """A biased logit that turns positive is divided, not multiplied."""
    logits = np.array([[-1.0, 0.0]], np.float32)
    options = {"logit_bias": ((0, 3.0),), "repeat_penalty": 2.0}
    sample_rows(logits, [sampler(2, np.zeros(1, np.int32), **options)])
    assert logits[0, 0] == 1.0


# --- random numbers ---


def stream(
    rows: Sequence[RowSampler | None], place: int, steps: int = 100, n_vocab: int = 3000
) -> list[int]:
    """What the row at ``place`` draws when its logits are the same in any company."""
    drawn = []
    for at in range(steps):
        logits = random_rows(len(rows), n_vocab, seed=1000 + at)
        logits[place] = random_rows(1, n_vocab, seed=at)
        drawn.append(int(sample_rows(logits, rows)[place]))
    return drawn


def test_a_seed_gives_one_stream_in_any_company() -> None:
    """Neighbours, their options and the place in the batch do not change what a seed draws."""
    others = [
        sampler(3000, seed=9),
        sampler(3000, top_k=200),
        sampler(3000, temperature=0),
        sampler(3000, repeat_penalty=1.3),
    ]
    alone = stream([sampler(3000, seed=42)], 0)
    assert stream([*others, sampler(3000, seed=42)], 4) == alone
    assert stream([others[1], sampler(3000, seed=42), None, others[0]], 1) == alone
    assert stream([sampler(3000, seed=43)], 0) != alone


def test_equal_logits_do_not_break_the_stream() -> None:
    """With many equal logits, ranks depend on ids alone, not on a neighbour's top_k."""
    logits = np.round(random_rows(1, 3000)).astype(np.float32)

    def drawn(company: list[RowSampler]) -> list[int]:
        rows = [*company, sampler(3000, seed=5)]
        many = np.repeat(logits, len(rows), axis=0)
        return [int(sample_rows(many, rows)[-1]) for _ in range(60)]

    assert drawn([]) == drawn([sampler(3000, top_k=233)])


def test_a_negative_seed_is_a_new_one_each_time() -> None:
    """seed -1 takes the system's entropy, unless the caller brings some."""
    flat = np.zeros((1, 256), np.float32)

    def drawn(entropy: int | None) -> list[int]:
        row = RowSampler(Options(top_k=256, top_p=1.0), NOTHING, 256, entropy=entropy)
        return [int(sample_rows(flat, [row])[0]) for _ in range(20)]

    assert drawn(None) != drawn(None)
    assert drawn(3) == drawn(3)


def test_any_seed_a_client_may_send_works() -> None:
    """Seeds reach to 2^63 - 1."""
    assert sample_rows(random_rows(1, 10), [sampler(10, seed=2**63 - 1)])[0] >= 0


# --- broken rows ---


@pytest.mark.parametrize("broken", [np.nan, -np.nan, np.inf])
@pytest.mark.parametrize("n_vocab", [30, 5000])
@pytest.mark.parametrize("temperature", [0.8, 0.0])
def test_a_broken_row_fails_alone(broken: float, n_vocab: int, temperature: float) -> None:
    """A NaN or +inf gives -1 for its row; the neighbours get what they get without it."""

    def drawn(logits: Floats) -> list[int]:
        rows = [sampler(n_vocab, seed=at, temperature=temperature) for at in range(3)]
        return [int(token) for token in sample_rows(logits, rows)]

    good, bad = random_rows(3, n_vocab), random_rows(3, n_vocab)
    bad[1, n_vocab - 2] = broken
    expected = drawn(good)
    assert drawn(bad) == [expected[0], -1, expected[2]]


def test_a_row_without_any_probability_fails_alone() -> None:
    """All -inf, as a mask may leave it: -1, also with penalties and bias on top."""
    logits = random_rows(2, 2000)
    logits[0] = -np.inf
    options = {"repeat_penalty": 1.2, "logit_bias": ((3, 5.0),)}
    rows = [sampler(2000, np.arange(9, dtype=np.int32), **options) for _ in range(2)]
    first, second = sample_rows(logits, rows).tolist()
    assert (first, second >= 0) == (-1, True)


def test_rows_without_a_sampler_are_left_alone() -> None:
    """None gives -1 and changes nothing, so rows need no copying around chains."""
    logits = random_rows(3, 500)
    before = logits.copy()
    tokens = sample_rows(logits, [None, sampler(500, temperature=0), None]).tolist()
    assert tokens == [-1, int(before[1].argmax()), -1]
    assert (logits == before).all()
    assert sample_rows(logits[:0], []).shape == (0,)


@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.3])
@pytest.mark.parametrize("min_p", [0.0, 0.1])
@pytest.mark.parametrize("coarse", [False, True])
def test_a_row_alone_gets_what_it_gets_among_others(
    top_p: float, min_p: float, coarse: bool
) -> None:
    """The road of a lone row is another one, with equal logits and missing ones too."""
    logits = random_rows(40, 500)
    if coarse:
        logits = np.round(logits)
        logits[:, 20:] = -np.inf
    options = {"top_p": top_p, "min_p": min_p, "temperature": 1.3, "top_k": 30}
    alone, among = sampler(500, seed=5, **options), sampler(500, seed=5, **options)
    other = sampler(500, temperature=0)
    drawn = [int(sample_rows(row[None].copy(), [alone])[0]) for row in logits]
    assert len(set(drawn)) > 5
    assert drawn == [
        int(sample_rows(np.stack([logits[0], row]), [other, among])[1]) for row in logits
    ]
