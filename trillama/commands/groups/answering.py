"""Verbs that answer, and what keeps models loaded for it."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import click

from ..table import any_server, arguments, as_json, quiet, server, verb


@verb("serve", most=0)
@arguments
@click.option("--host", help="Address to bind, instead of OLLAMA_HOST")
def serve(arguments: tuple[str, ...], host: str | None) -> None:
    """Start trillama"""
    from ..serve import serve as run_server

    run_server(host)


@verb("run", least=1)
@arguments
@click.option("--keepalive", default="", help="Duration to keep a model loaded (e.g. 5m)")
@click.option("--verbose", is_flag=True, help="Show timings for response")
@click.option("--insecure", is_flag=True, help="Use an insecure registry")
@click.option("--nowordwrap", is_flag=True, help="Don't wrap words to the next line automatically")
@click.option("--markdown", is_flag=True, help="Render Markdown on a terminal")
@quiet
@click.option("--format", default="", help="Response format: json, a JSON schema, or its file")
@click.option("--think", is_flag=False, flag_value="true", help="Thinking: true, false or a level")
@click.option("--hidethinking", is_flag=True, help="Hide thinking output")
@click.option("--truncate", type=bool, is_flag=False, flag_value=True, help="Cut what is embedded")
@click.option("--dimensions", type=click.IntRange(0), default=0, help="Length of an embedding")
def run(arguments: tuple[str, ...], insecure: bool, **flags: Any) -> None:
    """Run a model"""
    from ..answer import RunOptions
    from ..pull import pulling

    options = RunOptions(**flags)
    options.request()
    model, *words = arguments
    piped = "" if sys.stdin.isatty() else sys.stdin.read()
    pieces = [piped, *words] if piped else words
    if not pieces and sys.stdin.isatty() and sys.stdout.isatty():
        from ..chat import chat as work
    else:
        from ..run import run_once

        work = partial(run_once, prompt=" ".join(pieces))
    with any_server() as client:
        work = partial(work, client, model, options=options)
        pulling(client, model, work, insecure=insecure, quiet=options.quiet)


@verb("stop", least=1, most=1)
@arguments
def stop(arguments: tuple[str, ...]) -> None:
    """Stop a running model"""
    from ..stop import stop_model

    with server() as client:
        stop_model(client, arguments[0])


@verb("ps")
@arguments
@as_json
def ps(arguments: tuple[str, ...], as_json: bool) -> None:
    """List running models"""
    from ..ps import running

    with server() as client:
        click.echo(running(client, *arguments[:1], as_json=as_json), nl=False)
