"""The account at ollama.com that this machine's key belongs to, if any.

Requests are signed with the key; there is no other secret. Facts: Ollama's server/routes.go and
api/client.go.
"""

from __future__ import annotations

import base64
import socket
import time
from typing import Any
from urllib.parse import quote

import msgspec
import trio

from trillama.base.errors import TrillamaError
from trillama.base.registries import places

from .errors import Missing, RegistryError, Unauthorized
from .session import Ask, Session
from .transfers import Transfers

SERVICE = "ollama.com"
REPLY_CAP = 1 << 20


class SignedOut(TrillamaError):
    """Nobody is signed in.

    Attributes:
        url: where this machine can be signed in, "" where it has no key.
    """

    status = 401
    code = "signed_out"

    def __init__(self, message: str, url: str = "") -> None:
        super().__init__(message)
        self.url = url


class AccountUnavailable(TrillamaError):
    """The service cannot be asked."""

    status = 503
    code = "account_unavailable"


class Account:
    """Asks the service; ``transfers`` knows the key and the way out."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers

    async def me(self) -> dict[str, Any]:
        """Who is signed in: id, email, name, plan.

        Raises:
            SignedOut: nobody.
            AccountUnavailable: no key, no network, or no such service.
            Offline.
        """
        await self._transfers.ready()
        try:
            found = msgspec.json.decode(await self._ask("POST", "/api/me"), type=dict)
        except Unauthorized:
            found = {}
        except (TrillamaError, msgspec.MsgspecError) as error:
            raise AccountUnavailable(f"account unavailable: {error}") from None
        if not found.get("name"):
            raise SignedOut("unauthorized", await self.signin_url())
        return {**found, "plan": found.get("plan") or "free"}

    async def sign_out(self) -> None:
        """Take this machine's key off the account.

        Raises:
            SignedOut: it is on none.
            AccountUnavailable: it could not be done.
            Offline.
        """
        await self._transfers.ready()
        try:
            key = _encoded(await self._transfers.public_key())
            await self._ask("DELETE", f"/api/user/keys/{key}")
        except (Unauthorized, Missing):
            raise SignedOut("you are not currently signed in") from None
        except TrillamaError as error:
            raise AccountUnavailable(f"there was an error signing out: {error}") from None

    async def signin_url(self) -> str:
        """Where a browser can put this machine's key on an account; "" without a key."""
        try:
            key = _encoded(await self._transfers.public_key())
        except TrillamaError:
            return ""
        name = quote(socket.gethostname(), safe="")
        return f"https://{SERVICE}/connect?name={name}&key={key}"

    async def _ask(self, method: str, path: str) -> bytes:
        registry = places(SERVICE, self._transfers.settings.registries)[0]
        target = f"{path}?ts={int(time.time())}"
        headers = {"Authorization": await self._transfers.sign(f"{method},{target}")}
        if method == "POST":
            headers["Content-Length"] = "0"
        ask = Ask(method=method, url=registry.base + target, headers=headers, follow=False)
        async with Session(registry, self._transfers.ways, 1) as session:
            with trio.move_on_after(30):
                return await session.document(ask, REPLY_CAP)
        raise RegistryError(f"{registry.netloc} does not answer")


def _encoded(line: str) -> str:
    return base64.urlsafe_b64encode(line.encode()).decode().rstrip("=")
