"""The HTTP layer of every endpoint, on a real socket: statuses, headers and bodies to the byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from tests.support.house import ask, connect, model
from trillama import __version__
from trillama.api.errors import clean_path
from trillama.api.listener import Line
from trillama.engine.fake import babble

JSON = "application/json; charset=utf-8"


async def test_the_root_says_what_health_checks_look_for(build: Callable[..., Any]) -> None:
    """GET and HEAD of ``/`` have the same headers; only GET has the text."""
    house = await build()
    got, head = await ask(house, "GET", "/"), await ask(house, "HEAD", "/")

    assert (got.status, got.body) == (200, b"Ollama is running")
    assert got.headers["content-type"] == "text/plain; charset=utf-8"
    assert "17" == got.headers["content-length"] == head.headers["content-length"]
    assert (head.status, head.body) == (200, b"")


async def test_the_version_is_ours(build: Callable[..., Any]) -> None:
    """``/api/version`` shows the package's version."""
    reply = await ask(await build(), "GET", "/api/version")

    assert (reply.status, reply.headers["content-type"]) == (200, JSON)
    assert f'{{"version":"{__version__}"}}'.encode() == reply.body


VECTORS: list[tuple[str, str, Any, int, str]] = [
    ("POST", "/api/generate", b"", 400, "missing request body"),
    ("POST", "/api/generate", b"{", 400, "unexpected EOF"),
    ("POST", "/api/generate", {}, 404, "model '' not found"),
    ("POST", "/api/chat", {}, 400, "model is required"),
    ("POST", "/api/generate", {"model": "nope"}, 404, "model 'nope' not found"),
    ("POST", "/api/chat", {"model": "nope:x"}, 404, "model 'nope:x' not found"),
    ("POST", "/api/generate", {"model": "nope", "top_logprobs": 21}, 400,
     "top_logprobs must be between 0 and 20"),
    ("POST", "/api/generate", {"model": "x y"}, 400, "invalid model name"),
    ("POST", "/api/chat", {"model": "x y"}, 400, "invalid model name"),
    ("POST", "/api/chat", {"model": "a:cloud:local"}, 400,
     'use either :local or :cloud, not both: "a:cloud:local"'),
    ("POST", "/api/chat", {"model": "m:cloud"}, 403,
     "ollama cloud is disabled: remote model is unavailable"),
    ("POST", "/api/generate", {"model": "m", "think": True, "prompt": "x"}, 400,
     '"m" does not support thinking'),
    ("POST", "/api/generate", {"model": "m", "options": {"temperature": "hot"}, "prompt": "x"},
     400, 'option "temperature" must be of type float32'),
    ("POST", "/api/generate", {"model": "embed", "prompt": "x"}, 400,
     '"embed" does not support generate'),
    ("POST", "/api/chat", {"model": "embed", "messages": [{"role": "user", "content": "x"}]}, 400,
     '"embed" does not support chat'),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status", "error"), VECTORS)
async def test_errors_have_ollamas_status_and_text(
    build: Callable[..., Any], method: str, path: str, body: Any, status: int, error: str
) -> None:
    """Each malformed request is answered as clients of Ollama expect."""
    house = await build(model("m"), model("embed", capabilities=("embedding",)))
    reply = await ask(house, method, path, body)

    assert (status, {"error": error}, JSON) == (
        reply.status,
        reply.json(),
        reply.headers["content-type"],
    )


async def test_an_empty_store_lists_nothing(build: Callable[..., Any]) -> None:
    """No models is an empty list, never null; nothing loaded likewise."""
    house = await build()
    house.shelf.models.clear()

    assert (await ask(house, "GET", "/api/tags")).body == b'{"models":[]}'
    assert (await ask(house, "GET", "/api/ps")).body == b'{"models":[]}'


async def test_tags_have_ollamas_fields(build: Callable[..., Any]) -> None:
    """Field order and names of an entry; HEAD is allowed."""
    house = await build(model("some/m:q4"))
    reply = await ask(house, "GET", "/api/tags")
    (entry,) = reply.json()["models"]

    assert list(entry) == [
        "name",
        "model",
        "modified_at",
        "size",
        "digest",
        "details",
        "capabilities",
    ]
    assert "some/m:q4" == entry["name"] == entry["model"]
    assert list(entry["details"])[:5] == [
        "parent_model",
        "format",
        "family",
        "families",
        "parameter_size",
    ]
    assert (
        entry["details"]["context_length"],
        entry["details"]["embedding_length"],
    ) == (4096, 64)
    assert (await ask(house, "HEAD", "/api/tags")).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nope", 404, None),
        ("POST", "/api", 404, None),
        ("GET", "/api/generate", 405, "POST"),
        ("GET", "/api/chat", 405, "POST"),
        ("PUT", "/api/tags", 405, "HEAD, GET"),
        ("HEAD", "/api/ps", 405, "GET"),
        ("POST", "/", 405, "HEAD, GET"),
    ],
)
async def test_unknown_paths_and_methods_are_plain_text(
    build: Callable[..., Any], method: str, path: str, status: int, allow: str | None
) -> None:
    """404 and 405 are no JSON; Allow lists the methods in registration order."""
    reply = await ask(await build(), method, path)
    text = {404: b"404 page not found", 405: b"405 method not allowed"}[status]

    assert (status, allow) == (reply.status, reply.headers.get("allow"))
    assert reply.headers["content-type"] == "text/plain"
    assert reply.body == (b"" if method == "HEAD" else text)


