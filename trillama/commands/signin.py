"""``trillama signin``, ``signout`` and ``whoami``: this machine's key and the account it is on."""

from __future__ import annotations

from .client import Client, ServerRefused

SIGNED_OUT = 401


def _account(client: Client) -> tuple[str, str]:
    """Name of the account and, where nobody is signed in, how to: one of them is "".

    Raises:
        ServerRefused: the service cannot be asked.
    """
    try:
        return str((client.call("POST", "/api/me") or {}).get("name", "")), ""
    except ServerRefused as error:
        if error.status != SIGNED_OUT:
            raise
        return "", f"To sign in, open this page in a browser:\n    {error.signin_url}\n"


def signin_hint(client: Client) -> str:
    """How to sign in; "" for who is."""
    return _account(client)[1]


def sign_in(client: Client) -> str:
    """What to do, or who is signed in already."""
    name, hint = _account(client)
    return hint or f"You are already signed in as user '{name}'\n"


def sign_out(client: Client) -> str:
    """Sign out, and say so."""
    try:
        client.call("POST", "/api/signout")
    except ServerRefused as error:
        if error.status != SIGNED_OUT:
            raise
        return "You are not signed in to ollama.com\n"
    return "You have signed out of ollama.com\n"


def who_am_i(client: Client) -> str:
    """The account's name, or that there is none."""
    return _account(client)[0] or "You are not signed in to ollama.com"
