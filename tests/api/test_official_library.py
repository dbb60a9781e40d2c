"""Ollama's own Python client keeps a library: create, show, copy, list, ps, delete, uploads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ollama
import pytest

from tests.api.test_official_client import call
from tests.support.gguf_bytes import small_model
from trillama.models import bundled
from trillama.models.store import ModelStore


@pytest.fixture
def house(
    build: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Starts a server on an empty store."""
    monkeypatch.setattr(bundled, "bundled_file", lambda: None)
    return functools.partial(build, store=ModelStore(tmp_path / "models"), offline=True)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A GGUF file of the client's."""
    path = tmp_path / "w.gguf"
    path.write_bytes(small_model())
    return path


@pytest.mark.parametrize("stream", [False, True])
async def test_a_library_is_kept(house: Callable[..., Any], weights: Path, stream: bool) -> None:
    """Upload, create from it, create from that, look, copy, answer, delete."""
    there = await house()
    digest = await call(there, "create_blob", weights)
    again = await call(there, "create_blob", weights)
    assert digest == again

    made = await call(
        there, "create", model="mine/a:q8", files={"w.gguf": digest}, system="Be.", stream=stream,
        parameters={"stop": ["x"], "top_k": 3}, license=["MIT"], template="{{ .Prompt }}",
        messages=[{"role": "user", "content": "hi"}],
    )  # fmt: skip
    last = made[-1] if stream else made
    assert last.status == "success"
    derived = await call(there, "create", model="b", from_="mine/a:q8", system="New", stream=stream)
    assert (derived[-1] if stream else derived).status == "success"

    shown = await call(there, "show", "b")
    assert (shown.details.family, shown.details.parent_model) == ("llama", "mine/a:q8")
    assert shown.capabilities == ["completion"]
    assert shown.modelinfo["llama.context_length"] == 4096
    assert "SYSTEM New" in shown.modelfile
    assert shown.parameters.split() == ["stop", '"x"', "top_k", "3"]
    assert (shown.license, shown.template[:2]) == ("MIT", "{{")
    assert shown.modified_at.tzinfo is not None

    assert (await call(there, "copy", "b", "c")).status == "success"
    assert {one.model for one in (await call(there, "list")).models} == {
        "mine/a:q8", "b:latest", "c:latest",
    }  # fmt: skip
    reply = await call(there, "generate", model="c", prompt='Repeat: "ok"')
    assert reply.response == "ok"
    (loaded,) = (await call(there, "ps")).models
    assert loaded.model == "c:latest"
    for name in ("mine/a:q8", "b", "c"):
        assert (await call(there, "delete", name)).status == "success"
    assert list((await call(there, "list")).models) == []


@pytest.mark.parametrize(
    ("method", "args", "status", "text"),
    [
        ("show", ["nope"], 404, "model 'nope:latest' not found"),
        ("copy", ["nope", "x"], 404, 'model "nope" not found'),
        ("delete", ["nope"], 404, "model 'nope' not found"),
        ("create", ["x"], 400, "neither 'from' or 'files' was specified"),
    ],
)
async def test_errors(
    house: Callable[..., Any], method: str, args: list[str], status: int, text: str
) -> None:
    """The client raises what the server says, with its status."""
    with pytest.raises(ollama.ResponseError) as refused:
        await call(await house(), method, *args)
    assert (refused.value.status_code, refused.value.error) == (status, text)
