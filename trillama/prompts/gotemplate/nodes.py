"""The tree of a parsed Go template; every node prints as it was written, for errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from .literals import quote


class Text(msgspec.Struct, frozen=True):
    """What is printed as it is, already trimmed."""

    at: int
    text: str


class Dot(msgspec.Struct, frozen=True):
    """``.``"""

    at: int

    def __str__(self) -> str:
        return "."


class Nil(msgspec.Struct, frozen=True):
    """``nil``"""

    at: int

    def __str__(self) -> str:
        return "nil"


class Field(msgspec.Struct, frozen=True):
    """``.A.B``"""

    at: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        return "".join(f".{name}" for name in self.names)


class Variable(msgspec.Struct, frozen=True):
    """``$x.A.B``; the first name holds the dollar."""

    at: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(self.names)


class Function(msgspec.Struct, frozen=True):
    """The name of a function."""

    at: int
    name: str

    def __str__(self) -> str:
        return self.name


class Literal(msgspec.Struct, frozen=True):
    """A string, number, character or bool; ``source`` is how it was written."""

    at: int
    value: str | bool | int | float | complex
    source: str

    def __str__(self) -> str:
        return self.source


class Pipe(msgspec.Struct, frozen=True):
    """Commands joined by ``|``; ``names`` are the variables it sets.

    Attributes:
        assigns: by ``=``, not ``:=``.
    """

    at: int
    commands: tuple[Command, ...]
    names: tuple[str, ...] = ()
    assigns: bool = False

    def __str__(self) -> str:
        sign = "=" if self.assigns else ":="
        declared = f"{', '.join(self.names)} {sign} " if self.names else ""
        return declared + " | ".join(map(str, self.commands))


class Chain(msgspec.Struct, frozen=True):
    """``(pipe).A.B`` or ``function.A.B``."""

    at: int
    start: Operand
    names: tuple[str, ...]

    def __str__(self) -> str:
        return _operand(self.start) + "".join(f".{name}" for name in self.names)


class Command(msgspec.Struct, frozen=True):
    """An operand, and arguments if it is a function or a method."""

    at: int
    args: tuple[Operand, ...]

    def __str__(self) -> str:
        return " ".join(map(_operand, self.args))


Operand: TypeAlias = Dot | Nil | Field | Variable | Function | Literal | Pipe | Chain


def _operand(node: Operand) -> str:
    return f"({node})" if isinstance(node, Pipe) else str(node)


class Action(msgspec.Struct, frozen=True):
    """``{{ pipe }}``"""

    at: int
    pipe: Pipe


class Branch(msgspec.Struct, frozen=True):
    """``if``, ``with`` and ``range``; ``orelse`` is None without an else."""

    at: int
    pipe: Pipe
    body: List
    orelse: List | None


class If(Branch, frozen=True):
    """``{{ if }}``"""


class With(Branch, frozen=True):
    """``{{ with }}``"""


class Range(Branch, frozen=True):
    """``{{ range }}``"""


class Break(msgspec.Struct, frozen=True):
    """``{{ break }}``"""

    at: int


class Continue(msgspec.Struct, frozen=True):
    """``{{ continue }}``"""

    at: int


class Call(msgspec.Struct, frozen=True):
    """``{{ template "name" pipe }}``"""

    at: int
    name: str
    pipe: Pipe

    def __str__(self) -> str:
        return f"{{{{template {quote(self.name)} {self.pipe}}}}}"


Node: TypeAlias = Text | Action | Branch | Break | Continue | Call
List: TypeAlias = tuple[Node, ...]


def pipes(nodes: List) -> Iterator[Pipe]:
    """Every pipe of a list and of the lists in it, in order of the source."""
    for node in nodes:
        if isinstance(node, Action | Call | Branch):
            yield node.pipe
        if isinstance(node, Branch):
            yield from pipes(node.body)
            yield from pipes(node.orelse or ())
