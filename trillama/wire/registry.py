"""Requests to pull and push, as Ollama's clients send them.

``model`` has the older spelling ``name``. ``username`` and ``password``, which Ollama reads and
ignores, are what the registry is shown.
"""

from __future__ import annotations

import msgspec

from . import gojson, goshape


class TransferRequest(msgspec.Struct, kw_only=True):
    """Body of ``/api/pull`` and ``/api/push``.

    Attributes:
        insecure: speak http to the registry.
        print_urls: ours: tell where the blobs of a pull are, instead of pulling them.
    """

    model: str = ""
    name: str = ""
    insecure: bool = False
    stream: bool = True
    username: str = ""
    password: str = ""
    print_urls: bool = False

    @property
    def wanted(self) -> str:
        """The model, by whichever field."""
        return self.model or self.name


_PUSH: goshape.Table = {
    "model": goshape.string,
    "name": goshape.string,
    "insecure": goshape.boolean,
    "stream": goshape.boolean,
    "username": goshape.string,
    "password": goshape.string,
}
_TABLES = {"PullRequest": {**_PUSH, "print_urls": goshape.boolean}, "PushRequest": _PUSH}


def read_transfer(body: bytes, go_name: str) -> TransferRequest:
    """Decode a body; ``go_name`` is ``PullRequest`` or ``PushRequest``, for errors.

    Raises:
        BadRequest: with Ollama's text.
    """
    return TransferRequest(**goshape.body(gojson.decode(body), _TABLES[go_name], go_name))


BODIES: dict[str, goshape.Table] = {
    "/api/pull": _TABLES["PullRequest"],
    "/api/push": _PUSH,
}
"""The tables of the bodies at these paths."""
