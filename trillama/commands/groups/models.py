"""Verbs for the models there are."""

from __future__ import annotations

import sys
from typing import Any

import click

from trillama.base.settings import load_settings

from ..table import any_server, arguments, as_json, quiet, server, verb


@verb("create", least=1, most=1)
@arguments
@click.option("-f", "--file", default="", help='Name of the Modelfile (default "Modelfile")')
@click.option("-q", "--quantize", default="", help="Quantize model to this level (e.g. q4_K_M)")
@quiet
@click.option("--draft-quantize", default="", help="Quantize draft model to this level")
def create(arguments: tuple[str, ...], **flags: Any) -> None:
    """Create a model"""
    from ..create import CreateOptions, create_model

    with server() as client:
        create_model(client, arguments[0], CreateOptions(**flags), load_settings())


@verb("show", least=1, most=1)
@arguments
@click.option("--license", is_flag=True, help="Show license of a model")
@click.option("--modelfile", is_flag=True, help="Show Modelfile of a model")
@click.option("--parameters", is_flag=True, help="Show parameters of a model")
@click.option("--template", is_flag=True, help="Show template of a model")
@click.option("--system", is_flag=True, help="Show system message of a model")
@click.option("-v", "--verbose", is_flag=True, help="Show detailed model information")
def show(arguments: tuple[str, ...], **flags: bool) -> None:
    """Show information for a model"""
    from ..show import ShowOptions, shown

    options = ShowOptions(**flags)
    with server() as client:
        click.echo(shown(client, arguments[0], options), nl=False)


@verb("list")
@arguments
@as_json
def list_models(arguments: tuple[str, ...], as_json: bool) -> None:
    """List models"""
    from ..list import installed

    with server() as client:
        click.echo(installed(client, *arguments[:1], as_json=as_json), nl=False)


@verb("cp", least=2, most=2)
@arguments
def cp(arguments: tuple[str, ...]) -> None:
    """Copy a model"""
    from ..cp import copy_model

    with server() as client:
        click.echo(copy_model(client, *arguments))


@verb("rm", least=1)
@arguments
def rm(arguments: tuple[str, ...]) -> None:
    """Remove a model"""
    from ..rm import remove_model

    with server() as client:
        for name in arguments:
            click.echo(remove_model(client, name))


@verb("inspect", least=1, most=1)
@arguments
@as_json
def inspect(arguments: tuple[str, ...], as_json: bool) -> None:
    """Show metadata and tensors of a GGUF file, web address or model"""
    from ..inspect import inspected

    click.echo(inspected(arguments[0], load_settings(), as_json=as_json), nl=False)


@verb("tokenize", least=1)
@arguments
@click.option("--count", is_flag=True, help="Only the number of tokens")
@as_json
def tokenize(arguments: tuple[str, ...], count: bool, as_json: bool) -> None:
    """Show the tokens of a text, from the arguments or stdin"""
    from ..texts import tokenized

    model, *words = arguments
    text = " ".join(words) if words else sys.stdin.read()
    with any_server() as client:
        click.echo(tokenized(client, model, text, count=count, as_json=as_json), nl=False)


@verb("embed", least=1)
@arguments
@click.option("--dimensions", type=click.IntRange(1), help="Length of the vectors")
@click.option("--truncate", type=bool, help="Cut texts that are too long (default true)")
def embed(arguments: tuple[str, ...], **flags: Any) -> None:
    """Show the vector of each text, from the arguments or the lines of stdin"""
    from ..texts import embedded

    model, *texts = arguments
    fields = {name: value for name, value in flags.items() if value is not None}
    with any_server() as client:
        for line in embedded(client, model, texts or sys.stdin, fields):
            click.echo(line)
