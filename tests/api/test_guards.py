"""Who may call from a browser: the tables of CORS and of the check against DNS rebinding."""

from __future__ import annotations

import pytest

from trillama.api.guards import Guard, Origins, judge_host
from trillama.base.errors import SettingError


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost", True),
        ("https://localhost", True),
        ("http://localhost:3000", True),
        ("https://127.0.0.1:8443", True),
        ("http://0.0.0.0:1", True),
        ("app://obsidian.md", True),
        ("file://", True),
        ("tauri://localhost", True),
        ("vscode-webview://1a2b", True),
        ("vscode-file://vscode-app", True),
        ("http://localhost.evil.example", False),
        ("http://evil.example", False),
        ("https://127.0.0.1.nip.io", False),
        ("null", False),
        ("http://192.168.1.2", False),
        ("chrome-extension://abc", False),
    ],
)
def test_local_origins_are_allowed_by_default(origin: str, allowed: bool) -> None:
    """Pages of this machine and desktop applications may call, others not."""
    assert Origins().allows(origin) is allowed


@pytest.mark.parametrize(
    ("entry", "origin", "allowed"),
    [
        ("http://a.example", "http://a.example", True),
        ("http://A.example", "http://a.example", True),
        ("http://a.example", "http://a.example:81", False),
        ("https://*.example.com", "https://x.example.com", True),
        ("https://*.example.com", "https://example.com", False),
        ("chrome-extension://*", "chrome-extension://abc", True),
        ("*.example.com", "http://x.example.com", True),
        ("*", "http://evil.example", True),
        ("*", "null", True),
    ],
)
def test_origins_of_the_settings_come_first(entry: str, origin: str, allowed: bool) -> None:
    """Exact entries are compared without case, a star stands for anything."""
    assert Origins([entry]).allows(origin) is allowed


@pytest.mark.parametrize("entry", ["example.com", "http://*.a.*", "ftp://a"])
def test_entries_that_can_never_match_stop_the_start(entry: str) -> None:
    """A malformed origin names the variable and refuses to start."""
    with pytest.raises(SettingError, match="OLLAMA_ORIGINS"):
        Origins([entry])


def test_a_star_is_answered_with_a_star() -> None:
    """Everybody allowed means no Vary, neither plain nor in a preflight."""
    origins = Origins(["*"])
    plain = origins.judge("GET", "http://x.example", "h")
    preflight = dict(origins.judge("OPTIONS", "http://x.example", "h").headers)

    assert plain.headers == [(b"access-control-allow-origin", b"*")]
    assert preflight[b"access-control-allow-origin"] == b"*"
    assert b"vary" not in preflight


@pytest.mark.parametrize("origin", ["", "http://some.host:1", "https://some.host:1"])
def test_the_same_origin_is_no_matter_of_cors(origin: str) -> None:
    """No origin, or our own, passes without headers."""
    verdict = Origins().judge("OPTIONS", origin, "some.host:1")

    assert (verdict.status, verdict.headers) == (None, [])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("", None),
        ("localhost", None),
        ("LOCALHOST:11434", None),
        ("a.localhost", None),
        ("printer.local:80", None),
        ("box.internal", None),
        ("127.0.0.1:11434", None),
        ("127.9.9.9", None),
        ("[::1]:11434", None),
        ("[::1]", None),
        ("0.0.0.0:11434", None),
        ("192.168.3.4", None),
        ("10.0.0.1:1", None),
        ("172.31.0.1", None),
        ("[fd00::1]:1", None),
        ("[::ffff:127.0.0.1]:1", None),
        ("[::ffff:10.1.2.3]", None),
        ("8.8.8.8", 403),
        ("[::ffff:8.8.8.8]", 403),
        ("172.32.0.1", 403),
        ("evil.example", 403),
        ("evil.example:11434", 403),
        ("localhost.evil.example", 403),
        ("notlocalhost", 403),
        ("[2606:4700::1111]:443", 403),
    ],
)
def test_a_loopback_listener_knows_its_names(host: str, status: int | None) -> None:
    """On loopback only names and addresses of this machine and its network are answered."""
    assert judge_host("127.0.0.1", "GET", host).status == status
    assert judge_host("::1", "GET", host).status == status
    # so a socket of both families names the interface of somebody who came by IPv4
    assert judge_host("::ffff:127.0.0.1", "GET", host).status == status


def test_an_open_listener_answers_to_any_name() -> None:
    """Who binds to the network has decided; an unknown listener is not judged."""
    assert judge_host("192.168.1.5", "GET", "evil.example").status is None
    assert judge_host("::ffff:192.168.1.5", "GET", "evil.example").status is None
    assert judge_host("", "GET", "evil.example").status is None


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("OPTIONS", {b"host": b"localhost"}, 204),
        ("OPTIONS", {b"host": b"127.0.0.1"}, None),
        ("GET", {b"host": b"evil.example", b"origin": b"http://localhost"}, 403),
        ("GET", {b"host": b"localhost", b"origin": b"http://evil.example"}, 403),
        ("OPTIONS", {b"host": b"evil.example", b"origin": b"http://localhost"}, 204),
        ("GET", {b"host": b"localhost", b"origin": b"http://localhost"}, None),
        ("GET", {}, None),
    ],
)
def test_cors_is_asked_before_the_host(
    method: str, headers: dict[bytes, bytes], status: int | None
) -> None:
    """A preflight is answered whatever the host; a plain request must pass both."""
    assert Guard().judge(method, headers, "127.0.0.1").status == status
