"""What a cache is worth: learned from what finished sequences would have saved."""

from __future__ import annotations

import numpy as np

from trillama.engine.prefix_tree import Tokens
from trillama.engine.reuse import BLOCK, BLOCKS, FIRST_GUESS, ReuseForecast


def text(seed: int, length: int = 320) -> Tokens:
    return np.random.default_rng(seed).integers(0, 1000, length).astype(np.int32)


def test_prompts_that_share_nothing_bring_the_forecast_down() -> None:
    """After some dozens of strangers a cache promises next to nothing."""
    forecast = ReuseForecast()
    for seed in range(40):
        forecast.observe("", text(seed), 0)
        forecast.remember("", text(seed))
    assert forecast.share < 0.02


def test_a_conversation_brings_it_up_within_a_few_turns() -> None:
    """Prompts that continue finished sequences are noticed though no cell was kept."""
    forecast = ReuseForecast()
    for seed in range(40):
        forecast.observe("", text(seed), 0)
    for turn in range(1, 8):
        history = text(99, 320 * turn)
        forecast.remember("", history)
        forecast.observe("", np.concatenate((history, text(turn, 40))), 0)
    assert forecast.share > 0.7


def test_what_running_sequences_hold_anyway_does_not_count() -> None:
    """A system prompt that is always in use needs no cached copies."""
    forecast = ReuseForecast()
    forecast.remember("", text(1))
    for _ in range(30):
        forecast.observe("", text(1), 320)
    assert forecast.share < 0.05


def test_keys_are_strangers() -> None:
    """What one tenant finished promises nothing to another."""
    forecast = ReuseForecast()
    forecast.remember("a", text(1))
    forecast.observe("b", text(1), 0)
    assert forecast.share < FIRST_GUESS


def test_the_memory_is_bounded() -> None:
    """The oldest hashes are forgotten; the newest still count."""
    forecast = ReuseForecast()
    forecast.remember("", text(1))
    forecast.remember("", text(2, BLOCK * (BLOCKS + 1)))
    assert len(forecast._known) == BLOCKS
    forecast.observe("", text(1), 0)
    assert forecast.share < FIRST_GUESS
