"""The door of the command line: the table with all its verbs, and how errors leave it.

Errors are one line ``Error: ...`` on standard error and exit status 1, as in Ollama.
"""

from __future__ import annotations

import sys

import click

from .base.errors import TrillamaError
from .commands import groups as groups
from .commands.table import table
from .commands.verbs import words

__all__ = ["main", "table"]


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
