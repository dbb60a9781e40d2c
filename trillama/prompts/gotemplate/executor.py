"""Executes the trees of a Go template.

Evaluation follows text/template with ``missingkey=zero``: what a map of any values does not hold is
nil. Errors name the place as Go does. Every step is charged to a ``Budget``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from ..budget import STEP, Budget
from . import nodes
from .functions import FUNCTIONS, Function
from .literals import MAX_INT, quote, to_bytes
from .printing import Printer
from .values import (
    NO_VALUE,
    ExecError,
    Struct,
    is_true,
    methods_of,
    type_name,
)

MAX_DEPTH = 60
"""Templates that call each other; Go allows more, but a prompt needs two or three."""

BUILT = 4
"""Charges for each character a function builds: it may be kept in a variable."""


class Jump(enum.Enum):
    """Why a list of nodes was left early."""

    BREAK = enum.auto()
    CONTINUE = enum.auto()


class Executor:
    """One execution.

    Args:
        source: where the trees come from, for errors.
        trees: by name; "" is the main one.
        budget: is charged.
    """

    def __init__(self, source: str, trees: Mapping[str, nodes.List], budget: Budget) -> None:
        self._source = source
        self._trees = trees
        self._budget = budget
        self._variables: list[tuple[str, Any]] = []
        self._output = Printer(budget)
        self._name = ""
        self._depth = 0
        self._place: Any = None
        self._item: Any = NO_VALUE

    def run(self, data: Any) -> str:
        """The text for ``data``.

        Raises:
            ExecError: with Go's text, place included.
            TooExpensive: it does too much.
        """
        self._variables = [("$", data)]
        try:
            self._list(self._trees[""], data)
        except ExecError as error:
            raise ExecError(f"{self._where()}: {error}") from None
        return self._output.text

    def _where(self) -> str:
        place = self._place
        before = to_bytes(self._source[: place.at])
        column = len(before) - (before.rfind(b"\n") + 1)
        line = before.count(b"\n") + 1
        return f"template: :{line}:{column}: executing {quote(self._name)} at <{place}>"

    # Statements.

    def _list(self, tree: nodes.List, dot: Any) -> Jump | None:
        for node in tree:
            jump = self._statements[type(node)](self, node, dot)
            if jump is not None:
                return jump
        return None

    def _text(self, node: nodes.Text, dot: Any) -> None:
        self._output.write(node.text)

    def _action(self, node: nodes.Action, dot: Any) -> None:
        value = self._pipe(node.pipe, dot)
        if node.pipe.names:
            return
        self._place = node.pipe
        if isinstance(value, str):
            self._output.write(value)
        elif value is NO_VALUE:
            self._output.write("<no value>")
        else:
            self._output.value(value)

    def _if(self, node: nodes.Branch, dot: Any) -> Jump | None:
        known = len(self._variables)
        value = self._pipe(node.pipe, dot)
        try:
            if is_true(value):
                return self._list(node.body, value if isinstance(node, nodes.With) else dot)
            return self._list(node.orelse or (), dot)
        finally:
            del self._variables[known:]

    def _range(self, node: nodes.Range, dot: Any) -> Jump | None:
        known = len(self._variables)
        value = self._pipe(node.pipe, dot)
        pairs = self._pairs(value, len(node.pipe.names))
        inside = len(self._variables)
        turned = False
        for key, item in pairs:
            turned = True
            self._item = NO_VALUE if isinstance(value, int) else item
            self._budget.charge(STEP)
            self._set_loop(node.pipe, key, item)
            jump = self._list(node.body, item)
            del self._variables[inside:]
            if jump is Jump.BREAK:
                break
        jump = None if turned else self._list(node.orelse or (), dot)
        del self._variables[known:]
        return jump

    def _set_loop(self, pipe: nodes.Pipe, key: Any, item: Any) -> None:
        if not pipe.names:
            return
        values = (item,) if len(pipe.names) == 1 else (key, item)
        first = len(self._variables) - len(pipe.names)
        for at, (name, value) in enumerate(zip(pipe.names, values, strict=True)):
            if pipe.assigns:
                self._assign(name, value)
            else:
                self._variables[first + at] = (name, value)

    def _pairs(self, value: Any, names: int) -> Iterable[tuple[Any, Any]]:
        if value is None or value is NO_VALUE:
            return ()
        if isinstance(value, dict):
            return sorted(value.items())
        if isinstance(value, list | tuple):
            return enumerate(value)
        if isinstance(value, int) and not isinstance(value, bool):
            if names > 1:
                raise ExecError(f"can't use {value} to iterate over more than one variable")
            return ((NO_VALUE, type(value)(turn)) for turn in range(value))
        shown = Printer(self._budget)
        shown.value(value)
        raise ExecError(f"range can't iterate over {shown.text}")

    def _break(self, node: nodes.Break, dot: Any) -> Jump:
        return Jump.BREAK

    def _continue(self, node: nodes.Continue, dot: Any) -> Jump:
        return Jump.CONTINUE

    def _template(self, node: nodes.Call, dot: Any) -> None:
        self._place = node
        tree = self._trees.get(node.name)
        if tree is None:
            raise ExecError(f"template {quote(node.name)} not defined")
        if self._depth == MAX_DEPTH:
            raise ExecError(f"exceeded maximum template depth ({MAX_DEPTH})")
        self._budget.charge(STEP)
        value = self._pipe(node.pipe, dot)
        outside = self._variables, self._name
        self._variables, self._name = [("$", value)], node.name
        self._depth += 1
        self._list(tree, value)
        self._depth -= 1
        self._variables, self._name = outside

    _statements: ClassVar[dict[type, Callable[[Any, Any, Any], Jump | None]]] = {
        nodes.Text: _text,
        nodes.Action: _action,
        nodes.If: _if,
        nodes.With: _if,
        nodes.Range: _range,
        nodes.Break: _break,
        nodes.Continue: _continue,
        nodes.Call: _template,
    }

    # Values.

    def _assign(self, name: str, value: Any) -> None:
        for at in range(len(self._variables) - 1, -1, -1):
            if self._variables[at][0] == name:
                self._variables[at] = (name, value)
                return
        raise ExecError(f"undefined variable: {name}")

    def _variable(self, name: str) -> Any:
        self._budget.charge(len(self._variables) // 4)
        for known, value in reversed(self._variables):
            if known == name:
                return value
        raise ExecError(f"undefined variable: {name}")

    def _pipe(self, pipe: nodes.Pipe, dot: Any) -> Any:
        self._place = pipe
        value: Any = _ABSENT
        for command in pipe.commands:
            self._budget.charge(1)
            value = self._command(command, dot, value)
            if value is None:
                value = NO_VALUE
        for name in pipe.names:
            if pipe.assigns:
                self._assign(name, value)
            else:
                self._variables.append((name, value))
        return value

    def _command(self, command: nodes.Command, dot: Any, final: Any) -> Any:
        first = command.args[0]
        call = _Call(command.args[1:], final, dot, command)
        if isinstance(first, nodes.Function):
            return self._function(first, call)
        if isinstance(first, nodes.Field | nodes.Chain | nodes.Variable):
            return self._operand(first, dot, call)
        if not isinstance(first, nodes.Pipe):
            self._place = first
        if call.args or final is not _ABSENT:
            raise ExecError(f"can't give argument to non-function {first}")
        if isinstance(first, nodes.Nil):
            raise ExecError("nil is not a command")
        return self._operand(first, dot, call)

    def _operand(self, node: nodes.Operand, dot: Any, call: _Call) -> Any:
        """Value of an operand; only functions and methods use ``call``."""
        self._place = node
        if isinstance(node, nodes.Field):
            return self._chain(dot, node.names, node, call)
        if isinstance(node, nodes.Variable):
            value = self._variable(node.names[0])
            if len(node.names) > 1:
                return self._chain(value, node.names[1:], node, call)
            if call.args or call.final is not _ABSENT:
                raise ExecError(f"can't give argument to non-function {node}")
            return value
        if isinstance(node, nodes.Literal):
            return self._literal(node)
        if isinstance(node, nodes.Pipe):
            return self._pipe(node, dot)
        if isinstance(node, nodes.Function):
            return self._function(node, call)
        if isinstance(node, nodes.Chain):
            return self._chained(node, dot, call)
        return dot

    def _chained(self, node: nodes.Chain, dot: Any, call: _Call) -> Any:
        if isinstance(node.start, nodes.Nil):
            raise ExecError(f"indirection through explicit nil in {node}")
        value = self._operand(node.start, dot, _Call((), _ABSENT, dot, node.start))
        return self._chain(value, node.names, node, call)

    def _literal(self, node: nodes.Literal) -> Any:
        if type(node.value) is int and node.value > MAX_INT:
            raise ExecError(f"{node.source} overflows int")
        return node.value

    def _chain(self, value: Any, names: Sequence[str], node: Any, call: _Call) -> Any:
        """``value.A.B``; the last may be a method and gets the arguments."""
        boxed = False
        for at, name in enumerate(names):
            last = at == len(names) - 1
            found = self._field(value, name, call if last else None, boxed)
            boxed = isinstance(value, dict)
            value = found
        return value

    def _field(self, value: Any, name: str, call: _Call | None, boxed: bool) -> Any:
        self._budget.charge(1)
        if value is NO_VALUE:
            return NO_VALUE
        if value is None:
            raise ExecError(f"nil pointer evaluating interface {{}}.{name}")
        given = call is not None and (call.args or call.final is not _ABSENT)
        method = methods_of(value).get(name)
        if method is not None:
            if call is not None and given:
                got = len(call.args) + (call.final is not _ABSENT)
                raise ExecError(f"wrong number of args for {name}: want 0 got {got}")
            return method(value)
        if isinstance(value, Struct) and name in value.fields:
            if given:
                raise ExecError(f"{name} has arguments but cannot be invoked as function")
            return value.fields[name]
        if isinstance(value, dict):
            if given:
                raise ExecError(f"{name} is not a method but has arguments")
            return value.get(name)
        kind = "interface {}" if boxed or value is self._item else type_name(value)
        raise ExecError(f"can't evaluate field {name} in type {kind}")

    # Functions.

    def _function(self, node: nodes.Function, call: _Call) -> Any:
        self._place = node
        function = FUNCTIONS[node.name]
        self._check_count(node.name, function, call)
        if node.name in ("and", "or"):
            return self._short_circuit(node.name, call)
        args = [self._argument(arg, call.dot, function, at) for at, arg in enumerate(call.args)]
        if call.final is not _ABSENT:
            args.append(self._accept(call.final, function, len(args)))
        if node.name == "call":
            args.insert(0, str(call.args[0]) if call.args else _reflected(call.final))
        try:
            value = function.run(args, self._budget)
        except ExecError as error:
            self._place = call.node
            raise ExecError(f"error calling {node.name}: {error}") from None
        if isinstance(value, str):
            self._budget.charge(BUILT * (len(value) if value.isascii() else 4 * len(value)))
        return value

    def _check_count(self, name: str, function: Function, call: _Call) -> None:
        got = len(call.args) + (call.final is not _ABSENT)
        if function.most is None:
            if got < function.least:
                raise ExecError(
                    f"wrong number of args for {name}: want at least {function.least} "
                    f"got {len(call.args)}"
                )
        elif got != function.most:
            raise ExecError(f"wrong number of args for {name}: want {function.most} got {got}")

    def _short_circuit(self, name: str, call: _Call) -> Any:
        value: Any = NO_VALUE
        for at, arg in enumerate(call.args):
            value = self._argument(arg, call.dot, FUNCTIONS[name], at)
            if is_true(value) == (name == "or"):
                return value
        return value if call.final is _ABSENT else call.final

    def _argument(self, node: nodes.Operand, dot: Any, function: Function, at: int) -> Any:
        self._place = node
        text = at < function.texts
        if isinstance(node, nodes.Nil):
            if text:
                raise ExecError("cannot assign nil to string")
            return NO_VALUE if function.reflects else None
        if isinstance(node, nodes.Literal):
            if text and not isinstance(node.value, str):
                raise ExecError(f"expected string; found {node}")
            return self._literal(node)
        return self._accept(self._operand(node, dot, _Call((), _ABSENT, dot, node)), function, at)

    def _accept(self, value: Any, function: Function, at: int) -> Any:
        if at < function.texts and not isinstance(value, str):
            if value is NO_VALUE:
                raise ExecError("invalid value; expected string")
            got = "interface {}" if value is None else type_name(value)
            raise ExecError(f"wrong type for value; expected string; got {got}")
        return None if value is NO_VALUE and not function.reflects else value


class _Absent:
    """Marks that a command is the first of its pipe."""


_ABSENT = _Absent()


class _Call:
    """The arguments of a command."""

    __slots__ = ("args", "dot", "final", "node")

    def __init__(
        self, args: Sequence[nodes.Operand], final: Any, dot: Any, node: nodes.Command | Any
    ) -> None:
        self.args = args
        self.final = final
        self.dot = dot
        self.node = node


def _reflected(value: Any) -> str:
    """What reflect.Value.String gives: the text of a string, the type of anything else."""
    return value if isinstance(value, str) else f"<{type_name(value)} Value>"
