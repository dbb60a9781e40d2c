"""Values at the edge of what JSON can say, in every field: an answer or a refusal, never a 500."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.dialects import DIALECTS, WHOLE
from tests.support.gguf_bytes import small_model
from tests.support.house import CHATML, ask, connect, model
from tests.support.rich import RICH, places, replaced
from trillama.base.options import Options
from trillama.engine.fake import fixed
from trillama.models import bundled
from trillama.models.store import ModelStore
from trillama.wire.openapi import STRUCTS, TABLES

ODD: tuple[str, ...] = (
    "1" + "0" * 400, "-1e308", "1e400", "-9223372036854775809", r'"\ud800"', r'"\u0000"', '""',
    "[]", "[[]]", "[null]", "{}", '{"": null}', "true",
)  # fmt: skip
BODIES = {path: {"model": "m", **body} for path, body in (*DIALECTS.values(), *WHOLE.items())}

MARK = "\N{OBJECT REPLACEMENT CHARACTER}"
ABLE = model(
    "m",
    capabilities=("completion", "thinking", "tools"),
    chat_template=CHATML + "{# tools <tool_call> #}",
)


def fields(path: str) -> Iterator[str]:
    """The members of a body."""
    if path in TABLES:
        yield from TABLES[path]
    else:
        yield from STRUCTS[path].kind.__struct_encode_fields__


def bodies(path: str, works: dict[str, Any]) -> Iterator[bytes]:
    """Bodies that work but for one member, which is odd."""
    for name in fields(path):
        rest = {key: value for key, value in works.items() if key != name}
        for odd in ODD:
            yield f"{json.dumps(rest)[:-1]}, {json.dumps(name)}: {odd}}}".encode()


@pytest.mark.parametrize("path", BODIES)
async def test_no_odd_value_breaks_a_request(build: Callable[..., Any], path: str) -> None:
    """In every field of every body, one at a time, on one connection."""
    house = await build(model("m"), model("ranker"), script=fixed("ok"))
    wire = await connect(house)
    broken = []
    with capture_logs():
        for body in bodies(path, BODIES[path]):
            await wire.send("POST", path, body)
            reply = await wire.reply()
            if reply.status >= 500 or b"internal server error" in reply.body:
                broken.append((body[-80:], reply.body[:200]))

    assert broken == []
    await house.until(house.at_rest)


LIBRARY: dict[str, tuple[str, dict[str, Any]]] = {
    "/api/show": ("POST", {"model": "x"}),
    "/api/copy": ("POST", {"source": "x", "destination": "y"}),
    "/api/create": ("POST", {"model": "y", "from": "x", "stream": False}),
    "/api/pull": ("POST", {"model": "z", "stream": False}),
    "/api/push": ("POST", {"model": "x", "stream": False}),
    "/api/delete": ("DELETE", {"model": "y"}),
}


@pytest.mark.parametrize("path", LIBRARY)
async def test_no_odd_value_breaks_the_library(
    build: Callable[..., Any], path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with the routes that change the store, and the model is still there."""
    monkeypatch.setattr(bundled, "bundled_file", lambda: None)
    store = ModelStore(tmp_path / "models")
    house = await build(store=store, offline=True)
    weights = {"w.gguf": store.blobs.publish_bytes(small_model())}
    await ask(house, "POST", "/api/create", {"model": "x", "files": weights})
    method, works = LIBRARY[path]
    broken = []
    with capture_logs():
        for body in bodies(path, works):
            reply = await ask(house, method, path, body)
            if b"internal server error" in reply.body:
                broken.append((body[-80:], reply.body[:200]))

    assert broken == []
    assert store.find("x").weights


@pytest.mark.parametrize("odd", ODD)
async def test_no_odd_option_breaks_a_request(build: Callable[..., Any], odd: str) -> None:
    """In every option."""
    house = await build(script=fixed("ok"))
    broken = []
    with capture_logs():
        for name in Options.__struct_fields__:
            body = f'{{"model": "m", "prompt": "x", "options": {{"{name}": {odd}}}}}'.encode()
            reply = await ask(house, "POST", "/api/generate", body)
            if reply.status >= 500 or b"internal server error" in reply.body:
                broken.append((name, reply.body[:200]))

    assert broken == []
    await house.until(house.at_rest)


@pytest.mark.slow
@pytest.mark.parametrize("path", RICH)
async def test_no_odd_value_breaks_what_is_nested(build: Callable[..., Any], path: str) -> None:
    """In every part of a body that uses much, one at a time."""
    house = await build(ABLE, model("ranker"), script=fixed("ok"))
    wire = await connect(house)
    name = "ranker" if "rerank" in path else "m"
    whole = {"model": name, **RICH[path]}
    broken = []
    await wire.send("POST", path, json.dumps(whole).encode())
    assert (await wire.reply()).status == 200
    with capture_logs():
        for at in places(whole):
            for odd in ODD:
                body = json.dumps(replaced(whole, at, MARK)).replace(json.dumps(MARK), odd)
                await wire.send("POST", path, body.encode())
                reply = await wire.reply()
                if reply.status >= 500 or b"internal server error" in reply.body:
                    broken.append((at, odd[:30], reply.body[:200]))

    assert broken == []
    await house.until(house.at_rest)
