"""A real server with models that add adapters to the bundled one."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.lora import make_lora
from tests.support.served import Process
from tests.support.tiny_random import make_tiny

ASKED = [("tiny", {}), ("b", {}), ("c", {}), ("tiny", {"adapter": {"name": "b", "scale": 1.5}})]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> Iterator[Process]:
    """A server with the models b and c, each with an adapter of its own."""
    folder = tmp_path_factory.mktemp("adapters")
    process = Process(folder / "models")
    for seed, name in enumerate(("b", "c")):
        path = make_lora(folder / f"{name}.gguf", tiny_model_path, seed=seed, size=2.0)
        assert create(process, name, path)[-1] == {"status": "success"}
    yield process
    process.close()


def create(server: Process, name: str, path: Path) -> list[Any]:
    data = path.read_bytes()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", f"/api/blobs/{digest}", data)
    assert connection.getresponse().status == 201
    connection.close()
    adapters = {f"{name}.gguf": digest}
    return server.ask("POST", "/api/create", model=name, **{"from": "tiny"}, adapters=adapters)


def answer(server: Process, asked: tuple[str, dict[str, Any]]) -> str:
    name, fields = asked
    (found,) = server.ask(
        "POST", "/api/generate", model=name, prompt="Tell me about the sea.", stream=False,
        think=False, options={"temperature": 0, "num_predict": 24}, **fields,
    )  # fmt: skip
    text: str = found["response"]
    return text


def test_each_is_computed_with_its_own(server: Process) -> None:
    """Four sets over one file of weights: all at once they say what each says alone."""
    alone = [answer(server, asked) for asked in ASKED]
    assert len(set(alone)) == len(ASKED)
    with ThreadPoolExecutor(len(ASKED)) as pool:
        assert list(pool.map(lambda asked: answer(server, asked), ASKED)) == alone
    assert answer(server, ("b", {"adapter": []})) == alone[0]
    assert len(server.ask("GET", "/api/ps")[0]["models"]) == 1


def test_adapters_count_as_memory(server: Process, tiny_model_path: Path, tmp_path: Path) -> None:
    """Of the model they were loaded beside, whichever request brought them."""
    answer(server, ASKED[0])
    before = server.ask("GET", "/api/ps")[0]["models"][0]["size"]
    path = make_lora(tmp_path / "d.gguf", tiny_model_path, seed=7, size=1.0)
    create(server, "d", path)
    answer(server, ("d", {}))
    (listed,) = server.ask("GET", "/api/ps")[0]["models"]
    # Shared out among the layers in whole bytes.
    assert path.stat().st_size - 100 < listed["size"] - before <= path.stat().st_size


def test_vectors_differ_too(server: Process) -> None:
    """A model's adapter changes what a text is turned into."""
    rows = [
        server.ask("POST", "/api/embed", model=name, input="the sea")[0]["embeddings"][0]
        for name in ("tiny", "b")
    ]
    assert max(abs(one - other) for one, other in zip(*rows, strict=True)) > 0.01


def test_an_adapter_for_another_model_is_refused(server: Process, tmp_path: Path) -> None:
    """When a model is made with it, with the reason."""
    other = make_tiny(tmp_path / "other.gguf")
    *_, reply = create(server, "bad", make_lora(tmp_path / "bad.gguf", other))
    assert "the adapter does not fit the model: it is for 'llama'" in reply["error"]


def test_show_names_the_adapter(server: Process) -> None:
    """The Modelfile has a line for it."""
    (shown,) = server.ask("POST", "/api/show", model="b")
    assert "\nADAPTER " in shown["modelfile"]
