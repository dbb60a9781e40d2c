"""Options: what is merged, what is refused by name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from trillama.base.errors import BadRequest
from trillama.base.options import BAN, MAX_BIASES, MAX_STOP, Options, merge_options


def test_later_layers_win_and_null_keeps_the_lower_one() -> None:
    """Per key; whole numbers may be written with a fraction, which is cut off."""
    own, _ = merge_options(Options(), {"top_k": 7, "temperature": 0.5})
    merged, ignored = merge_options(own, {"top_k": None, "seed": 3.9, "mirostat": 2})

    assert (merged.top_k, merged.temperature, merged.seed) == (7, 0.5, 3)
    assert ignored == ["mirostat"]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("num_ctx", 10**1000, "finite"),
        ("num_ctx", 1e300, "between 0 and"),
        ("num_batch", 0, "between 1 and"),
        ("num_thread", -1, "between 0 and 1024"),
        ("num_thread", 10**6, "between 0 and 1024"),
        ("num_gpu", 1e30, "between -1 and"),
        ("main_gpu", -2, "between -1 and"),
        ("temperature", math.nan, "finite"),
        ("temperature", 10**400, "finite"),
        ("top_p", True, "of type float32"),
        ("stop", "x", "of type array"),
        ("stop", ["x", 1], "array of strings"),
        ("stop", ["x" * (MAX_STOP + 1)], f"{MAX_STOP} characters"),
        ("stop", ["ab"] * MAX_STOP, f"{MAX_STOP} characters"),
        ("logit_bias", [], "of type map"),
        ("logit_bias", {"a": 1}, "tokens as its keys"),
        ("logit_bias", {"-1": 1}, "tokens as its keys"),
        ("logit_bias", {"1": "x"}, "numbers as its values"),
        ("logit_bias", {"1": True}, "numbers as its values"),
        ("logit_bias", {"1": 101}, "between -100 and 100"),
        ("logit_bias", {"1": math.nan}, "between -100 and 100"),
        ("logit_bias", dict.fromkeys(map(str, range(MAX_BIASES + 1)), 1), f"{MAX_BIASES} tokens"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_no_engine_could_use_is_refused_by_name(name: str, value: Any, told: str) -> None:
    """The text names the option and its limits, and never repeats a book of digits."""
    with pytest.raises(BadRequest) as refused:
        merge_options(Options(), {name: value})

    assert f'option "{name}"' in refused.value.message
    assert told in refused.value.message
    assert len(refused.value.message) < 200


def test_tokens_are_favoured_and_banned_by_their_number() -> None:
    """Keys as JSON writes them; false bans."""
    options, ignored = merge_options(Options(), {"logit_bias": {"5": -100, "7": False, 9: 1.5}})

    assert (options.logit_bias, ignored) == (((5, -100.0), (7, BAN), (9, 1.5)), [])
