"""Sampler chains choose as llama.cpp itself chooses."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest

from tests.support.decoding import prefill, prompt
from trillama.base.errors import BadRequest, EngineError
from trillama.base.options import Options
from trillama.engine.chains import LlamaChain, chain_seed
from trillama.engine.library import lib

N_VOCAB = 1000
NO_HISTORY = np.empty(0, np.int32)


def row_of(seed: int, spread: float = 3.0) -> np.ndarray:
    """A row of random logits."""
    return (np.random.default_rng(seed).standard_normal(N_VOCAB) * spread).astype(np.float32)


def chain(history: np.ndarray = NO_HISTORY, **options: object) -> LlamaChain:
    """A chain with everything off but what is named."""
    plain: dict[str, object] = {"top_k": 0, "top_p": 1.0, "seed": 1}
    return LlamaChain(Options(**(plain | options)), history, N_VOCAB, window=256)


def by_hand(*samplers: int) -> int:
    made = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    for sampler in samplers:
        lib.llama_sampler_chain_add(made, sampler)
    return made


def test_a_chain_draws_what_the_library_samples_for_the_same_seed(context):
    """Sixty draws equal llama_sampler_sample's on the same logits, penalties included."""
    history = prompt(40)
    options = Options(
        seed=42, top_k=0, typical_p=0.9, top_p=0.95, min_p=0.01, temperature=1.3,
        repeat_penalty=1.2, presence_penalty=0.1, frequency_penalty=0.2, repeat_last_n=16,
        logit_bias=((3, 2.0), (7, -50.0)),
    )  # fmt: skip
    ours = context.new_chain(options, history)
    n_vocab = context.vocabulary.size
    biases = (lib.llama_logit_bias * 2)((3, 2.0), (7, -50.0))
    theirs = by_hand(
        lib.llama_sampler_init_logit_bias(n_vocab, 2, biases),
        lib.llama_sampler_init_penalties(n_vocab, 16, 1.2, 0.2, 0.1),
        lib.llama_sampler_init_typical(0.9, 1),
        lib.llama_sampler_init_top_p(0.95, 1),
        lib.llama_sampler_init_min_p(0.01, 1),
        lib.llama_sampler_init_temp(1.3),
        lib.llama_sampler_init_dist(42),
    )
    for token in history[-16:].tolist():
        lib.llama_sampler_accept(theirs, token)
    drawn, expected = [], []
    for turn in range(60):
        prefill(context, 0, prompt(5, turn), 5 * turn)
        expected.append(lib.llama_sampler_sample(theirs, context._pointer, -1))
        drawn.append(ours.pick(context.logits()[0]))
    assert drawn == expected
    assert len(set(drawn)) > 20
    ours.close()
    lib.llama_sampler_free(theirs)


def test_equal_seeds_draw_equally_and_others_differ():
    """A job's randomness is its own: it depends on its seed and nothing else."""

    def draws(seed: int) -> list[int]:
        one = chain(seed=seed)
        return [one.pick(row_of(turn)) for turn in range(30)]

    assert draws(7) == draws(7)
    assert draws(7) != draws(8)
    assert draws(-1) != draws(-1)


def test_without_temperature_the_best_candidate_is_taken():
    """Temperature 0 takes the most probable of what the other samplers leave."""
    assert chain(temperature=0.0).pick(row_of(1)) == row_of(1).argmax()


def test_a_very_low_temperature_does_not_overflow():
    """Logits divided by almost nothing stay numbers, and the maximum wins."""
    assert chain(temperature=1e-38).pick(row_of(2, spread=50.0)) == row_of(2, 50.0).argmax()