@pytest.mark.parametrize(
    ("method", "path", "status", "target"),
    [
        ("GET", "/api/tags/", 301, "/api/tags"),
        ("POST", "/api/chat/", 307, "/api/chat"),
        ("HEAD", "/api/version/", 307, "/api/version"),
        ("GET", "//api/tags", 307, "/api/tags"),
        ("POST", "/api/../api/chat", 307, "/api/chat"),
        ("GET", "/api/tags//?a=1", 307, "/api/tags/?a=1"),
    ],
)
async def test_slashes_too_many_are_redirected(
    build: Callable[..., Any], method: str, path: str, status: int, target: str
) -> None:
    """One slash too many at the end, or an unclean path, leads to the right one."""
    reply = await ask(await build(), method, path)

    assert (status, target, b"") == (reply.status, reply.headers["location"], reply.body)


async def test_a_slash_leads_nowhere_when_the_method_is_wrong(build: Callable[..., Any]) -> None:
    """Only a path that would be served is redirected to."""
    assert (await ask(await build(), "GET", "/api/chat/")).status == 404


@pytest.mark.parametrize(
    ("path", "clean"),
    [("/", "/"), ("/a/b", "/a/b"), ("/a/b/", "/a/b/"), ("//", "/"), ("/a//b", "/a/b"),
     ("/a/./b/../c", "/a/c"), ("/../..", "/"), ("/a/..", "/"), ("//a", "/a"), ("", "/"),
     ("/a/b//", "/a/b/")],
)  # fmt: skip
def test_paths_are_cleaned_as_go_does(path: str, clean: str) -> None:
    """Double slashes and dots vanish, the last slash stays; a clean path is left alone."""
    assert clean == clean_path(path)
    assert clean == clean_path(clean)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://localhost/api/version", 200),
        ("HTTP://127.0.0.1:11434/api/version?x=y", 200),
        ("http://localhost", 200),
        ("http://localhost//api/version", 307),
        ("http://evil.example/api/version", 403),
        ("ftp://localhost/api/version", 307),
    ],
)
async def test_a_target_may_name_its_host(
    build: Callable[..., Any], target: str, status: int
) -> None:
    """As it does to a proxy; the host it names is the one that counts."""
    reply = await ask(await build(), "GET", target)

    assert reply.status == status
    assert reply.headers.get("location", "/api/version") in ("/api/version", clean_path(target))


async def test_browsers_from_elsewhere_are_refused(build: Callable[..., Any]) -> None:
    """A foreign origin and a foreign host get 403 with no body, whatever the path."""
    house = await build()
    for path in ("/", "/nope", "/api/chat"):
        for header in ("Origin: http://evil.example", "Host: evil.example"):
            reply = await ask(house, "GET", path, None, header)
            assert (reply.status, reply.body) == (403, b"")


