"""The door of the command line: the table with all its verbs, and how errors leave it.

Errors are one line ``Error: ...`` on standard error and exit status 1, as in Ollama.
"""

from __future__ import annotations

import os
import sys

import click

from .base.errors import TrillamaError
from .commands import groups as groups
from .commands.table import table
from .commands.verbs import words

__all__ = ["main", "table"]


def main() -> None:
    """Run the command line; errors are one line and exit status 1."""
    _open_streams()
    try:
        code = table.main(prog_name="trillama", standalone_mode=False)
        sys.stdout.flush()
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
        _forget_output()
        sys.exit(0)
    except OSError as error:  # a full disk, a file that may not be read
        _forget_output()
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"Error: {where}{error.strerror or error}", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _open_streams() -> None:
    """See that there are three streams, whoever started us, and that any bytes are text to them.

    Of those that were closed nothing can be read, and what is written to them is lost. Otherwise
    the next file or connection would take their place.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this very one
            setattr(sys, name, os.fdopen(descriptor, mode, errors="replace"))
        elif hasattr(stream, "reconfigure") and name != "stderr":  # which escapes them
            stream.reconfigure(errors="replace")


def _forget_output() -> None:
    """Let what cannot be written go nowhere, or Python complains about it at the very end."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
