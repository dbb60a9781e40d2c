"""Tokens, keys and the account: what is signed, what is sent, and to whom."""

from __future__ import annotations

import base64
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from tests.support.rogue import OTHER, Call, Rogue, World, reply
from trillama.base.registries import Proxies, parse_registry, places
from trillama.base.settings import load_settings
from trillama.models.registry.account import Account, AccountUnavailable, SignedOut
from trillama.models.registry.auth import parse_challenge, text_to_sign, token_url
from trillama.models.registry.errors import AddressRefused, KeyTrouble, RegistryError, Unauthorized
from trillama.models.registry.keys import load_key

NAME = "registry.test/a/m"
CHALLENGE = 'Bearer realm="http://registry.test/token?a=1",service="s",scope="repository:a/m:pull"'


def test_a_key_is_made_once_and_as_ollama_makes_it(tmp_path: Path) -> None:
    """OpenSSH, 0600, its public half beside it; the next look finds the same."""
    path = tmp_path / ".ollama" / "id_ed25519"
    key = load_key(path)

    assert path.read_bytes().startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.with_suffix(".pub").stat().st_mode) == 0o644
    assert path.with_suffix(".pub").read_text() == key.line + "\n"
    assert load_key(path).line == key.line
    assert sorted(one.name for one in path.parent.iterdir()) == ["id_ed25519", "id_ed25519.pub"]


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN OPENSSH PRIVATE KEY-----\n"])
def test_a_file_that_is_no_key_is_told_and_left_alone(tmp_path: Path, content: bytes) -> None:
    """Nobody's file is overwritten."""
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(KeyTrouble, match="key"):
        load_key(path)
    assert path.read_bytes() == content


def test_a_signature_is_over_method_url_and_empty_body(tmp_path: Path) -> None:
    """Public key, colon, signature, each in base64; it verifies."""
    key = load_key(tmp_path / "key")
    text = text_to_sign("GET", "https://h/token?x=1")
    public, signature = key.authorization(text).split(":")

    assert text == (
        "GET,https://h/token?x=1,"
        "ZTNiMGM0NDI5OGZjMWMxNDlhZmJmNGM4OTk2ZmI5MjQyN2FlNDFlNDY0OWI5MzRjYTQ5NTk5MWI3ODUyYjg1NQ=="
    )
    loaded = load_ssh_public_key(f"ssh-ed25519 {public}".encode())
    assert isinstance(loaded, Ed25519PublicKey)
    loaded.verify(base64.b64decode(signature), text.encode())


def test_a_token_url_has_all_that_is_signed() -> None:
    """The realm's own query, service, each scope, time and nonce, keys in order."""
    challenge = parse_challenge('Bearer realm="https://h/t?z=1",service="s",scope="a:b:pull c"')
    url = token_url(challenge, 1700000000, bytes(16))
    assert url == (
        "https://h/t?nonce=AAAAAAAAAAAAAAAAAAAAAA&scope=a%3Ab%3Apull&scope=c&service=s"
        "&ts=1700000000&z=1"
    )


async def test_a_challenge_is_met_with_a_signature_and_the_token_goes_home_only(
    bench: Callable[..., Any], rogue: Rogue, world: World
) -> None:
    """The realm gets a signature, the registry the token, its storage neither."""
    rogue.put("a/m", b"weights")
    storage = Rogue()
    storage.blobs = rogue.blobs
    world.add("storage.test", storage, OTHER)
    plain = rogue._answer

    async def guarded(stream: trio.abc.Stream, call: Call) -> None:
        if call.path.startswith("/token"):
            await reply(200, b'{"token":"secret"}')(stream, call)
        elif call.headers.get("authorization") != "Bearer secret":
            await reply(401, www_authenticate=CHALLENGE)(stream, call)
        elif "/blobs/" in call.path:
            place = f"http://storage.test/x/{call.path.rpartition('/')[2]}"
            await reply(307, location=place)(stream, call)
        else:
            await plain(stream, call)

    rogue.traps["/"] = guarded
    one = await bench()
    await one.pull(NAME)

    token = next(call for call in rogue.seen if call.path.startswith("/token"))
    asked = parse_qs(urlsplit(token.path).query)
    assert (asked["a"], asked["service"], asked["scope"]) == (["1"], ["s"], ["repository:a/m:pull"])
    public, signature = token.headers["authorization"].split(":")
    loaded = load_ssh_public_key(f"ssh-ed25519 {public}".encode())
    assert isinstance(loaded, Ed25519PublicKey)
    signed = text_to_sign("GET", f"http://registry.test{token.path}")
    loaded.verify(base64.b64decode(signature), signed.encode())
    assert storage.seen
    assert not any("authorization" in call.headers for call in storage.seen)


