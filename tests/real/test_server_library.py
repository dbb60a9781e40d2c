"""A library kept over HTTP, and one written by hand, on a real server with real weights."""

from __future__ import annotations

import hashlib
import http.client
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.served import Process, said
from trillama.models.ggml_types import ELEMENT_TYPES
from trillama.models.gguf import read_gguf

IMAGE = "application/vnd.ollama.image."
QUESTION = "Repeat: QX-7731"


def write_blob(models: Path, data: bytes) -> dict[str, Any]:
    """A blob, written as Ollama lays it down; digest and size."""
    digest = hashlib.sha256(data).hexdigest()
    folder = models / "blobs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"sha256-{digest}").write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def write_by_hand(models: Path, weights: bytes) -> bytes:
    """A model of every kind of layer, none of it written by our own code; its manifest."""
    config = {
        "model_format": "gguf", "model_family": "llama", "model_families": ["llama"],
        "model_type": "4M", "file_type": "unknown", "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": []},
    }  # fmt: skip
    layers = {
        "model": weights,
        "template": b"{{ .Prompt }}",
        "system": b"You are a parrot.",
        "params": b'{"num_predict":5,"temperature":0}\n',
        "license": b"MIT",
        "messages": b'[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"}]\n',
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            **write_blob(models, json.dumps(config).encode()),
        },
        "layers": [
            {"mediaType": IMAGE + kind, **write_blob(models, data)} for kind, data in layers.items()
        ],
    }
    path = models / "manifests" / "registry.ollama.ai" / "someone" / "Parrot" / "v1"
    path.parent.mkdir(parents=True)
    path.write_bytes(data := json.dumps(manifest, indent=1).encode())
    return data


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Bytes of the hand-written manifest, once the server's store holds it."""
    return {}


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path, manifest: dict[str, bytes]
) -> Iterator[Process]:
    """One server on a store that was written by hand."""
    models = tmp_path_factory.mktemp("library") / "models"
    manifest["bytes"] = write_by_hand(models, tiny_model_path.read_bytes())
    running = Process(models)
    yield running
    running.close()


def post(server: Process, path: str, data: bytes) -> int:
    """Upload; the status."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("POST", path, data)
        return connection.getresponse().status
    finally:
        connection.close()


def upload(server: Process, data: bytes) -> str:
    """Upload; the digest."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert post(server, f"/api/blobs/{digest}", data) == 201
    return digest


def answer(server: Process, model: str) -> str:
    """What a model says to QUESTION, greedy."""
    lines = server.ask(
        "POST", "/api/chat", model=model, think=False, options={"temperature": 0},
        messages=[{"role": "user", "content": QUESTION}],
    )  # fmt: skip
    return said(lines)[1]


def test_a_store_written_by_hand(server: Process, manifest: dict[str, bytes]) -> None:
    """It is listed, shown and run, and its manifest stays as it is, byte for byte."""
    (listed,) = server.ask("GET", "/api/tags")
    entry = next(one for one in listed["models"] if one["name"] == "someone/Parrot:v1")
    assert entry["digest"] == hashlib.sha256(manifest["bytes"]).hexdigest()
    (shown,) = server.ask("POST", "/api/show", model="SOMEONE/parrot:V1")
    assert (shown["system"], shown["license"]) == ("You are a parrot.", "MIT")
    assert shown["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ho"},
    ]
    assert shown["details"]["quantization_level"] not in ("", "unknown")

    messages = [{"role": "user", "content": "Tell me a long story."}]
    lines = server.ask("POST", "/api/chat", model="someone/parrot:v1", messages=messages)
    assert (lines[-1]["done_reason"], lines[-1]["eval_count"]) == ("length", 5)

    server.ask("POST", "/api/copy", source="someone/parrot:v1", destination="copy")
    copied = server.store / "manifests" / "registry.ollama.ai" / "library" / "copy" / "latest"
    assert copied.read_bytes() == manifest["bytes"]


def shards(path: Path) -> dict[str, bytes]:
    """A GGUF file in two halves, as llama.cpp splits one."""
    header, data = read_gguf(path), path.read_bytes()
    numbers = {kind.name: number for number, kind in ELEMENT_TYPES.items()}
    middle = len(header.tensors) // 2
    found = {}
    for number, part in enumerate((header.tensors[:middle], header.tensors[middle:])):
        split = {"split.no": number, "split.count": 2, "split.tensors.count": len(header.tensors)}
        keys = [_key(name, value) for name, value in split.items()]
        keys += [data[slice(*span)] for span in header.spans.values()] if number == 0 else []
        infos, body = b"", b""
        for tensor in part:
            infos += _text(tensor.name) + struct.pack(
                f"<I{len(tensor.shape)}QIQ", len(tensor.shape), *tensor.shape,
                numbers[tensor.type.name], len(body),
            )  # fmt: skip
            start = header.data_offset + tensor.offset
            body += data[start : start + tensor.size]
            body += bytes(-len(body) % 32)
        head = b"GGUF" + struct.pack("<IQQ", 3, len(part), len(keys)) + b"".join(keys) + infos
        found[f"tiny-{number + 1:05}-of-00002.gguf"] = head + bytes(-len(head) % 32) + body
    return found


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _key(name: str, value: int) -> bytes:
    return _text(name) + struct.pack("<IH", 2, value)


def test_shards_run_as_the_whole_does(server: Process, tiny_model_path: Path) -> None:
    """Two halves, uploaded and joined, say what the model says that was never split."""
    files = {name: upload(server, data) for name, data in shards(tiny_model_path).items()}
    *_, last = server.ask("POST", "/api/create", model="halves", files=files)
    assert last == {"status": "success"}
    assert answer(server, "halves") == answer(server, "tiny") != ""


def test_a_model_made_from_another(server: Process) -> None:
    """Parameters of the new model hold, the base stays as it was, and both go when deleted."""
    lines = server.ask(
        "POST", "/api/create", model="short", **{"from": "tiny"}, parameters={"num_predict": 2}
    )
    assert lines[-1] == {"status": "success"}
    ask = {"prompt": "Tell me a long story.", "stream": False}
    (short,) = server.ask("POST", "/api/generate", model="short", **ask)
    assert short["eval_count"] == 2
    assert answer(server, "short") in answer(server, "tiny")
    server.ask("DELETE", "/api/delete", model="short")
    assert answer(server, "tiny")


def test_a_pinned_model(server: Process) -> None:
    """The digest that a list tells can be used as a pin at once."""
    (listed,) = server.ask("GET", "/api/tags")
    digest = next(one["digest"] for one in listed["models"] if one["name"] == "tiny:latest")
    assert answer(server, f"tiny@sha256:{digest}") == answer(server, "tiny")
    (refused,) = server.ask("POST", "/api/generate", model=f"tiny@sha256:{'0' * 64}", prompt="x")
    assert "not found" in refused["error"]
