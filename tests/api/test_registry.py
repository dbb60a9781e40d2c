"""Pull and push over HTTP, with a real registry and with Ollama's own client."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest

from tests.api.test_official_client import call
from tests.support import docker_registry
from tests.support.docker_registry import DockerRegistry
from tests.support.house import ask, connect
from tests.support.stores import manifest_path, put
from trillama.models import bundled
from trillama.models.manifest import MODEL, SYSTEM, Config
from trillama.models.registry import upload
from trillama.models.store import ModelStore

WEIGHTS = os.urandom(3_000_000)
real = pytest.mark.skipif(bool(docker_registry.missing()), reason=docker_registry.missing())


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """A registry of the real kind, on loopback."""
    one = DockerRegistry(tmp_path_factory.mktemp("registry"))
    yield one
    one.close()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    """An empty store, without the bundled model."""
    monkeypatch.setattr(bundled, "bundled_file", lambda: None)
    return ModelStore(tmp_path / "models")


@pytest.fixture
def start(build: Callable[..., Any], store: ModelStore, tmp_path: Path) -> Callable[..., Any]:
    """Starts a server on the store."""

    async def begin(**settings: Any) -> Any:
        return await build(store=store, identity=str(tmp_path / "id_ed25519"), **settings)

    return begin


def publish(store: ModelStore, name: str, weights: bytes = WEIGHTS) -> bytes:
    """Put a model into the store; returns its manifest."""
    put(store, name, (MODEL, weights), (SYSTEM, b"Be brief."), config=Config(model_format="gguf"))
    return manifest_path(store, name).read_bytes()


@real
async def test_push_delete_pull_is_the_identity(
    start: Callable[..., Any], store: ModelStore, registry: DockerRegistry
) -> None:
    """What comes back has the digests of what went, byte for byte; statuses are Ollama's."""
    name = f"{registry.host}/a/roundtrip"
    data = publish(store, name)
    blobs = {path.name: path.read_bytes() for path in (store.root / "blobs").iterdir()}
    house = await start()
    pushed = (await ask(house, "POST", "/api/push", {"model": name, "insecure": True})).lines()
    gone = await ask(house, "DELETE", "/api/delete", {"model": name})
    assert gone.status == 200
    assert list((store.root / "blobs").iterdir()) == []
    pulled = (await ask(house, "POST", "/api/pull", {"model": name, "insecure": True})).lines()

    told = [line.get("status", line) for line in pushed]
    assert told[0] == "retrieving manifest"
    assert told[-2:] == ["pushing manifest", "success"]
    assert all(line["total"] for line in pushed if "digest" in line)
    assert pulled[0] == {"status": "pulling manifest"}
    assert pulled[-1] == {"status": "success"}
    assert manifest_path(store, name).read_bytes() == data
    assert {path.name: path.read_bytes() for path in (store.root / "blobs").iterdir()} == blobs


