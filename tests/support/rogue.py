"""A registry of our own that behaves, or misbehaves, as it is told; and a world without packets.

A ``Rogue`` serves HTTP/1.1 on any trio stream. A ``World`` is what a session may be given for a
network: names, addresses and servers are tables, and connections are pairs of memory streams.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio
import trio.testing

from trillama.models.manifest import CONFIG_TYPE, MODEL, Layer, Manifest, manifest_bytes

PUBLIC, OTHER = "93.184.216.34", "93.184.216.35"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Call(msgspec.Struct):
    """A request the registry has received."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def range(self) -> tuple[int, int] | None:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        return (int(found[1]), int(found[2]) + 1) if found else None


Trap = Callable[[trio.abc.Stream, Call], Awaitable[Any]]
"""Answers a call in its own way; the connection is closed behind it."""


def head(status: int, **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status} X"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def reply(status: int, body: bytes = b"", **headers: object) -> Trap:
    """A trap that gives one complete answer."""

    async def trap(stream: trio.abc.Stream, call: Call) -> None:
        top = head(status, content_length=len(body), connection="close", **headers)
        await stream.send_all(top + body)

    return trap


def redirect(place: str, status: int = 307) -> Trap:
    return reply(status, location=place)


class Rogue:
    """A registry.

    Attributes:
        traps: by a piece of the path; the first that fits answers.
        seen: all calls, in order.
        served: bytes of blobs sent.
        ranges: whether it serves ranges.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.traps: dict[str, Trap] = {}
        self.seen: list[Call] = []
        self.served = 0
        self.ranges = True
        self.pace: Callable[[int], Awaitable[Any]] | None = None

    def put(self, name: str, *layers: bytes, tag: str = "latest") -> bytes:
        """Publish a model of these layers and a config; returns the manifest."""
        config = json.dumps({"model_format": "gguf", "of": name}).encode()
        for data in (*layers, config):
            self.blobs[digest_of(data)] = data
        data = manifest_bytes(
            Manifest(
                config=Layer(CONFIG_TYPE, digest_of(config), len(config)),
                layers=tuple(Layer(MODEL, digest_of(one), len(one)) for one in layers),
            )
        )
        self.manifests[f"{name}/manifests/{tag}"] = data
        return data

    async def __call__(self, stream: trio.abc.Stream) -> None:
        """Serve one connection."""
        seen = bytearray()
        try:
            async with stream:
                while (call := await self._read(stream, seen)) is not None:
                    self.seen.append(call)
                    trap = next((t for piece, t in self.traps.items() if piece in call.path), None)
                    if trap:
                        await trap(stream, call)
                        return
                    await self._answer(stream, call)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def _read(self, stream: trio.abc.Stream, seen: bytearray) -> Call | None:
        while b"\r\n\r\n" not in seen:
            data = await stream.receive_some()
            if not data:
                return None
            seen += data
        raw, _, _ = bytes(seen).partition(b"\r\n\r\n")
        del seen[: len(raw) + 4]
        first, *lines = raw.decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", 0))
        while len(seen) < size:
            data = await stream.receive_some()
            if not data:
                return None
            seen += data
        body = bytes(seen[:size])
        del seen[:size]
        method, path, _ = first.split()
        path = re.sub("^http://[^/]*", "", path)  # as it is sent through a proxy
        return Call(method, path, headers, body)

    async def _answer(self, stream: trio.abc.Stream, call: Call) -> None:
        name = call.path.removeprefix("/v2/").partition("?")[0]
        if name in self.manifests:
            data = self.manifests[name]
            await stream.send_all(head(200, content_length=len(data)) + data)
        elif (data := self.blobs.get(name.rpartition("/")[2])) is not None:
            await self.blob(stream, call, data)
        else:
            await stream.send_all(head(404, content_length=0))

    async def blob(self, stream: trio.abc.Stream, call: Call, data: bytes) -> None:
        """Send a blob, or the range of it that was asked for."""
        span = call.range if self.ranges else None
        if span is None:
            start, end, top = 0, len(data), head(200, content_length=len(data))
        else:
            start, end = span[0], min(span[1], len(data))
            where = f"bytes {start}-{end - 1}/{len(data)}"
            top = head(206, content_length=end - start, content_range=where)
        await stream.send_all(top)
        for place in range(start, end, 1 << 16):
            piece = data[place : min(place + (1 << 16), end)]
            if self.pace:
                await self.pace(len(piece))
            await stream.send_all(piece)
            self.served += len(piece)


class World:
    """A network of tables.

    Attributes:
        names: host to addresses.
        servers: (address, port) to what serves there.
        connections: every address and port a connection was asked of.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self.names: dict[str, list[str]] = {}
        self.servers: dict[tuple[str, int], Callable[[Any], Awaitable[None]]] = {}
        self.connections: list[tuple[str, int]] = []
        self._nursery = nursery

    def add(self, host: str, server: Rogue, *addresses: str, port: int = 80) -> None:
        """Put a server at a host's addresses."""
        self.names[host] = list(addresses or (PUBLIC,))
        for address in self.names[host]:
            self.servers[address, port] = server

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host; one that is an address is its own."""
        await trio.lowlevel.checkpoint()
        if host[:1].isdigit() or ":" in host:
            return [host]
        if host not in self.names:
            raise OSError(errno.ENOENT, "Name or service not known")
        return self.names[host]

    async def connect(self, address: str, port: int) -> trio.abc.Stream:
        """A connection to the server there."""
        await trio.lowlevel.checkpoint()
        self.connections.append((address, port))
        if (address, port) not in self.servers:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        ours, theirs = trio.testing.lockstep_stream_pair()
        self._nursery.start_soon(self.servers[address, port], theirs)
        return ours