async def test_name_and_password_of_the_settings(bench: Callable[..., Any], rogue: Rogue) -> None:
    """A registry that wants them gets them, at its own host."""
    rogue.put("a/m", b"weights")
    plain = rogue._answer

    async def guarded(stream: trio.abc.Stream, call: Call) -> None:
        if call.headers.get("authorization") == "Basic YW5uOnNlY3JldA==":
            await plain(stream, call)
        else:
            await reply(401, www_authenticate='Basic realm="x"')(stream, call)

    rogue.traps["/"] = guarded
    one = await bench(registries=(parse_registry("http://ann:secret@registry.test"),))
    await one.pull(NAME, insecure=False)
    assert one.store.find(NAME)

    other = await bench()
    with pytest.raises(Unauthorized, match="wants a name and a password"):
        await other.pull("registry.test/a/m:other")


@pytest.mark.parametrize(
    ("text", "host", "base"),
    [
        ("https://h:5000", "h:5000", "https://h:5000"),
        ("http://u:p%40x@H", "h", "http://h"),
        ("registry.ollama.ai=https://mirror:5000/", "registry.ollama.ai", "https://mirror:5000"),
    ],
)
def test_registries_of_the_settings(text: str, host: str, base: str) -> None:
    """URL, credentials and alias; a password is in no text about the registry."""
    one = parse_registry(text)
    assert (one.host, one.base) == (host, base)
    assert "p@x" not in repr(one)


@pytest.mark.parametrize("text", ["h", "ftp://h", "https://", "https://h/v2/x", "https://h:99999"])
def test_registries_that_are_none(text: str) -> None:
    """A mistake is found when the settings are read."""
    with pytest.raises(ValueError, match=r"expected|ends with|[Pp]ort"):
        parse_registry(text)


def test_where_to_look() -> None:
    """Mirrors first, the registry itself last; http only where it was asked for."""
    known = [parse_registry("h=https://m"), parse_registry("http://h2")]
    assert [one.base for one in places("H", known)] == ["https://m", "https://h"]
    assert [one.base for one in places("h2", known)] == ["http://h2"]
    assert [one.base for one in places("h", [], insecure=True)] == ["http://h"]


async def test_the_account(bench: Callable[..., Any], world: World) -> None:
    """Signed requests; nobody, somebody and no service are told apart."""
    service = Rogue()
    world.add("account.test", service, OTHER)
    one = await bench(registries=(parse_registry("ollama.com=http://account.test"),))
    account = Account(one.transfers)

    service.traps["/api/me"] = reply(401, b"{}")
    with pytest.raises(SignedOut) as told:
        await account.me()
    assert told.value.url.startswith("https://ollama.com/connect?name=")
    service.traps["/api/me"] = reply(200, b'{"name":"ann","email":"a@b"}')
    assert await account.me() == {"name": "ann", "email": "a@b", "plan": "free"}
    assert service.seen[-1].headers["authorization"].count(":") == 1
    service.traps["/api/me"] = reply(404, b"not here")
    with pytest.raises(AccountUnavailable):
        await account.me()

    service.traps["/api/user"] = reply(200)
    await account.sign_out()
    assert service.seen[-1].method == "DELETE"
    service.traps["/api/user"] = reply(401)
    with pytest.raises(SignedOut, match="not currently signed in"):
        await account.sign_out()


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://h/x", "http://s"),
        ("http://h/x", "http://p"),
        ("http://localhost:5000/x", ""),
        ("http://[::1]/x", ""),
        ("https://a.inside.test/x", ""),
        ("https://inside.test/x", ""),
        ("https://outside.test/x", "http://s"),
        ("https://notinside.test/x", "http://s"),
    ],
)
def test_which_proxy(url: str, proxy: str) -> None:
    """By scheme, unless the host is excepted or this machine."""
    assert Proxies("http://p", "http://s", (".inside.test", "other")).choose(url) == proxy
    assert Proxies("http://p", "http://s", ("*",)).choose(url) == ""


async def test_through_a_proxy(bench: Callable[..., Any], rogue: Rogue, world: World) -> None:
    """Everything goes through it, with its own credentials; addresses stay forbidden."""
    rogue.put("a/m", b"weights")
    world.servers.clear()
    world.add("proxy.test", rogue, "10.0.0.3", port=3128)
    settings = load_settings({"HOME": "/h", "http_proxy": "http://ann:pw@proxy.test:3128"})
    one = await bench(http_proxy=settings.http_proxy)
    await one.pull(NAME)

    assert {address for address, _ in world.connections} == {"10.0.0.3"}
    assert all("proxy-authorization" in call.headers for call in rogue.seen)
    rogue.put("a/n", b"other weights")
    rogue.traps["/blobs/"] = reply(307, location="http://169.254.169.254/x")
    with pytest.raises(AddressRefused):
        await one.pull("registry.test/a/n")
    other = await bench(http_proxy="socks5://proxy.test:1080")
    with pytest.raises(RegistryError, match="socks5 are not supported"):
        await other.pull("registry.test/a/n")
