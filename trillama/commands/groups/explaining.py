"""Verbs that explain: help, completion, a check of the machine."""

from __future__ import annotations

import click

from trillama.base.settings import load_settings

from ..table import arguments, as_json, table, verb
from ..verbs import Verb, completion_script


@verb("completion", least=1, most=1)
@arguments
def completion(arguments: tuple[str, ...]) -> None:
    """Print what makes a shell complete: bash, zsh or fish"""
    click.echo(completion_script(table, arguments[0]))


@verb("help")
@arguments
@click.pass_context
def help_on(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Help about any command"""
    parent = ctx.parent or ctx
    command = table.get_command(parent, arguments[0]) if arguments else None
    if command is None:
        click.echo(parent.get_help())
    else:
        with click.Context(command, parent=parent, info_name=arguments[0]) as inner:
            click.echo(command.get_help(inner))


@verb("doctor", most=0)
@arguments
def doctor(arguments: tuple[str, ...]) -> None:
    """Check that this machine can answer, and say what is wrong"""
    from ..doctor import examine

    if not examine(load_settings()):
        raise click.exceptions.Exit(1)


@verb("config", most=0)
@arguments
@as_json
def config(arguments: tuple[str, ...], as_json: bool) -> None:
    """Show every setting, its value and where it comes from"""
    from ..config import configured

    click.echo(configured(as_json=as_json), nl=False)


@table.command(
    "bench",
    cls=Verb,
    least=1,
    context_settings={"ignore_unknown_options": True, "help_option_names": ["-h"]},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure a server: the programs of bench/, in a checkout"""
    from ..bench import measure

    measure(arguments[0], arguments[1:])
