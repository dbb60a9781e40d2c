"""Verbs that look after the models folder, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..table import arguments, as_json, quiet, store, verb


@verb("prune", most=0)
@arguments
@click.option("--dry-run", is_flag=True, help="Only say what would go")
@click.option("--older", default="", help="Age of broken-off downloads that go (default 168h)")
@as_json
def prune(arguments: tuple[str, ...], dry_run: bool, older: str, as_json: bool) -> None:
    """Remove files that no model needs"""
    from ..housekeeping import prune as sweep

    click.echo(sweep(store(), older=older, dry_run=dry_run, json=as_json), nl=False)


@verb("du", most=0)
@arguments
@as_json
def du(arguments: tuple[str, ...], as_json: bool) -> None:
    """Show what models cost on the disk"""
    from ..housekeeping import du as usage

    click.echo(usage(store(), json=as_json), nl=False)


@verb("fsck", most=0)
@arguments
@click.option("--repair", is_flag=True, help="Put damaged files aside, so that a pull mends them")
@as_json
def fsck(arguments: tuple[str, ...], repair: bool, as_json: bool) -> None:
    """Verify every manifest and blob"""
    from ..housekeeping import fsck as check

    text, status = check(store(), repair=repair, json=as_json)
    click.echo(text, nl=False)
    raise click.exceptions.Exit(status)


@verb("export", least=2, most=2)
@arguments
@quiet
def export(arguments: tuple[str, ...], quiet: bool) -> None:
    """Write a model to a tar file"""
    from ..archive import exported

    click.echo(exported(store(), arguments[0], Path(arguments[1]), quiet=quiet), nl=False)


@verb("import", least=1, most=1)
@arguments
@click.option("--as", "name", default="", help="Another name for the model")
@click.option("--replace", is_flag=True, help="Replace installed models of the same names")
@quiet
def import_models(arguments: tuple[str, ...], **flags: Any) -> None:
    """Bring in the models of a tar file"""
    from ..archive import imported

    click.echo(imported(store(), Path(arguments[0]), **flags), nl=False)
