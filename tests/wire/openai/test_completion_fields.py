"""Every field of a plain completion has an effect or is refused by name; a new one needs a row."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai.types.completion_create_params import CompletionCreateParamsBase

from tests.support.fields import Effect, Label, Row, Shown, check_names, check_row
from trillama.base.adapters import AdapterChoice
from trillama.base.constraints import Constraint, ConstraintKind
from trillama.base.messages import Message
from trillama.base.turns import TurnRequest
from trillama.wire.openai.completions import (
    LABELS,
    REFUSED,
    CompletionRequest,
    completion_turns,
    read_completion,
)

BASE: dict[str, Any] = {"model": "m", "prompt": "x"}
HERE = "tests/api/test_completions.py"


def option(name: str, value: Any) -> Effect:
    return Effect(value, {"options": {name: value}})


TABLE: dict[str, Row] = {
    "model": Effect("other", {"model": "other"}),
    "prompt": Effect([1, 2], {"raw": "", "raw_tokens": (1, 2)}),
    "suffix": Effect("y", {"raw": "", "messages": (Message("user", "x"),), "suffix": "y"}),
    "echo": Shown(True, f"{HERE}::test_an_echo_begins_with_the_prompt"),
    "logprobs": Effect(3, {"logprobs": 3}),
    "best_of": Shown(1, f"{HERE}::test_what_cannot_be_had_is_named"),
    "max_tokens": Effect(7, {"options": {"num_predict": 7}}),
    "temperature": option("temperature", 0.5),
    "top_p": option("top_p", 0.5),
    "top_k": option("top_k", 5),
    "min_p": option("min_p", 0.5),
    "typical_p": option("typical_p", 0.5),
    "repeat_penalty": option("repeat_penalty", 1.5),
    "repeat_last_n": option("repeat_last_n", 5),
    "num_ctx": option("num_ctx", 512),
    "num_keep": option("num_keep", 5),
    "frequency_penalty": option("frequency_penalty", 0.5),
    "presence_penalty": option("presence_penalty", 0.5),
    "seed": option("seed", 5),
    "stop": Effect(["a", "b"], {"options": {"stop": ["a", "b"]}}),
    "logit_bias": option("logit_bias", {"5": -1.0}),
    "options": Effect({"top_k": 5}, {"options": {"top_k": 5}}),
    "keep_alive": Effect(-1, {"keep_alive": 2**63 - 1}),
    "adapter": Effect("b", {"adapters": (AdapterChoice("b"),)}),
    "truncate": Effect(True, {"truncate": True}),
    "grammar": Effect("root ::= x", {"constraint": Constraint(ConstraintKind.GBNF, "root ::= x")}),
    "n": Shown(3, f"{HERE}::test_tokens_are_a_prompt_too"),
    "stream": Shown(True, f"{HERE}::test_a_text_is_gone_on_with"),
    "stream_options": Shown({"include_usage": True}, f"{HERE}::test_a_text_is_gone_on_with"),
    "user": Label("someone"),
}


def turn(**fields: Any) -> TurnRequest:
    return completion_turns(read_completion(msgspec.json.encode(BASE | fields)))[0]


def test_every_field_has_a_row() -> None:
    """Of the struct; and every field of the official client is one of the struct's."""
    official = set(CompletionCreateParamsBase.__annotations__)
    check_names(TABLE, CompletionRequest, official, REFUSED)
    assert {name for name, row in TABLE.items() if isinstance(row, Label)} == set(LABELS)


@pytest.mark.parametrize("name", TABLE)
def test_a_field_does_what_its_row_says(name: str) -> None:
    """An effect on what is asked, or on the records, which a test shows."""
    check_row(name, TABLE[name], turn, REFUSED)


def test_a_prompt_is_given_as_it_is() -> None:
    """Without a template, and nobody looks for anything in the answer."""
    assert (turn().raw, turn().verbatim, turn().verb) == ("x", True, "generate")
