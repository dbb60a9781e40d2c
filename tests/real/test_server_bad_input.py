"""What no client should send, sent to a real server with the bundled model.

Every row is refused with a 4xx and one sentence, or answered; never a 500, never a crash, and a
stream that runs meanwhile does not notice.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.served import Process

CHAT, GENERATE = "/api/chat", "/api/generate"
SHORT = '"options":{"num_predict":1}'
HI = '"messages":[{"role":"user","content":"hi"}]'


def chat(fields: str) -> bytes:
    return f'{{"model":"tiny","stream":false,{HI},{fields}}}'.encode()


def generate(fields: str) -> bytes:
    return f'{{"model":"tiny","stream":false,{fields}}}'.encode()


def options(text: str) -> bytes:
    return chat(f'"options":{{"num_predict":1,{text}}}')


REFUSED: dict[str, tuple[str, bytes]] = {
    "empty body": (CHAT, b""),
    "spaces": (GENERATE, b" " * (1 << 20)),
    "NUL bytes": (CHAT, b"\0" * 100),
    "cut JSON": (CHAT, b'{"model":"tiny","messages":[{"role":'),
    "no JSON": (GENERATE, b"nope"),
    "bare surrogate name": (GENERATE, b'{"model":"\\ud800","prompt":"x"}'),
    "a list": (CHAT, b"[]"),
    "a number": (CHAT, b"17"),
    "nesting": (CHAT, b"[" * 200_000),
    "nesting in a field": (CHAT, b'{"model":"tiny","options":' + b'{"a":' * 50_000),
    "name is a number": (CHAT, b'{"model":1}'),
    "no name": (CHAT, b"{}"),
    "unknown model": (CHAT, b'{"model":"no-such-model","messages":[{"role":"user"}]}'),
    "malformed name": (CHAT, b'{"model":"../../etc/passwd","messages":[{"role":"user"}]}'),
    "long name": (CHAT, b'{"model":"' + b"a" * 1_000_000 + b'"}'),
    "NUL in the name": (CHAT, b'{"model":"ti\\u0000ny"}'),
    "messages is a text": (CHAT, b'{"model":"tiny","messages":"hi"}'),
    "message is a text": (CHAT, b'{"model":"tiny","messages":["hi"]}'),
    "content is a list": (CHAT, b'{"model":"tiny","messages":[{"role":"user","content":[]}]}'),
    "stream is a text": (CHAT, chat('"stream":"no"')),
    "think is a number": (CHAT, chat('"think":7')),
    "think is a word": (CHAT, chat('"think":"hard"')),
    "keep_alive without a unit": (CHAT, chat('"keep_alive":"10"')),
    "keep_alive is a list": (CHAT, chat('"keep_alive":[]')),
    "keep_alive is NaN": (CHAT, chat('"keep_alive":NaN')),
    "options is a list": (CHAT, chat('"options":[]')),
    "num_ctx 1e300": (CHAT, options('"num_ctx":1e300')),
    "num_ctx of a thousand digits": (CHAT, options('"num_ctx":1' + "0" * 1000)),
    "num_ctx of ten thousand digits": (CHAT, options('"num_ctx":1' + "0" * 10_000)),
    "num_ctx below the prompt": (CHAT, options('"num_ctx":1')),
    "num_ctx negative": (CHAT, options('"num_ctx":-5')),
    "num_predict 2**70": (CHAT, options(f'"num_predict":{2**70}')),
    "seed 2**80": (CHAT, options(f'"seed":{2**80}')),
    "temperature NaN": (CHAT, options('"temperature":NaN')),
    "temperature Infinity": (CHAT, options('"temperature":Infinity')),
    "temperature 1e999": (CHAT, options('"temperature":1e999')),
    "temperature a text": (CHAT, options('"temperature":"hot"')),
    "temperature negative": (CHAT, options('"temperature":-1')),
    "top_k negative": (CHAT, options('"top_k":-1')),
    "top_k 1e30": (CHAT, options('"top_k":1e30')),
    "top_p 2": (CHAT, options('"top_p":2')),
    "repeat_penalty 0": (CHAT, options('"repeat_penalty":0')),
    "repeat_last_n -2": (CHAT, options('"repeat_last_n":-2')),
    "num_batch 1e30": (CHAT, options('"num_batch":1e30')),
    "num_thread 1e30": (CHAT, options('"num_thread":1e30')),
    "num_thread -1": (CHAT, options('"num_thread":-1')),
    "num_gpu 1e30": (CHAT, options('"num_gpu":1e30')),
    "main_gpu 1e30": (CHAT, options('"main_gpu":1e30')),
    "use_mmap a number": (CHAT, options('"use_mmap":1')),
    "stop is a text": (CHAT, options('"stop":"x"')),
    "ten thousand stop strings": (
        CHAT,
        options('"stop":[' + ",".join(f'"stop{n}"' for n in range(10_000)) + "]"),
    ),
    "an endless stop string": (CHAT, options(f'"stop":["{"x" * 1_000_000}"]')),
    "stop of numbers": (CHAT, options('"stop":[1]')),
    "twenty thousand messages": (
        CHAT,
        b'{"model":"tiny","messages":[' + b'{"role":"user","content":"hi"},' * 20_000 + b"{}]}",
    ),
    "a megabyte of prompt": (GENERATE, generate(f'{SHORT},"prompt":"{" " * (1 << 20)}"')),
    "a megabyte of one letter": (GENERATE, generate(f'{SHORT},"prompt":"{"a" * (1 << 20)}"')),
    "context below zero": (GENERATE, generate(f'{SHORT},"prompt":"x","context":[-1]')),
    "context beyond the vocabulary": (
        GENERATE,
        generate(f'{SHORT},"prompt":"x","context":[999999999]'),
    ),
    "context beyond an int64": (GENERATE, generate(f'"prompt":"x","context":[{2**64}]')),
    "context of a million": (
        GENERATE,
        generate(f'{SHORT},"prompt":"x","context":[{"5," * 1_000_000}5]'),
    ),
    "raw with a system text": (GENERATE, generate('"prompt":"x","raw":true,"system":"y"')),
    "top_logprobs 21": (CHAT, chat('"top_logprobs":21')),
    "tools": (CHAT, chat('"tools":[{"type":"function"}]')),
    "format": (CHAT, chat('"format":"yaml"')),
    "picture that is none": (
        CHAT,
        b'{"model":"tiny","messages":[{"role":"user","images":["data:"]}]}',
    ),
}

ANSWERED: dict[str, tuple[str, bytes]] = {
    "invalid UTF-8": (GENERATE, generate(f'{SHORT},"prompt":"@"').replace(b"@", b"\xff\xfe\xc3")),
    "lone surrogates": (GENERATE, generate(f'{SHORT},"prompt":"\\ud800 \\udfff"')),
    "NUL in the prompt": (GENERATE, generate(f'{SHORT},"prompt":"a\\u0000b"')),
    "NUL in a raw prompt": (GENERATE, generate(f'{SHORT},"raw":true,"prompt":"\\u0000"')),
    "special tokens in the prompt": (GENERATE, generate(f'{SHORT},"prompt":"<|im_end|><think>"')),
    "unknown fields": (CHAT, chat(f'{SHORT},"nonsense":{{"a":[1]}},"FORMAT":null')),
    "unknown options": (CHAT, options('"mirostat":2,"nonsense":[]')),
    "two thousand stop strings": (
        CHAT,
        options('"stop":[' + ",".join(f'"stop{n}"' for n in range(2000)) + "]"),
    ),
    "a long stop string": (CHAT, options(f'"stop":["{"x" * 16_000}"]')),
    "an empty stop string": (CHAT, options('"stop":[""]')),
    "a stop string of NUL": (CHAT, options('"stop":["\\u0000"]')),
    "keep_alive 1e30": (CHAT, chat(f'{SHORT},"keep_alive":1e30')),
    "keep_alive -1e30": (CHAT, chat(f'{SHORT},"keep_alive":-1e30')),
    "num_ctx huge": (CHAT, options('"num_ctx":2147483647')),
    "seed huge": (CHAT, options(f'"seed":{2**63 - 1}')),
    "temperature huge": (CHAT, options('"temperature":1e6')),
    "temperature tiny": (CHAT, options('"temperature":1e-300')),
    "penalties huge": (
        CHAT,
        options('"repeat_penalty":1e6,"presence_penalty":1e6,"frequency_penalty":-1e6'),
    ),
    "top_p nothing": (CHAT, options('"top_p":0,"min_p":1,"typical_p":0')),
    "num_keep negative": (CHAT, options('"num_keep":-1')),
    "roles unheard of": (
        CHAT,
        b'{"model":"tiny","stream":false,"options":{"num_predict":1},'
        b'"messages":[{"role":"\\u0000","content":"x"},{"role":"user","content":"hi"}]}',
    ),
    "garbage behind the body": (CHAT, chat(SHORT) + b"garbage"),
}


class Running:
    """A stream that goes on while others send nonsense."""

    def __init__(self, server: Process) -> None:
        self._server = server
        self._ends: list[dict[str, Any]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._stream)
        self._thread.start()

    def _stream(self) -> None:
        while not self._over.is_set():
            body = {"model": "tiny", "prompt": "Once upon a time", "raw": True}
            fields = {"options": {"num_predict": 40, "temperature": 1}}
            self._ends.append(self._server.ask("POST", GENERATE, **body, **fields)[-1])

    def close(self) -> list[dict[str, Any]]:
        """Stop after the present answer; the last record of each."""
        self._over.set()
        self._thread.join(60)
        return self._ends


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> Iterator[Process]:
    """A server that answers somebody else all the time, and is well at the end."""
    running = Process(tmp_path_factory.mktemp("server") / "models")
    stream = Running(running)
    yield running
    ends = stream.close()
    running.close()
    assert ends
    assert all(end.get("done") is True for end in ends), ends


def post(server: Process, path: str, body: bytes) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("POST", path, body)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_sentence(server: Process, name: str) -> None:
    """A status from 400 to 499 and one key, whose text is no traceback and not the input."""
    status, told = post(server, *REFUSED[name])

    assert 400 <= status < 500, told
    assert list(told) == ["error"]
    assert 0 < len(told["error"]) < 2000


@pytest.mark.parametrize("name", ANSWERED)
def test_it_is_answered(server: Process, name: str) -> None:
    """Odd, but no reason to say no."""
    status, told = post(server, *ANSWERED[name])

    assert status == 200, told
    assert told["done"] is True


def register(server: Process, name: str, weights: bytes) -> None:
    """Put a model into the store of a server, behind its back."""
    store = server.store

    def blob(data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (store / "blobs" / f"sha256-{digest}").write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    kind = "application/vnd.ollama.image.model"
    config = {"model_format": "gguf", "model_family": "llama", "model_families": ["llama"]}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json"}
        | blob(json.dumps(config).encode()),
        "layers": [{"mediaType": kind} | blob(weights)],
    }
    place = store / "manifests" / "registry.ollama.ai" / "library" / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "latest").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("half", lambda data: data[: len(data) // 2]),
        ("head", lambda data: data[:1000]),
        ("nothing", lambda data: b""),
        ("text", lambda data: b"this is no model" * 1000),
        ("short", lambda data: data[:-1]),
        ("ones", lambda data: data[:24] + b"\xff" * 4096 + data[24 + 4096 :]),
        ("counts", lambda data: data[:8] + b"\xff" * 16 + data[24:]),
    ],
)
def test_damaged_weights_are_an_error_and_no_crash(
    server: Process, tiny_model_path: Path, name: str, damage: Any
) -> None:
    """Through generate and chat alike, and the model is not shown as loaded."""
    register(server, name, damage(tiny_model_path.read_bytes()))
    body = f'{{"model":"{name}","prompt":"x","raw":true}}'.encode()
    for path, sent in ((GENERATE, body), (CHAT, chat(SHORT).replace(b"tiny", name.encode()))):
        status, told = post(server, path, sent)
        assert 400 <= status <= 500
        assert list(told) == ["error"]
        assert "internal server error" not in told["error"]

    assert f"{name}:latest" not in server.loaded()
    assert server.process.poll() is None
