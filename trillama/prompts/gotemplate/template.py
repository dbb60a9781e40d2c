"""A compiled Go template: parsed once, executed often."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from trillama.base.errors import TemplateError

from ..budget import Budget, TooExpensive, spending
from . import nodes
from .executor import Executor
from .functions import FUNCTIONS
from .literals import to_bytes
from .parser import ParseError, parse
from .values import ExecError

SOURCE_CAP = 64 << 10
"""Characters of a template; real ones have some ten thousand."""


class Template:
    """The trees of one template. Immutable; may be executed in many threads.

    Attributes:
        trees: by name; "" is the main one.
    """

    def __init__(self, source: str, trees: Mapping[str, nodes.List]) -> None:
        self.source = source
        self.trees = trees

    def execute(self, data: Any, budget: Budget | None = None) -> str:
        """The text for ``data``.

        Args:
            budget: is charged; executions that make one prompt share one.

        Raises:
            TemplateError: it fails, or costs too much.
        """
        budget = budget or Budget()
        try:
            with spending(budget):
                text = Executor(self.source, self.trees, budget).run(data)
        except ExecError as error:
            raise TemplateError(str(error)) from None
        except TooExpensive as error:
            raise TemplateError(str(error)) from None
        except (RecursionError, MemoryError):
            raise TemplateError("the template nests too deeply") from None
        return whole(text)


def whole(text: str) -> str:
    """``text`` with bytes that are no characters replaced, once the pieces are joined."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return to_bytes(text).decode("utf-8", "replace")
    return text


@functools.lru_cache(maxsize=32)
def compile_template(source: str) -> Template:
    """Compile a Go template; the last 32 are remembered.

    Raises:
        TemplateError: it is none, or too long.
    """
    if len(source) > SOURCE_CAP:
        raise TemplateError(f"the template is longer than {SOURCE_CAP} characters")
    try:
        return Template(source, parse(source, FUNCTIONS))
    except ParseError as error:
        raise TemplateError(str(error)) from None
    except RecursionError:
        raise TemplateError("the template nests too deeply") from None
