"""The command table itself: how a verb joins it, and what most verbs begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trillama.base.settings import load_settings

from .verbs import Table, Verb, model_names

if TYPE_CHECKING:
    from ..models.store import ModelStore
    from .client import Client


@click.group(
    cls=Table,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.option("-v", "--version", is_flag=True, help="Show version information")
@click.pass_context
def table(ctx: click.Context, version: bool) -> None:
    """Large language model runner"""
    if version:
        from .client import Client
        from .version import versions

        click.echo(versions(Client(load_settings().address)), nl=False)
    elif ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def verb(
    name: str, least: int = 0, most: int | None = None
) -> Callable[[Callable[..., None]], click.Command]:
    """Add a command that takes ``least`` to ``most`` arguments (None: any number)."""

    def add(function: Callable[..., None]) -> click.Command:
        return table.command(name, cls=Verb, least=least, most=most)(function)

    return add


arguments = click.argument("arguments", nargs=-1, shell_complete=model_names)
quiet = click.option("--quiet", is_flag=True, help="Show no progress")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON")


@contextmanager
def server() -> Iterator[Client]:
    """A client of the configured server, which must be up."""
    from .client import Client

    client = Client(load_settings().address)
    client.check()
    yield client


@contextmanager
def any_server() -> Iterator[Client]:
    """The configured server, or one of our own where that one would be on loopback and is down."""
    from .client import Client, ServerDown
    from .private_server import private_server

    client = Client(load_settings().address)
    try:
        client.check()
    except ServerDown:
        if not client.address.loopback:
            raise
        with private_server() as own:
            yield own
    else:
        yield client


def store() -> ModelStore:
    """The configured models folder, without a server."""
    from ..models.store import ModelStore

    return ModelStore(Path(load_settings().models))
