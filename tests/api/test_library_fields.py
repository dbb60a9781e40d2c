"""Every field of requests about the library has an effect or is refused by name; a new one needs a
row."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.support.fields import Effect, Kind, OldName, Refused, Row, check_kinds, rows
from trillama.api.editing import REFUSED, recipe_of
from trillama.base.messages import Message
from trillama.base.names import parse_name, parse_reference
from trillama.models.create.recipe import Info
from trillama.wire import library, registry
from trillama.wire.library import read_copy, read_create, read_delete, read_show
from trillama.wire.registry import read_transfer

Table = dict[str, Row]

DIGEST = "sha256:" + "a" * 64
FILES = {"w.gguf": DIGEST}
NO_MODEL = {"model": None}

SHOW: Table = {
    "model": Effect("other", {"model": "other"}),
    "name": Effect("other", {"model": "other"}, NO_MODEL),
    "verbose": Effect(True, {"verbose": True}),
    "system": Effect("s", {"system": "s"}),
    "options": Effect({"top_k": 5}, {"options": {"top_k": 5}}),
}
COPY: Table = {
    "source": Effect("other", {"source": "other"}),
    "destination": Effect("other", {"destination": "other"}),
}
DELETE: Table = {
    "model": Effect("other", {"model": "other"}),
    "name": Effect("other", {"model": "other"}, NO_MODEL),
}
CREATE: Table = {
    "model": Effect("other", {"name": parse_name("other")}),
    "name": Effect("other", {"name": parse_name("other")}, NO_MODEL),
    "from": Effect("base", {"base": parse_reference("base")}),
    "files": Effect(FILES, {"files": FILES}),
    "adapters": Effect(FILES, {"adapters": FILES}),
    "draft_files": Effect(FILES, {"drafts": FILES}),
    "template": Effect("t", {"template": "t"}),
    "system": Effect("s", {"system": "s"}),
    "renderer": Effect("r", {"renderer": "r"}),
    "parser": Effect("p", {"parser": "p"}),
    "requires": Effect("0.1", {"requires": "0.1"}),
    "license": Effect(["MIT"], {"licenses": ("MIT",)}),
    "parameters": Effect({"top_k": 5}, {"parameters": {"top_k": 5}}),
    "messages": Effect([{"role": "user", "content": "x"}], {"messages": (Message("user", "x"),)}),
    "info": Effect({"base_name": "b"}, {"info": Info(base_name="b")}),
    "modelfile": Effect("SYSTEM s\nFROM base", {"system": "s", "base": parse_reference("base")}),
    "stream": Effect(False, {"stream": False}),
    "quantize": Refused("q4_0"),
    "quantization": OldName("q4_0", "quantize"),
    "draft_quantize": Refused("q4_0", {"draft_files": FILES}),
    "remote_host": Refused("x"),
    "path": Refused("/etc/passwd"),
}
TRANSFER: Table = {
    "model": Effect("other", {"wanted": "other"}),
    "name": Effect("other", {"wanted": "other"}, NO_MODEL),
    "insecure": Effect(True, {"insecure": True}),
    "stream": Effect(False, {"stream": False}),
    "username": Effect("u", {"username": "u"}),
    "password": Effect("p", {"password": "p"}),
}


def create(body: bytes) -> dict[str, Any]:
    """What is to be created, and whether its progress is told."""
    request = read_create(body)
    return msgspec.structs.asdict(recipe_of(request)) | {"stream": request.stream}


def pull(body: bytes) -> dict[str, Any]:
    return transfer(body, "PullRequest")


def push(body: bytes) -> dict[str, Any]:
    return transfer(body, "PushRequest")


def transfer(body: bytes, go_name: str) -> dict[str, Any]:
    """What is to be pulled or pushed."""
    request = read_transfer(body, go_name)
    found = msgspec.structs.asdict(request) | {"wanted": request.wanted}
    return {name: value for name, value in found.items() if name not in ("model", "name")}


PULL: Table = {**TRANSFER, "print_urls": Effect(True, {"print_urls": True})}
NAMED = {"model": "m"}
KINDS = (
    Kind(read_show, NAMED, SHOW, ("/api/show",)),
    Kind(read_copy, {"source": "m", "destination": "n"}, COPY, ("/api/copy",)),
    Kind(read_delete, NAMED, DELETE, ("/api/delete",)),
    Kind(create, NAMED, CREATE, ("/api/create",), {**REFUSED, "path": ("",)}),
    Kind(pull, NAMED, PULL, ("/api/pull",)),
    Kind(push, NAMED, TRANSFER, ("/api/push",)),
)


def test_every_field_has_a_row() -> None:
    """At every path."""
    check_kinds(KINDS, library.BODIES | registry.BODIES)


@pytest.mark.parametrize(("kind", "name"), rows(KINDS))
def test_a_field_does_what_its_row_says(kind: Kind, name: str) -> None:
    """An effect on what is asked, and on nothing else, or a refusal."""
    kind.check(name)
