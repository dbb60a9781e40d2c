"""Images of sequences within a budget."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.decoding import prompt
from trillama.engine.saved_states import SavedStates


def image(size: int) -> np.ndarray:
    return np.zeros(size, np.uint8)


def test_a_state_serves_only_prompts_that_go_on_at_its_end() -> None:
    """The longest one that fits is found; one that has gone further is of no use."""
    states = SavedStates(1 << 20, whole=True)
    for length in (40, 80, 120):
        states.put("", prompt(length), image(100))
    saved, length = states.match("", prompt(100))
    assert saved is not None
    assert length == len(saved.tokens) == 80
    assert states.match("", np.append(prompt(50), prompt(50, 1)))[1] == 40
    assert states.match("", prompt(30)) == (None, 0)
    assert states.match("other", prompt(100)) == (None, 0)
    states.check()


def test_cells_serve_every_prompt_that_begins_like_them() -> None:
    """So a longer image takes the place of a shorter one."""
    states = SavedStates(1 << 20, whole=False)
    states.put("", prompt(40), image(100))
    states.put("", prompt(120), image(100))
    assert len(states) == 1
    assert states.match("", np.append(prompt(50), prompt(50, 1)))[1] == 50
    assert states.holds("", prompt(100))
    states.check()


def test_what_was_used_least_recently_goes_first() -> None:
    """The budget holds, and what alone exceeds it is not kept."""
    states = SavedStates(1000, whole=True)
    for salt in range(2):
        states.put("", prompt(20, salt), image(400))
    saved, _ = states.match("", prompt(30, 0))
    assert saved is not None
    states.use(saved, 20)
    states.put("", prompt(20, 2), image(400))
    assert [states.match("", prompt(30, salt))[1] for salt in range(3)] == [20, 0, 20]
    states.put("", prompt(20, 3), image(1000))
    assert (len(states), states.used, states.dropped, states.restored) == (2, 960, 1, 20)
    states.check()
    states.clear()
    assert (len(states), states.used) == (0, 0)


@pytest.mark.parametrize(("budget", "size"), [(0, 100), (1000, 0)])
def test_nothing_is_kept_without_budget_or_image(budget: int, size: int) -> None:
    """A library that gave nothing is not believed."""
    states = SavedStates(budget, whole=True)
    states.put("", prompt(40), image(size))
    assert len(states) == 0
