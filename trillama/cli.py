"""The command table: what there is, its arguments and flags. Each verb is one call into commands/.

A verb's module is imported when it runs, so that ``trillama list`` does not wait for the server's
imports. Errors are one line ``Error: ...`` on standard error and exit status 1, as in Ollama.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .base.errors import TrillamaError
from .base.settings import load_settings
from .commands.verbs import Table, Verb, completion_script, model_names, words

if TYPE_CHECKING:
    from .commands.client import Client
    from .models.store import ModelStore


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
        from .commands.client import Client
        from .commands.version import versions

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
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON")


@contextmanager
def server() -> Iterator[Client]:
    """A client of the configured server, which must be up."""
    from .commands.client import Client

    client = Client(load_settings().address)
    client.check()
    yield client


@contextmanager
def any_server() -> Iterator[Client]:
    """The configured server, or one of our own where that one would be on loopback and is down."""
    from .commands.client import Client, ServerDown
    from .commands.private_server import private_server

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


@verb("serve", most=0)
@arguments
@click.option("--host", help="Address to bind, instead of OLLAMA_HOST")
def serve(arguments: tuple[str, ...], host: str | None) -> None:
    """Start trillama"""
    from .commands.serve import serve as run_server

    run_server(host)


@verb("create", least=1, most=1)
@arguments
@click.option("-f", "--file", default="", help='Name of the Modelfile (default "Modelfile")')
@click.option("-q", "--quantize", default="", help="Quantize model to this level (e.g. q4_K_M)")
@click.option("--draft-quantize", default="", help="Quantize draft model to this level")
def create(arguments: tuple[str, ...], **flags: Any) -> None:
    """Create a model"""
    from .commands.create import CreateOptions, create_model

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
    from .commands.show import ShowOptions, shown

    options = ShowOptions(**flags)
    with server() as client:
        click.echo(shown(client, arguments[0], options), nl=False)


@verb("run", least=1)
@arguments
@click.option("--keepalive", default="", help="Duration to keep a model loaded (e.g. 5m)")
@click.option("--verbose", is_flag=True, help="Show timings for response")
@click.option("--insecure", is_flag=True, help="Use an insecure registry")
@click.option("--nowordwrap", is_flag=True, help="Don't wrap words to the next line automatically")
@click.option("--format", default="", help="Response format: json, a JSON schema, or its file")
@click.option("--think", is_flag=False, flag_value="true", help="Thinking: true, false or a level")
@click.option("--hidethinking", is_flag=True, help="Hide thinking output")
@click.option("--truncate", type=bool, is_flag=False, flag_value=True, help="Cut what is embedded")
@click.option("--dimensions", type=click.IntRange(0), default=0, help="Length of an embedding")
def run(arguments: tuple[str, ...], insecure: bool, **flags: Any) -> None:
    """Run a model"""
    from .commands.answer import RunOptions
    from .commands.pull import pulling

    options = RunOptions(**flags)
    options.request()
    model, *words = arguments
    piped = "" if sys.stdin.isatty() else sys.stdin.read()
    pieces = [piped, *words] if piped else words
    if not pieces and sys.stdin.isatty() and sys.stdout.isatty():
        from .commands.chat import chat as work
    else:
        from .commands.run import run_once

        work = partial(run_once, prompt=" ".join(pieces))
    with any_server() as client:
        pulling(client, model, partial(work, client, model, options=options), insecure=insecure)


@verb("stop", least=1, most=1)
@arguments
def stop(arguments: tuple[str, ...]) -> None:
    """Stop a running model"""
    from .commands.stop import stop_model

    with server() as client:
        stop_model(client, arguments[0])


@verb("pull", least=1, most=1)
@arguments
@click.option("--insecure", is_flag=True, help="Use an insecure registry")
@click.option("--print-urls", is_flag=True, help="Show where the files are, pull nothing")
def pull(arguments: tuple[str, ...], insecure: bool, print_urls: bool) -> None:
    """Pull a model from a registry"""
    from .commands import pull as pulls

    with server() as client:
        if print_urls:
            click.echo(pulls.print_urls(client, arguments[0], insecure=insecure), nl=False)
        else:
            pulls.pull_model(client, arguments[0], insecure=insecure)


@verb("push", least=1, most=1)
@arguments
@click.option("--insecure", is_flag=True, help="Use an insecure registry")
def push(arguments: tuple[str, ...], insecure: bool) -> None:
    """Push a model to a registry"""
    from .commands.push import push_model

    with server() as client:
        click.echo(push_model(client, arguments[0], insecure=insecure), nl=False)


@verb("signin", most=0)
@arguments
def signin(arguments: tuple[str, ...]) -> None:
    """Sign in to ollama.com"""
    from .commands.signin import sign_in

    with server() as client:
        click.echo(sign_in(client))


@verb("signout", most=0)
@arguments
def signout(arguments: tuple[str, ...]) -> None:
    """Sign out from ollama.com"""
    from .commands.signin import sign_out

    with server() as client:
        click.echo(sign_out(client))


@verb("whoami", most=0)
@arguments
def whoami(arguments: tuple[str, ...]) -> None:
    """Show who is signed in to ollama.com"""
    from .commands.signin import who_am_i

    with server() as client:
        click.echo(who_am_i(client))


@verb("list")
@arguments
@as_json
def list_models(arguments: tuple[str, ...], as_json: bool) -> None:
    """List models"""
    from .commands.list import installed

    with server() as client:
        click.echo(installed(client, *arguments[:1], as_json=as_json), nl=False)


@verb("ps")
@arguments
@as_json
def ps(arguments: tuple[str, ...], as_json: bool) -> None:
    """List running models"""
    from .commands.ps import running

    with server() as client:
        click.echo(running(client, *arguments[:1], as_json=as_json), nl=False)


@verb("cp", least=2, most=2)
@arguments
def cp(arguments: tuple[str, ...]) -> None:
    """Copy a model"""
    from .commands.cp import copy_model

    with server() as client:
        click.echo(copy_model(client, *arguments))


@verb("rm", least=1)
@arguments
def rm(arguments: tuple[str, ...]) -> None:
    """Remove a model"""
    from .commands.rm import remove_model

    with server() as client:
        for name in arguments:
            click.echo(remove_model(client, name))


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


@verb("inspect", least=1, most=1)
@arguments
@as_json
def inspect(arguments: tuple[str, ...], as_json: bool) -> None:
    """Show metadata and tensors of a GGUF file, web address or model"""
    from .commands.inspect import inspected

    click.echo(inspected(arguments[0], load_settings(), as_json=as_json), nl=False)


def store() -> ModelStore:
    """The configured models folder, without a server."""
    from .models.store import ModelStore

    return ModelStore(Path(load_settings().models))


@verb("prune", most=0)
@arguments
@click.option("--dry-run", is_flag=True, help="Only say what would go")
@click.option("--older", default="", help="Age of broken-off downloads that go (default 168h)")
@as_json
def prune(arguments: tuple[str, ...], dry_run: bool, older: str, as_json: bool) -> None:
    """Remove files that no model needs"""
    from .commands.housekeeping import prune as sweep

    click.echo(sweep(store(), older=older, dry_run=dry_run, json=as_json), nl=False)


@verb("du", most=0)
@arguments
@as_json
def du(arguments: tuple[str, ...], as_json: bool) -> None:
    """Show what models cost on the disk"""
    from .commands.housekeeping import du as usage

    click.echo(usage(store(), json=as_json), nl=False)


@verb("fsck", most=0)
@arguments
@click.option("--repair", is_flag=True, help="Put damaged files aside, so that a pull mends them")
@as_json
def fsck(arguments: tuple[str, ...], repair: bool, as_json: bool) -> None:
    """Verify every manifest and blob"""
    from .commands.housekeeping import fsck as check

    text, status = check(store(), repair=repair, json=as_json)
    click.echo(text, nl=False)
    raise click.exceptions.Exit(status)


@verb("export", least=2, most=2)
@arguments
def export(arguments: tuple[str, ...]) -> None:
    """Write a model to a tar file"""
    from .commands.archive import exported

    click.echo(exported(store(), arguments[0], Path(arguments[1])), nl=False)


@verb("import", least=1, most=1)
@arguments
@click.option("--as", "name", default="", help="Another name for the model")
@click.option("--replace", is_flag=True, help="Replace installed models of the same names")
def import_models(arguments: tuple[str, ...], name: str, replace: bool) -> None:
    """Bring in the models of a tar file"""
    from .commands.archive import imported

    click.echo(imported(store(), Path(arguments[0]), name=name, replace=replace), nl=False)


@verb("doctor", most=0)
@arguments
def doctor(arguments: tuple[str, ...]) -> None:
    """Check that this machine can answer, and say what is wrong"""
    from .commands.doctor import examine

    if not examine(load_settings()):
        raise click.exceptions.Exit(1)


def main() -> None:
    """Run the command line; errors are one line and exit status 1."""
    try:
        code = table.main(prog_name="trillama", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"Error: {words(error)}", err=True)
        sys.exit(1)
    except TrillamaError as error:
        click.echo(f"Error: {error.message}", err=True)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe has gone: nothing is wrong, and nothing more can be said.
        sys.stderr.close()
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)