def test_penalties_reach_back_as_far_as_told():
    """A token beyond ``repeat_last_n`` is free; one within is pushed away."""
    row = np.zeros(N_VOCAB, np.float32)
    row[5], row[6] = 10.0, 9.5
    history = np.array([5, 1, 2, 3], np.int32)
    options = {"temperature": 0.0, "presence_penalty": 1.0}
    assert chain(history, repeat_last_n=3, **options).pick(row) == 5
    assert chain(history, repeat_last_n=4, **options).pick(row) == 6
    assert chain(history, repeat_last_n=-1, **options).pick(row) == 6
    assert chain(history, repeat_last_n=0, **options).pick(row) == 5
    assert chain(history, repeat_last_n=2**31 - 1, **options).pick(row) == 6


def test_the_library_never_remembers_more_than_a_window(monkeypatch):
    """It allocates what ``repeat_last_n`` says, and a client may say two billion."""
    asked: list[int] = []
    real = lib.llama_sampler_init_penalties

    def make(n_vocab, last, *numbers):
        asked.append(last)
        return real(n_vocab, last, *numbers)

    monkeypatch.setattr(lib, "llama_sampler_init_penalties", make)
    for last in (2**31 - 1, -1, 64):
        chain(repeat_last_n=last, repeat_penalty=1.1).close()
    assert asked == [256, 256, 64]


def test_what_was_picked_is_remembered():
    """The second pick from the same row sees the first one's penalty."""
    row = np.zeros(N_VOCAB, np.float32)
    row[5], row[6] = 10.0, 9.5
    one = chain(temperature=0.0, presence_penalty=1.0)
    assert [one.pick(row), one.pick(row), one.pick(row)] == [5, 6, 5]


def test_a_row_is_left_as_it_was():
    """The chain works on its own candidates."""
    row = row_of(3)
    chain(logit_bias=((1, 50.0),), presence_penalty=1.0).pick(row)
    assert np.array_equal(row, row_of(3))


@pytest.mark.parametrize("typical_p", [0.0, 0.5, 0.99])
def test_typical_sampling_survives_probabilities_of_zero(typical_p):
    """Logits that underflow, or are -inf, do not poison the entropy."""
    row = row_of(4)
    row[:400] -= 500.0
    row[400:500] = -np.inf
    one = chain(typical_p=typical_p, logit_bias=((600, -100.0),))
    picked = [one.pick(row) for _ in range(50)]
    assert all(token >= 500 for token in picked)
    assert 600 not in picked
    row[:500] = row[500:].max() - 60.0  # as improbable, but numbers a logarithm can take
    row[600] = row[0]
    harmless = chain(typical_p=typical_p)
    assert picked == [harmless.pick(row) for _ in range(50)]


def test_forbidden_tokens_are_never_drawn():
    """With one token left, it is the one."""
    row = np.full(N_VOCAB, -np.inf, np.float32)
    row[77] = -3.0
    assert {chain(seed=seed).pick(row) for seed in range(20)} == {77}


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_broken_logits_are_an_error(poison):
    """The job ends with an error instead of a random token."""
    row = row_of(5)
    row[3] = poison
    with pytest.raises(EngineError, match="not finite"):
        chain().pick(row)


def test_bad_options_are_the_clients_mistake(context):
    """A bias on a token that does not exist is a 400."""
    with pytest.raises(BadRequest):
        context.new_chain(Options(logit_bias=((context.vocabulary.size, 1.0),)), NO_HISTORY)


def test_closing_twice_is_harmless_and_a_closed_chain_refuses():
    """A freed chain is never handed to the library."""
    one = chain()
    one.close()
    one.close()
    with pytest.raises(EngineError, match="closed"):
        one.pick(row_of(6))


@pytest.mark.parametrize(("seed", "expected"), [(0, 0), (42, 42), (2**32 + 5, 5), (2**32 - 1, 0)])
def test_seeds_are_cut_to_32_bits_and_never_mean_random(seed, expected):
    """The library's mark for "choose one" is not reached by a seed somebody gave."""
    assert chain_seed(seed) == expected


def test_candidates_have_the_librarys_layout():
    """The numpy record is as wide as llama_token_data."""
    assert chain()._candidates.itemsize == ctypes.sizeof(lib.llama_token_data)
