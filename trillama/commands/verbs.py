"""How the command line words itself: commands and their table, as Ollama's users know them."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import get_completion_class

from trillama.base.errors import BadRequest, TrillamaError
from trillama.base.settings import load_settings

EXAMPLES = {
    "serve": "OLLAMA_KEEP_ALIVE=1h trillama serve",
    "create": "trillama create me -f Modelfile",
    "show": "trillama show tiny --parameters",
    "run": 'trillama run tiny "What is the capital of France?"',
    "stop": "trillama stop tiny",
    "pull": "trillama pull llama3.2",
    "push": "trillama push me/mine",
    "signin": "trillama signin",
    "signout": "trillama signout",
    "whoami": "trillama whoami",
    "list": "trillama list | awk '{print $1}'",
    "ps": "trillama ps --json",
    "cp": "trillama cp tiny mine",
    "rm": "trillama rm mine",
    "embed": "trillama embed all-minilm < texts.txt",
    "tokenize": 'trillama tokenize tiny "Hello, world"',
    "inspect": "trillama inspect tiny --json",
    "du": "trillama du",
    "prune": "trillama prune",
    "fsck": "trillama fsck",
    "export": "trillama export tiny tiny.tar",
    "import": "trillama import tiny.tar --as copy",
    "bench": "trillama bench load --model tiny --clients 8",
    "config": "trillama config",
    "completion": 'eval "$(trillama completion bash)"',
    "help": "trillama help run",
    "doctor": "trillama doctor",
}
TAKE_MODELS = {"show": 1, "run": 1, "stop": 1, "push": 1, "cp": 1, "rm": 1000}
TAKE_MODELS |= {"tokenize": 1, "embed": 1, "export": 1, "inspect": 1}
"""Commands whose first arguments name installed models, and how many of them."""

SHELLS = ("bash", "zsh", "fish")


def model_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Completions of an argument that names an installed model; none while no server runs."""
    from .client import Client

    given = len(ctx.params.get(param.name or "") or ())
    if given >= TAKE_MODELS.get(ctx.command.name or "", 0):
        return []
    try:
        models = Client(load_settings().address).call("GET", "/api/tags")["models"] or ()
    except TrillamaError:
        return []
    names = (one["name"].removesuffix(":latest") for one in models)
    return [name for name in names if name.startswith(incomplete)]


def completion_script(table: click.Command, shell: str) -> str:
    """What a shell evaluates to complete our commands.

    Raises:
        BadRequest: a shell that click does not know.
    """
    kind = get_completion_class(shell) if shell in SHELLS else None
    if kind is None:
        raise BadRequest(f'unknown shell "{shell}": bash, zsh or fish')
    return kind(table, {}, "trillama", "_TRILLAMA_COMPLETE").source()


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

    def format_epilog(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """One example of its use."""
        if example := EXAMPLES.get(self.name or ""):
            formatter.write(f"\nExample:\n  {example}\n")


ALIASES = {"start": "serve", "ls": "list", "login": "signin", "logout": "signout"}


class Table(click.Group):
    """Commands in the order they were added, with aliases."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of their examples."""
        return sorted(self.commands, key=list(EXAMPLES).index)

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


def words(error: click.ClickException) -> str:
    """What to print of a wrong command line."""
    if isinstance(error, click.NoSuchOption):
        name = error.option_name
        if name.startswith("--"):
            return f"unknown flag: {name}"
        return f"unknown shorthand flag: '{name[1:2]}' in {name}"
    return error.format_message()
