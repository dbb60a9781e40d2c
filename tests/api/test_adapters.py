"""Requests with LoRA adapters: a model's own, another's by name, none at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.house import House, ask, model
from tests.support.lora import make_lora
from tests.support.tiny_random import TinyShape, make_tiny
from trillama.engine.fake import babble_for

GENERATE = {"prompt": "x", "raw": True, "stream": False}
CHAT = {"messages": [{"role": "user", "content": "x"}], "stream": False}
PATHS: dict[str, dict[str, Any]] = {
    "/api/generate": GENERATE,
    "/api/chat": CHAT,
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"prompt": "x"},
    "/v1/responses": {"input": "x"},
    "/v1/messages": {"messages": CHAT["messages"], "max_tokens": 60},
}


@pytest.fixture
async def house(tmp_path: Path, build: Callable[..., Any]) -> House:
    """A base, two models that add an adapter to it, one whose adapter is for something else."""
    weights = make_tiny(tmp_path / "base.gguf")
    other = make_tiny(tmp_path / "other.gguf", TinyShape(width=32))
    paths = {name: tmp_path / f"{name}.gguf" for name in ("b", "c")}
    for seed, path in enumerate(paths.values()):
        make_lora(path, weights, seed=seed)
    stranger = make_lora(tmp_path / "stranger.gguf", other)
    house: House = await build(
        model("m", weights=weights),
        *(model(name, weights=weights, adapters=(path,)) for name, path in paths.items()),
        model("bad", weights=weights, adapters=(stranger,)),
        script=babble_for(50),
    )
    return house


async def said(house: House, name: str, **fields: Any) -> str:
    reply = await ask(house, "POST", "/api/chat", {"model": name} | CHAT | fields)
    assert reply.status == 200, reply.body
    text: str = reply.json()["message"]["content"]
    return text


async def test_a_request_says_what_it_is_computed_with(house: House) -> None:
    """A name does what the model of that name does; scales change it; an empty list is the base."""
    base, own = await said(house, "m"), await said(house, "b")
    assert len({base, own, await said(house, "c")}) == 3
    assert await said(house, "m", adapter="b") == own
    assert await said(house, "c", adapter={"name": "b", "scale": 1}) == own
    assert await said(house, "b", adapter=["b"]) == own
    assert await said(house, "b", adapter=[]) == await said(house, "m", adapter=None) == base
    assert await said(house, "m", adapter={"name": "b", "scale": 0}) == base
    others = [
        await said(house, "m", adapter=adapter)
        for adapter in ({"name": "b", "scale": 0.5}, ["b", "c"])
    ]
    assert len({base, own, *others}) == 4
    assert await said(house, "m", adapter=["c", "b"]) == others[1]


async def test_models_over_the_same_weights_share_a_runner(house: House) -> None:
    """However many adapters there are, the weights are loaded once and each adapter once."""
    for name in ("m", "b", "c", "b"):
        await said(house, name)
    (loaded,) = house.backend.models
    assert len(loaded.adapters) == 2
    listed = (await ask(house, "GET", "/api/ps")).json()["models"]
    assert [one["name"] for one in listed] == ["m:latest"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_dialect_has_the_field(house: House, path: str) -> None:
    """The adapter is loaded for it; one that nobody has is a 404, one without weights a 400."""
    body = {"model": "m"} | PATHS[path]
    assert (await ask(house, "POST", path, body | {"adapter": "b"})).status == 200
    assert [Path(one).name for one in house.backend.models[0].adapters] == ["b.gguf"]
    for adapter, status in (("none", 404), ("m", 400), ("bad", 400), (5, 400)):
        reply = await ask(house, "POST", path, body | {"adapter": adapter})
        assert (adapter, reply.status) == (adapter, status)
        assert b"adapter" in reply.body


async def test_a_model_whose_own_adapter_does_not_fit_cannot_be_used(house: House) -> None:
    """A 500 that says why, before anything is loaded; without its adapter it answers."""
    reply = await ask(house, "POST", "/api/chat", {"model": "bad"} | CHAT)
    assert reply.status == 500
    assert "bad:latest: the adapter does not fit the model" in reply.json()["error"]
    assert house.backend.models == []
    assert await said(house, "bad", adapter=[]) == await said(house, "m")


async def test_loading_brings_the_adapters(house: House) -> None:
    """So that the first answer does not wait for them."""
    await ask(house, "POST", "/api/generate", {"model": "b"})
    assert len(house.backend.models[0].adapters) == 1


async def test_an_adapter_that_cannot_be_read_is_trouble_of_its_request(house: House) -> None:
    """A 500; the model stays for others, and the lease is given back."""

    def fail(path: str) -> None:
        raise OSError("broken disk")

    house.hooks.on_adapter = fail
    assert (await ask(house, "POST", "/api/chat", {"model": "b"} | CHAT)).status == 500
    assert await said(house, "m")
    await house.until(house.at_rest)


async def test_vectors_keep_sets_apart(house: House) -> None:
    """A context for each set of adapters, on the same weights."""
    for fields in ({"model": "m"}, {"model": "b"}, {"model": "m", "adapter": "b"}):
        reply = await ask(house, "POST", "/api/embed", {"input": "x"} | fields)
        assert reply.status == 200, reply.body
    (loaded,) = house.backend.models
    assert len(loaded.embeddings) == 2