@real
async def test_a_second_push_sends_nothing(
    start: Callable[..., Any], store: ModelStore, registry: DockerRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Blobs the registry has are not sent again; each is one complete line."""
    name = f"{registry.host}/a/again"
    publish(store, name)
    house = await start()
    body = {"model": name, "insecure": True}
    await ask(house, "POST", "/api/push", body)
    monkeypatch.setattr(upload, "Slice", None)  # no byte can be read for sending now
    again = (await ask(house, "POST", "/api/push", body)).lines()

    assert again[-1] == {"status": "success"}
    last = {line["digest"]: line for line in again if "digest" in line}
    assert {line.get("completed") == line["total"] for line in last.values()} == {True}


@real
async def test_a_layer_of_a_sibling_is_mounted(
    start: Callable[..., Any], store: ModelStore, registry: DockerRegistry
) -> None:
    """A blob of another repository of the registry is not sent either, where ``from`` names it."""
    from trillama.models.manifest import Layer, Manifest, manifest_bytes, parse_manifest

    base, derived = f"{registry.host}/a/base", f"{registry.host}/a/derived"
    manifest = parse_manifest(publish(store, base))
    layers = tuple(
        Layer(one.media_type, one.digest, one.size, source=base) for one in manifest.layers or ()
    )
    path = manifest_path(store, derived)
    path.parent.mkdir(parents=True)
    path.write_bytes(manifest_bytes(Manifest(config=manifest.config, layers=layers)))
    house = await start()
    for name in (base, derived):
        reply = await ask(house, "POST", "/api/push", {"model": name, "insecure": True})
        assert reply.lines()[-1] == {"status": "success"}

    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert registry.ask("HEAD", f"/v2/a/derived/blobs/sha256:{digest}")[0] == 200


@real
async def test_many_chunks(
    start: Callable[..., Any], store: ModelStore, registry: DockerRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A blob larger than a chunk is whole in the registry."""
    monkeypatch.setattr(upload, "CHUNK", 700_000)
    name = f"{registry.host}/a/chunks"
    weights = os.urandom(3_100_000)
    publish(store, name, weights)
    house = await start()
    reply = await ask(house, "POST", "/api/push", {"model": name, "insecure": True})

    assert reply.lines()[-1] == {"status": "success"}
    _, body = registry.ask(
        "GET", f"/v2/a/chunks/blobs/sha256:{hashlib.sha256(weights).hexdigest()}"
    )
    assert body == weights


@real
@pytest.mark.parametrize("stream", [False, True])
async def test_ollamas_client_pulls_and_pushes(
    start: Callable[..., Any], store: ModelStore, registry: DockerRegistry, stream: bool
) -> None:
    """The official client gets what its types expect, streamed or not."""
    name = f"{registry.host}/a/client{stream}".lower()
    publish(store, name)
    house = await start()
    pushed = await call(house, "push", name, insecure=True, stream=stream)
    await call(house, "delete", name)
    pulled = await call(house, "pull", name, insecure=True, stream=stream)

    if not stream:
        assert (pushed.status, pulled.status) == ("success", "success")
        return
    for found in (pushed, pulled):
        assert found[-1].status == "success"
        assert any(line.total and line.completed == line.total for line in found)
    assert store.find(name)


@real
@pytest.mark.parametrize("stream", [False, True])
async def test_an_unknown_model(
    start: Callable[..., Any], registry: DockerRegistry, stream: bool
) -> None:
    """Ollama's text: the last line of a stream, or a 500."""
    house = await start()
    body = {"model": f"{registry.host}/a/absent", "insecure": True, "stream": stream}
    reply = await ask(house, "POST", "/api/pull", body)

    error = {"error": "pull model manifest: file does not exist"}
    if stream:
        assert (reply.status, reply.lines()) == (200, [{"status": "pulling manifest"}, error])
    else:
        assert (reply.status, reply.json()) == (500, error)
    with pytest.raises(ollama.ResponseError, match="file does not exist"):
        await call(house, "pull", body["model"], insecure=True, stream=stream)


async def test_a_push_of_what_is_not_there(start: Callable[..., Any]) -> None:
    """Two lines, then what is missing."""
    house = await start()
    reply = await ask(house, "POST", "/api/push", {"model": "a/absent"})

    assert reply.lines() == [
        {"status": "retrieving manifest"},
        {"status": "couldn't retrieve manifest"},
        {"error": "model 'a/absent:latest' not found"},
    ]


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/api/pull", b"", 400, "missing request body"),
        ("/api/pull", {}, 400, "invalid model name"),
        ("/api/push", {}, 400, "model is required"),
        ("/api/pull", {"model": "a b"}, 400, "invalid model name"),
        ("/api/pull", {"model": "../../etc/passwd"}, 400, "invalid model name"),
        ("/api/pull", {"model": "a:cloud:local"}, 400, "use either :local or :cloud"),
        ("/api/pull", {"model": "x:cloud"}, 403, "cloud is disabled"),
        ("/api/pull", {"model": 1}, 400, "PullRequest.model of type string"),
        ("/api/push", {"insecure": "yes"}, 400, "PushRequest.insecure of type bool"),
        ("/api/pull", {"model": "http://127.0.0.1:1/a/b"}, 400, "insecure protocol http"),
    ],
)
async def test_bad_requests(
    start: Callable[..., Any], path: str, body: Any, status: int, text: str
) -> None:
    """Refused before anything is begun, in Ollama's words."""
    house = await start()
    reply = await ask(house, "POST", path, body)
    assert (reply.status, text in reply.json()["error"]) == (status, True)


async def test_offline(start: Callable[..., Any]) -> None:
    """The setting is a 403, not a network error."""
    house = await start(offline=True)
    for path in ("/api/pull", "/api/push"):
        reply = await ask(house, "POST", path, {"model": "x", "stream": False})
        assert (reply.status, "OFFLINE" in reply.json()["error"]) == (403, True)


@real
async def test_a_hang_up_ends_a_pull(
    start: Callable[..., Any], store: ModelStore, registry: DockerRegistry
) -> None:
    """Who hangs up leaves a download behind that the next pull goes on with, and nothing else."""
    name = f"{registry.host}/a/hangup"
    weights = os.urandom(5_000_000)
    publish(store, name, weights)
    house = await start(max_download_rate=1_000_000)
    await ask(house, "POST", "/api/push", {"model": name, "insecure": True})
    await ask(house, "DELETE", "/api/delete", {"model": name})
    wire = await connect(house)
    await wire.send("POST", "/api/pull", b'{"model":"%s","insecure":true}' % name.encode())
    await wire.until(b'"completed"')
    wire.hang_up()
    transfers = house.server.transfers
    await house.until(lambda: "0 running" in repr(transfers))

    assert not manifest_path(store, name).exists()
    digest = hashlib.sha256(weights).hexdigest()
    assert not (store.root / "blobs" / f"sha256-{digest}").exists()
