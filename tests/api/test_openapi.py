"""The API describes itself, and no request, fitting or not, breaks the server."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import jsonschema
import pytest
import trio

from tests.support.dialects import DIALECTS, WHOLE
from tests.support.house import House, ask, model
from trillama import __version__
from trillama.engine.fake import fixed
from trillama.wire.goshape import label, schema_of
from trillama.wire.openapi import STRUCTS, TABLES

ENOUGH = {"/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat", "/api/generate"}


async def described(house: House) -> Any:
    return (await ask(house, "GET", "/openapi.json")).json()


async def test_every_route_is_described(build: Callable[..., Any]) -> None:
    """With its methods, whoever made it; bodies by the structs and tables that read them."""
    house = await build()
    found = await described(house)
    routes = {
        (rule.rule.replace("<path:", "{").replace("<", "{").replace(">", "}"), method.lower())
        for rule in house.server.app.url_map.iter_rules()
        for method in rule.methods
    }

    assert (found["openapi"], found["info"]["version"]) == ("3.1.0", __version__)
    assert routes == {(path, method) for path, item in found["paths"].items() for method in item}
    assert set(found["paths"]) >= ENOUGH
    for path in (set(STRUCTS) | set(TABLES)) & set(found["paths"]):
        assert any("requestBody" in operation for operation in found["paths"][path].values()), path


async def test_bodies_are_described_as_they_are_read(build: Callable[..., Any]) -> None:
    """What is read is valid, what is refused is not."""
    schemas = await described(await build())
    chat = {"$ref": "#/components/schemas/ChatRequest", "components": schemas["components"]}
    native = schemas["paths"]["/api/chat"]["post"]["requestBody"]["content"]["application/json"]
    message = {"role": "user", "content": "x"}

    for good in ({}, {"store": False}, {"modalities": ["text"]}, {"unknown": 1}):
        jsonschema.validate({"model": "m", "messages": [message], **good}, chat)
    for bad in ({"store": True}, {"temperature": "warm"}, {"messages": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"model": "m", "messages": [message], **bad}, chat)
    jsonschema.validate({"model": "m", "messages": [message]}, native["schema"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"messages": [{"role": 5}]}, native["schema"])


def test_every_field_is_described() -> None:
    """But for a label, which may be anything."""
    silent = {
        (path, name)
        for path, table in TABLES.items()
        for name, read in table.items()
        if read is not label and not schema_of(read)
    }
    assert silent == set()


# -- schemathesis ---------------------------------------------------------------------------------


def made(strategy: Any, examples: int) -> list[Any]:
    """So many values of ``strategy``, always the same; none where there can be none."""
    found: list[Any] = []

    @hypothesis.seed(7)
    @hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def take(case: Any) -> None:
        found.append(case)

    with contextlib.suppress(hypothesis.errors.Unsatisfiable):
        take()
    return found


def cases(schema: Any, examples: int) -> Iterator[Any]:
    """Requests that fit the description and requests that do not, so many for each operation."""
    from schemathesis import GenerationMode

    for operation in schema.get_all_operations():
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            yield from made(operation.ok().as_strategy(generation_mode=mode), examples)


MANY = 40
BODIES = dict(DIALECTS.values()) | WHOLE
"""A body that works, by path; the last of those for one path."""


def variants(path: str, body: Any, number: int) -> Iterator[Any]:
    """``body``, and one that works but for one field, which is taken from it."""
    yield body
    if path in BODIES and isinstance(body, dict) and body:
        name = sorted(body)[number % len(body)]
        yield {"model": "ranker" if "rerank" in path else "m", **BODIES[path], name: body[name]}


def fuzz(url: str, document: Any, examples: int) -> dict[str, Counter[int]]:
    """How many answers of each status, by path; each with its variants."""
    import schemathesis

    schema = schemathesis.openapi.from_dict(document)
    statuses: dict[str, Counter[int]] = {}
    for number, case in enumerate(cases(schema, examples)):
        for body in variants(case.path, case.body, number):
            case.body = body
            response = case.call(base_url=url, timeout=20)
            assert response.status_code < 500, (case.as_curl_command(), response.text)
            statuses.setdefault(case.path, Counter())[response.status_code] += 1
    return statuses


@pytest.mark.parametrize(
    "examples", [pytest.param(2, id="short"), pytest.param(MANY, id="long", marks=pytest.mark.slow)]
)
@pytest.mark.filterwarnings("default")  # of schemathesis and what it imports
async def test_no_request_breaks_the_server(build: Callable[..., Any], examples: int) -> None:
    """No answer is a 500, whatever schemathesis makes of the description; nothing stays behind."""
    house = await build(model("m"), model("ranker"), script=fixed("ok"))
    document = await described(house)
    statuses = await trio.to_thread.run_sync(fuzz, house.url, document, examples)

    assert set(statuses) == set(document["paths"])
    assert sum(statuses.values(), Counter())[200] > 0
    assert examples < MANY or all(statuses[path][200] for path in BODIES)
    await house.until(house.at_rest)
