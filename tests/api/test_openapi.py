"""The API describes itself, and no request, fitting or not, breaks the server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import jsonschema
import pytest
import trio

from tests.support.house import House, ask
from trillama import __version__
from trillama.engine.fake import fixed
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


def fuzz(url: str, document: Any, examples: int) -> dict[int, int]:
    """How many answers of each status; every other body is for a model that is there."""
    import schemathesis

    schema = schemathesis.openapi.from_dict(document)
    statuses: dict[int, int] = {}
    for number, case in enumerate(cases(schema, examples)):
        if isinstance(case.body, dict) and number % 2:
            case.body["model"] = "m"
        response = case.call(base_url=url, timeout=20)
        assert response.status_code < 500, (case.as_curl_command(), response.text)
        statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
    return statuses


@pytest.mark.parametrize(
    "examples", [pytest.param(2, id="short"), pytest.param(40, id="long", marks=pytest.mark.slow)]
)
@pytest.mark.filterwarnings("default")  # of schemathesis and what it imports
async def test_no_request_breaks_the_server(build: Callable[..., Any], examples: int) -> None:
    """No answer is a 500, whatever schemathesis makes of the description; nothing stays behind."""
    house = await build(script=fixed("ok"))
    document = await described(house)
    statuses = await trio.to_thread.run_sync(fuzz, house.url, document, examples)

    assert statuses[200] > 0
    assert statuses[400] > 0
    await house.until(house.at_rest)
