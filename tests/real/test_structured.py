"""Accepted formats are kept by real models, the least sensible one included."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import trio

from tests.support.house import House, ask, houses, model
from tests.support.schemas import Schemas
from training.corpus.code import FUNCTIONS
from trillama.engine.llama import LlamaBackend
from trillama.models.gguf import read_gguf

AT_ONCE = 16
THINKS = (True, False, None)
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
)
build = pytest.fixture(houses)


@dataclass
class Tally:
    """What became of the requests."""

    kept: int = 0
    cut: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)


@pytest.fixture
async def random_house(
    build: Callable[..., Any], backend: LlamaBackend, tiny_random_path: Path
) -> House:
    """A server with a model of random weights that can think."""
    weights = model(
        "m",
        weights=tiny_random_path,
        capabilities=("completion", "thinking"),
        chat_template=TEMPLATE,
    )
    return await build(
        weights, backend=backend, context_length=16_384, num_parallel=AT_ONCE, num_thread=1
    )


async def one(house: House, tally: Tally, schemas: tuple[Any, str], **how: Any) -> None:
    """Ask for one answer and judge it."""
    schema, injected = schemas
    options = {"temperature": 2, "top_k": 0, "top_p": 1, "num_predict": 600, "seed": 11}
    asked = {"model": "m", "messages": [{"role": "user", "content": "?"}], "options": options}
    reply = await ask(house, "POST", "/api/chat", asked | {"format": schema} | how)
    if reply.status == 400:
        message = reply.json()["error"]
        tally.refused += 1
        if injected not in message or not message.startswith("format: "):
            tally.wrong.append(f"{json.dumps(schema)}: {message}")
        return
    lines = reply.lines()
    if reply.status != 200 or not lines[-1].get("done"):
        tally.wrong.append(f"{json.dumps(schema)}: {lines[-1]}")
        return
    content = "".join(line["message"]["content"] for line in lines)
    if lines[-1]["done_reason"] == "length":
        tally.cut += 1
        return
    tally.kept += 1
    try:
        jsonschema.validate(json.loads(content), schema)
    except (jsonschema.ValidationError, ValueError) as error:
        tally.wrong.append(f"{json.dumps(schema)}: {content!r}: {error}")
    if injected:
        tally.wrong.append(f"{json.dumps(schema)}: accepted")


async def ask_all(house: House, count: int, ways: list[dict[str, Any]]) -> Tally:
    tally, source = Tally(), Schemas(4)
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def limited(*about: Any, **how: Any) -> None:
        async with limiter:
            await one(house, tally, *about, **how)

    async with trio.open_nursery() as nursery:
        for number in range(count):
            about = (source.next(), source.injected)
            for way in ways[number % 2 :: 2] if len(ways) > 3 else ways:
                nursery.start_soon(functools.partial(limited, about, **way))
    return tally


async def test_random_weights_keep_random_schemas(random_house: House) -> None:
    """A sample: thinking on, off and unset, streamed and whole."""
    ways = [{"think": think, "stream": stream} for think in THINKS for stream in (True, False)]
    tally = await ask_all(random_house, 12, ways)

    assert tally.wrong == []
    assert tally.kept >= 24
    assert tally.cut <= 4


@pytest.mark.slow
async def test_three_hundred_schemas_in_every_way(random_house: House) -> None:
    """1800 requests; every accepted answer validates, every refusal names the keyword."""
    total = Tally()
    for think in THINKS:
        for stream in (True, False):
            tally = await ask_all(random_house, 300, [{"think": think, "stream": stream}])
            total.wrong += tally.wrong
            total.kept += tally.kept
            total.cut += tally.cut
            total.refused += tally.refused
    print(f"{total.kept} kept, {total.cut} cut, {total.refused} refused")  # noqa: T201 - for -s
    assert total.wrong == []
    assert total.kept + total.cut + total.refused == 1800
    assert total.kept >= 1300


# -- the bundled model ----------------------------------------------------------------------------


@pytest.fixture
async def tiny_house(
    build: Callable[..., Any], backend: LlamaBackend, tiny_model_path: Path
) -> House:
    """A server with the bundled model."""
    found = read_gguf(tiny_model_path, keep_arrays=0)
    weights = model(
        "tiny",
        weights=tiny_model_path,
        capabilities=("completion", "thinking", "insert"),
        chat_template=found.text("tokenizer.chat_template"),
    )
    return await build(weights, backend=backend, num_thread=1)


async def test_the_bundled_model_fills_gaps(tiny_house: House) -> None:
    """The body of a function it knows, from its head and what follows."""
    right = 0
    known = [found for found in FUNCTIONS if len(found[2]) == 1]
    for name, parameters, (body,), _ in known:
        asked = {
            "model": "tiny",
            "prompt": f"def {name}({parameters}):\n    ",
            "suffix": "\n",
            "options": {"temperature": 0, "num_predict": 60},
            "stream": False,
        }
        (whole,) = (await ask(tiny_house, "POST", "/api/generate", asked)).lines()
        right += whole["response"].strip() == body
    assert right >= 0.8 * len(known), f"{right} of {len(known)}"


@pytest.mark.parametrize("think", THINKS)
async def test_the_bundled_model_keeps_a_schema(tiny_house: House, think: bool | None) -> None:
    """After its thoughts, and with what it was asked about in it."""
    schema = {
        "type": "object",
        "properties": {
            "capital": {"type": "string", "pattern": "^[A-Z][a-z]+$", "maxLength": 12},
            "sure": {"type": "boolean"},
        },
        "required": ["capital", "sure"],
        "additionalProperties": False,
    }
    asked = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "format": schema,
        "think": think,
        "options": {"temperature": 0, "num_predict": 400},
    }
    *pieces, last = (await ask(tiny_house, "POST", "/api/chat", asked)).lines()
    content = "".join(piece["message"]["content"] for piece in pieces)
    thought = "".join(piece["message"].get("thinking", "") for piece in pieces)

    assert last["done_reason"] == "stop"
    jsonschema.validate(json.loads(content), schema)
    assert bool(thought) == (think is not False)
