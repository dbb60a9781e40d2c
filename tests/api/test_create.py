"""Create over HTTP: the stream of statuses, the older spellings, and errors where they belong."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.gguf_bytes import small_model
from tests.support.house import ask, connect
from trillama.api import editing
from trillama.base.names import ModelReference
from trillama.base.progress import Progress, Tell
from trillama.models import bundled
from trillama.models.create import Recipe
from trillama.models.store import ModelStore

WEIGHTS = small_model()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    """An empty store, without the bundled model."""
    monkeypatch.setattr(bundled, "bundled_file", lambda: None)
    return ModelStore(tmp_path / "models")


@pytest.fixture
def house(build: Callable[..., Any], store: ModelStore) -> Callable[..., Any]:
    """Starts a server on the store; it asks no other machine."""
    return functools.partial(build, store=store, offline=True)


async def create(there: Any, **fields: Any) -> Any:
    """The answer to a create."""
    return await ask(there, "POST", "/api/create", {"model": "x"} | fields)


async def test_a_stream_of_statuses(house: Callable[..., Any], store: ModelStore) -> None:
    """One line each, ``success`` last; the model answers at once."""
    digest = store.blobs.publish_bytes(WEIGHTS)
    there = await house()
    reply = await create(there, files={"w.gguf": digest}, system="Be kind.")

    assert (reply.status, reply.headers["content-type"]) == (200, "application/x-ndjson")
    statuses = [line["status"] for line in reply.lines()]
    assert statuses[0] == "parsing GGUF"
    assert statuses[-2:] == ["writing manifest", "success"]
    body = {"model": "x", "prompt": "Repeat: ok", "stream": False}
    assert (await ask(there, "POST", "/api/generate", body)).json()["response"] == "ok"


async def test_without_stream_only_the_last(house: Callable[..., Any], store: ModelStore) -> None:
    """One object."""
    digest = store.blobs.publish_bytes(WEIGHTS)
    reply = await create(await house(), files={"w.gguf": digest}, stream=False)
    assert (reply.status, reply.json()) == (200, {"status": "success"})


async def test_older_spellings(house: Callable[..., Any], store: ModelStore) -> None:
    """``name`` for the model, a string for the license, and a Modelfile for the fields."""
    digest = store.blobs.publish_bytes(WEIGHTS)
    text = f"FROM @{digest}\nSYSTEM from the file\nPARAMETER top_k 3\n"
    body = {"name": "old", "modelfile": text, "license": "MIT", "system": "from the field"}
    reply = await ask(await house(), "POST", "/api/create", body)

    assert reply.lines()[-1] == {"status": "success"}
    model = store.find("old")
    assert (model.system, model.parameters) == ("from the field", {"top_k": 3})
    assert store.licenses(model) == ["MIT"]


GOOD: dict[str, Any] = {"files": {"w.gguf": "sha256:" + "a" * 64}}


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({}, 400, "neither 'from' or 'files' was specified"),
        ({"model": ""}, 400, "invalid model name"),
        ({"model": "../x"} | GOOD, 400, "invalid model name"),
        ({"model": "x@sha256:" + "a" * 64} | GOOD, 400, "invalid model name"),
        ({"from": "a b"}, 400, "invalid model name"),
        ({"from": "nope"}, 404, "model 'nope:latest' not found"),
        ({"from": "big:cloud"}, 400,
         "not supported by this version of trillama: models that run elsewhere"),
        ({"files": {"/abs.gguf": "sha256:" + "a" * 64}}, 400, "file path must be relative"),
        ({"files": {"a/../b.gguf": "sha256:" + "a" * 64}}, 400, "file path must be relative"),
        ({"files": {"a.gguf": ""}}, 400, "invalid digest format"),
        ({"files": {"a.gguf": "sha256:../../etc/passwd"}}, 400, "invalid digest format"),
        ({"files": {}}, 400, "unknown type"),
        (GOOD, 400, f'blob "sha256:{"a" * 64}" not found: upload it before the model is created'),
        (GOOD | {"quantize": "q4_K_M"}, 400, "not supported by this version of trillama: quan"),
        (GOOD | {"quantization": "q8_0"}, 400, "not supported by this version of trillama: quan"),
        (GOOD | {"remote_host": "h"}, 400, "not supported by this version of trillama: remote"),
        (GOOD | {"draft_quantize": "q8_0"}, 400, "--draft-quantize requires a DRAFT model"),
        (GOOD | {"template": "{{ .Prompt"}, 400, "template error: "),
        (GOOD | {"info": {"base_name": 1}}, 400, 'info field "base_name" must be a string'),
        (GOOD | {"license": 1}, 400,
         "json: cannot unmarshal number into Go struct field CreateRequest.license of type string"),
        ({"path": "/etc/passwd"}, 400, "a server reads no paths"),
        ({"modelfile": "FROM /etc/passwd"}, 400, "'/etc/passwd' in a modelfile is a path"),
        ({"modelfile": "FROM x\nBAD y"}, 400, '(line 2): command must be one of "from", '),
        ({"modelfile": "FROM x\nPARAMETER foo 1"}, 400, "unknown parameter 'foo'"),
    ],
)  # fmt: skip
async def test_mistakes(
    house: Callable[..., Any], fields: dict[str, Any], status: int, error: str
) -> None:
    """What is wrong before the first line has a status of its own."""
    for stream in (True, False):
        reply = await create(await house(), stream=stream, **fields)
        assert reply.status == status
        assert reply.json()["error"].startswith(error)


async def test_later_mistakes_are_a_line(house: Callable[..., Any], store: ModelStore) -> None:
    """After the first line, the error ends the stream; without a stream it has its status."""
    files = {"w.gguf": store.blobs.publish_bytes(b"no GGUF at all")}
    there = await house()
    streamed = await create(there, files=files)
    whole = await create(there, files=files, stream=False)

    assert streamed.lines()[-1] == {"error": "supplied file was not in GGUF format"}
    assert whole.status == 400
    assert store.installed() == []


async def test_a_base_that_is_missing_is_pulled(
    build: Callable[..., Any], store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is a way to pull, a create brings its base itself; its statuses come first."""
    pulled: list[str] = []

    async def pull(reference: ModelReference, tell: Tell) -> None:
        pulled.append(reference.short)
        tell(Progress("pulling manifest"))
        store.import_gguf(weights, reference.name)

    weights = store.root.parent / "w.gguf"
    weights.write_bytes(WEIGHTS)
    real = editing.routes
    monkeypatch.setattr(editing, "routes", lambda desk, store, _: real(desk, store, pull))
    reply = await create(await build(store=store), **{"from": "far/base:1"})

    assert pulled == ["far/base:1"]
    assert reply.lines()[0] == {"status": "pulling manifest"}
    assert reply.lines()[-1] == {"status": "success"}


async def test_a_hang_up_calls_it_off(
    house: Callable[..., Any], store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that leaves in the middle leaves no model behind, and nothing held."""
    there = await house()
    told, gone, over = trio.Event(), trio.Event(), trio.Event()

    def slow(store: ModelStore, recipe: Recipe, tell: Tell) -> None:
        try:
            with store.holds.hold():
                tell(Progress("parsing GGUF"))
                trio.from_thread.run_sync(told.set)
                trio.from_thread.run(gone.wait)
                tell(Progress("writing manifest"))
                store.publish(recipe.name, b"{}")
        finally:
            trio.from_thread.run_sync(over.set, trio_token=token)

    token = trio.lowlevel.current_trio_token()
    monkeypatch.setattr(editing, "create", slow)
    wire = await connect(there)
    await wire.send("POST", "/api/create", json.dumps({"model": "x", **GOOD}).encode())
    await told.wait()
    wire.hang_up()
    with trio.fail_after(10):
        await over.wait()
    assert store.installed() == []
    assert repr(store.holds) == "<Holds 0 blobs>"
