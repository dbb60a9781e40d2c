"""Verbs that talk with a registry."""

from __future__ import annotations

import click

from ..table import arguments, quiet, server, verb


@verb("pull", least=1, most=1)
@arguments
@click.option("--insecure", is_flag=True, help="Use an insecure registry")
@quiet
@click.option("--print-urls", is_flag=True, help="Show where the files are, pull nothing")
def pull(arguments: tuple[str, ...], insecure: bool, quiet: bool, print_urls: bool) -> None:
    """Pull a model from a registry"""
    from .. import pull as pulls

    with server() as client:
        if print_urls:
            click.echo(pulls.print_urls(client, arguments[0], insecure=insecure), nl=False)
        else:
            pulls.pull_model(client, arguments[0], insecure=insecure, quiet=quiet)


@verb("push", least=1, most=1)
@arguments
@click.option("--insecure", is_flag=True, help="Use an insecure registry")
@quiet
def push(arguments: tuple[str, ...], insecure: bool, quiet: bool) -> None:
    """Push a model to a registry"""
    from ..push import push_model

    with server() as client:
        click.echo(push_model(client, arguments[0], insecure=insecure, quiet=quiet), nl=False)


@verb("signin", most=0)
@arguments
def signin(arguments: tuple[str, ...]) -> None:
    """Sign in to ollama.com"""
    from ..signin import sign_in

    with server() as client:
        click.echo(sign_in(client))


@verb("signout", most=0)
@arguments
def signout(arguments: tuple[str, ...]) -> None:
    """Sign out from ollama.com"""
    from ..signin import sign_out

    with server() as client:
        click.echo(sign_out(client))


@verb("whoami", most=0)
@arguments
def whoami(arguments: tuple[str, ...]) -> None:
    """Show who is signed in to ollama.com"""
    from ..signin import who_am_i

    with server() as client:
        click.echo(who_am_i(client))