async def test_a_preflight_is_answered(build: Callable[..., Any]) -> None:
    """OPTIONS from an allowed origin gets 204 and everything a browser asks for."""
    reply = await ask(await build(), "OPTIONS", "/api/chat", None, "Origin: http://localhost:3000")

    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert reply.headers["access-control-allow-methods"] == "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
    assert reply.headers["access-control-allow-headers"].startswith("Authorization,Content-Type,")
    assert reply.headers["access-control-max-age"] == "43200"
    assert (
        reply.headers["vary"]
        == "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    )
    assert "content-length" not in reply.headers


async def test_allowed_origins_are_named_in_every_answer(build: Callable[..., Any]) -> None:
    """Errors and streams carry the CORS headers like anything else."""
    house = await build()
    origin = "Origin: vscode-webview://abc"
    said = {"model": "m", "messages": [{"role": "user", "content": "Repeat: x"}]}
    for method, path, body in (("GET", "/nope", None), ("POST", "/api/chat", said)):
        reply = await ask(house, method, path, body, origin)
        assert reply.headers["access-control-allow-origin"] == "vscode-webview://abc"
        assert reply.headers["vary"] == "Origin"


async def test_a_body_may_be_large_but_not_endless(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte of spaces is a prompt like any other; more than the cap is a 413."""
    house = await build(context_length=4096)
    spaces = {"model": "m", "prompt": " " * (1 << 20), "options": {"num_predict": 1}}
    long = await ask(house, "POST", "/api/generate", spaces)
    cut = await ask(house, "POST", "/api/generate", spaces | {"truncate": True, "stream": False})
    monkeypatch.setattr("trillama.api.connection.MAX_BODY", 1000)
    refused = await ask(house, "POST", "/api/generate", {"model": "m", "prompt": "x" * 1000})

    assert (long.status, "1048" in long.json()["error"]) == (400, True)
    assert (cut.status, cut.json()["truncated"]) == (200, True)
    assert (refused.status, "1000 bytes" in refused.json()["error"]) == (413, True)


async def test_a_chunked_body_has_the_same_limit(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that does not tell its size is cut off when it passes the cap."""
    monkeypatch.setattr("trillama.api.connection.MAX_BODY", 1000)
    wire = await connect(await build())
    async with wire.stream:
        head = "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        await wire.stream.send_all(head.encode() + b"400\r\n" + b" " * 1024 + b"\r\n")
        with trio.fail_after(5):
            reply = await wire.reply()

    assert reply.status == 413


async def test_a_body_that_stops_coming_is_given_up(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a body and silence is answered with 408."""
    monkeypatch.setattr("trillama.api.connection.BODY_PATIENCE", 0.05)
    wire = await connect(await build())
    async with wire.stream:
        await wire.stream.send_all(
            b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"
        )
        with trio.fail_after(5):
            reply = await wire.reply()

    assert (reply.status, reply.json()["error"][-14:]) == (408, "stopped coming")


async def test_a_connection_serves_many_requests(build: Callable[..., Any]) -> None:
    """Keep-alive works across plain answers, streams and errors."""
    wire = await connect(await build())
    body = json.dumps({"model": "m", "prompt": 'Repeat: "hi"'}).encode()
    async with wire.stream:
        seen = []
        for method, path, data in (
            ("GET", "/api/version", b""),
            ("POST", "/api/generate", body),
            ("GET", "/nope", b""),
            ("POST", "/api/generate", body),
        ):
            await wire.send(method, path, data)
            with trio.fail_after(5):
                seen.append((await wire.reply()).status)

    assert seen == [200, 200, 404, 200]


async def test_every_answer_has_an_id(build: Callable[..., Any]) -> None:
    """The id of the log lines stands on the answer, and no two requests share one."""
    house = await build()
    ids = {(await ask(house, "GET", path)).headers["x-request-id"] for path in ("/", "/nope", "/")}

    assert len(ids) == 3


async def test_a_bug_is_a_500_that_tells_nothing(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that is not ours is logged, not shown."""
    house = await build()
    monkeypatch.setattr(house.shelf, "installed", lambda: 1 // 0)
    reply = await ask(house, "GET", "/api/tags")

    assert reply.status == 500
    assert "division" not in reply.body.decode()
    assert {"error"} == set(reply.json())


async def test_a_connection_that_fails_takes_no_other_with_it(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug between socket and route ends one connection; a running answer does not notice."""
    house = await build(script=babble)
    running = await connect(house)
    body = {"model": "m", "prompt": "x", "options": {"num_predict": 300}}
    await running.send("POST", "/api/generate", json.dumps(body).encode())
    await running.until(b'"done":false')

    async def fail(_: Line) -> None:
        raise RuntimeError("made to fail")

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(Line, "_read_data", fail)
        with pytest.raises((EOFError, trio.BrokenResourceError)):
            await ask(house, "GET", "/api/version")

    assert "a connection failed" in [line["event"] for line in logs]
    assert b'"done_reason":"length"' in await running.until(b"\r\n0\r\n\r\n")
    assert (await ask(house, "GET", "/api/version")).status == 200


UPGRADE = (
    b"GET /api/version HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
)
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"


@pytest.mark.parametrize("headers", [b"", KEY], ids=("bare", "whole"))
async def test_no_websocket_and_what_follows_it_ends_the_server(
    build: Callable[..., Any], headers: bytes
) -> None:
    """Nobody is spoken to so; bytes behind such a request break its connection alone."""
    house = await build()
    with capture_logs():
        for rest in (b"", b"x", b"GET / HTTP/1.1\r\n\r\n"):
            wire = await connect(house)
            with suppress(trio.BrokenResourceError), trio.fail_after(10):
                await wire.stream.send_all(UPGRADE + headers + b"\r\n" + rest)
                await wire.stream.send_eof()
                while await wire.stream.receive_some():
                    pass
            assert (await ask(house, "GET", "/api/version")).status == 200


async def test_no_functions_are_made_that_nobody_calls(build: Callable[..., Any]) -> None:
    """The framework compiles two for each route, to make URLs; here none can be made."""
    routes = (await build()).server.app.url_map
    with pytest.raises(NotImplementedError):
        routes.bind("localhost").build(next(routes.iter_rules()).endpoint)
