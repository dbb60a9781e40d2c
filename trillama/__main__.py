"""``python -m trillama`` is the command line."""

from .cli import main

main()
