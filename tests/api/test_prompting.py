"""What a prompt is made of, and what is left out when it must be shorter."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.house import model
from trillama.api.prompting import (
    _cut,
    conversation,
    droppable,
    least_tokens,
    without_oldest,
)
from trillama.api.specs import DEFAULT_CELLS, LEAST_OUTPUTS, runner_spec
from trillama.base.messages import Message
from trillama.base.options import Options
from trillama.base.settings import Settings
from trillama.base.turns import TurnRequest
from trillama.engine.fake_vocab import FakeVocabulary


def say(text: str) -> list[Message]:
    """Messages from letters: s, u and a for the roles."""
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return [Message(roles[letter], f"{letter}{at}") for at, letter in enumerate(text)]


@pytest.mark.parametrize(
    ("roles", "count", "left"),
    [
        ("suauau", 0, ["s0", "u1", "a2", "u3", "a4", "u5"]),
        ("suauau", 1, ["s0", "u3", "a4", "u5"]),
        ("suauau", 2, ["s0", "u3", "a4", "u5"]),
        ("suauau", 3, ["s0", "u5"]),
        ("suauau", 4, ["s0", "u5"]),
        ("usua", 2, ["s1", "a3"]),
        ("auau", 0, ["a0", "u1", "a2", "u3"]),
        ("auau", 1, ["u1", "a2", "u3"]),
        ("uuuu", 2, ["u2", "u3"]),
        ("u", 0, ["u0"]),
    ],
)
def test_the_oldest_go_first(roles: str, count: int, left: list[str]) -> None:
    """System messages and the last one always stay; a reply goes with what it replied to."""
    messages = say(roles)

    assert [message.content for message in without_oldest(messages, count)] == left
    assert len(without_oldest(messages, droppable(messages))) == roles.count("s") + (
        roles[-1] != "s"
    )


def test_no_more_is_left_out_than_may_be() -> None:
    """Asked for more than there is, the system text and the last message remain."""
    assert len(without_oldest(say("suu"), 99)) == 2


@pytest.mark.parametrize(
    ("room", "keep", "left"),
    [(10, 4, list(range(10))), (6, 2, [0, 1, 6, 7, 8, 9]), (4, 0, [6, 7, 8, 9]),
     (4, 9, [0, 1, 8, 9]), (4, -1, [6, 7, 8, 9]), (1, 4, [9])],
)  # fmt: skip
def test_a_cut_keeps_the_front_and_the_end(room: int, keep: int, left: list[int]) -> None:
    """The first ``keep`` tokens, at most half of the room, and as many of the last as fit."""
    assert _cut(np.arange(10, dtype=np.int32), room, keep).tolist() == left


def test_turns_are_a_lower_bound_of_the_tokens() -> None:
    """Each end of a turn is a token, whatever stands between them; other text may be none."""
    vocabulary = FakeVocabulary()
    text = "".join(vocabulary.text_of(vocabulary.eos).decode() + "hi" for _ in range(5))

    assert least_tokens(text, vocabulary) == 5
    assert least_tokens("hi", vocabulary) == least_tokens("", vocabulary) == 0


def test_a_system_text_of_the_request_replaces_the_models() -> None:
    """Order: system, the model's examples, the request."""
    mine = model("m", system="own", messages=(Message("user", "ex"),))

    def contents(*messages: Message, prefix: tuple[int, ...] | None = None) -> list[str]:
        request = TurnRequest(model="m", messages=messages, prefix=prefix)
        return [message.content for message in conversation(mine, request)]

    assert contents(Message("user", "x")) == ["own", "ex", "x"]
    assert contents(Message("system", "S"), Message("user", "x")) == ["S", "ex", "x"]
    assert contents(Message("user", "x"), prefix=()) == ["own", "x"]


def test_a_request_never_changes_the_pool() -> None:
    """Only the settings and the model's own num_ctx decide on the cells; the larger wins."""

    def cells(own: object, context_length: int, asked: int) -> int:
        settings = Settings(context_length=context_length)
        options = Options(num_ctx=asked)
        parameters = {"num_ctx": own} if own else {}
        return runner_spec(model("m", parameters=parameters), options, settings).context.cells

    assert cells(None, 0, 64) == cells(None, 0, 10**6) == DEFAULT_CELLS
    assert cells(None, 5000, 64) == 5000
    assert cells(30_000, 0, 64) == 30_000
    assert cells(100, 5000, 64) == 5000


def test_settings_and_options_reach_the_engine() -> None:
    """What decides on a load is in the spec, and nothing else."""
    settings = Settings(
        kv_cache_type="q8_0", flash_attention=True, num_parallel=3, num_thread=5, max_queue=7
    )
    spec = runner_spec(model("m"), Options(num_gpu=2, num_batch=64, use_mmap=False), settings)
    plain = runner_spec(model("m"), Options(), Settings())

    assert (spec.context.cache_type_k, spec.context.cache_type_v) == ("q8_0", "q8_0")
    assert (spec.context.threads, spec.context.micro_batch) == (5, 64)
    assert (spec.load.gpu_layers, spec.load.use_mmap) == (2, False)
    assert (spec.policy.max_live, spec.max_queue) == (3, 7)
    assert (plain.context.cache_type_k, plain.load.gpu_layers) == ("f16", -1)
    assert spec.key == plain.key
    assert spec.context.flash_attention is True


@pytest.mark.parametrize(
    ("asked", "live", "sequences"),
    [(0, 64, 128), (1, 1, 128), (64, 64, 128), (100, 100, 200), (200, 200, 256), (999, 256, 256)],
)
def test_there_are_more_sequences_than_requests_at_once(
    asked: int, live: int, sequences: int
) -> None:
    """Those to spare keep finished prompts for reuse; llama.cpp has 256 at most."""
    spec = runner_spec(model("m"), Options(), Settings(num_parallel=asked))

    assert spec.context.outputs == max(live, LEAST_OUTPUTS)
    assert spec.context.sequences == sequences
    assert spec.policy.max_live == (live if asked else 0), "the engine knows better what it bears"
