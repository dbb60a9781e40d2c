"""How the command line words itself: commands and their table, as Ollama's users know them."""

from __future__ import annotations

from typing import Any

import click


class Verb(click.Command):
    """A command that words wrong arguments as Ollama does and knows its aliases."""

    def __init__(self, *args: Any, least: int = 0, most: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.least = least
        self.most = most

    def invoke(self, ctx: click.Context) -> Any:
        """Check the number of arguments, then run."""
        given = len(ctx.params.get("arguments", ()))
        if self.least == self.most and given != self.least:
            raise click.UsageError(f"accepts {self.least} arg(s), received {given}")
        if given < self.least:
            raise click.UsageError(f"requires at least {self.least} arg(s), only received {given}")
        return super().invoke(ctx)


ALIASES = {"start": "serve", "ls": "list", "login": "signin", "logout": "signout"}


class Table(click.Group):
    """Commands in the order they were added, with aliases."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in table order."""
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by its name or alias."""
        return super().get_command(ctx, ALIASES.get(cmd_name, cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click, but an unknown command is named as in Ollama."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(f'unknown command "{args[0]}" for "trillama"')
        return super().resolve_command(ctx, args)
