"""The verbs of the command line by kind. Importing this adds them all to the table.

A verb's own module is imported when it runs, so that ``trillama list`` does not wait for the
server's imports.
"""

from . import answering, explaining, keeping, models, registries

__all__ = ["answering", "explaining", "keeping", "models", "registries"]
