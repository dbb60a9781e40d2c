"""A Jinja environment for chat templates of strangers: what transformers offers, and no more.

The dialect is that of transformers' chat templates (utils/chat_template_utils.py): trimmed blocks,
loop controls, ``raise_exception``, ``strftime_now``, a ``tojson`` that does not escape HTML, and
``generation`` blocks that only mark text. On top of Jinja's immutable sandbox, methods of built-in
types are limited to a list, filters that only serve web pages are gone, and whatever can grow a
value or run for long is charged to a ``Budget``; lists may be appended to, which templates of Kimi
do and llama.cpp allows. Nothing here reads files or includes templates.
"""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import filters, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from markupsafe import Markup

from trillama.base.errors import BadRequest, TemplateError

from .budget import STEP, Budget, TooExpensive, current, spending

SOURCE_CAP = 128 << 10
"""Characters of a template; real ones have some ten thousand."""
MAX_INT_BITS = 4096
MAX_INDENT = 16

_TEXT_METHODS = """
    capitalize casefold count endswith find format index isalnum isalpha isascii isdecimal isdigit
    isidentifier islower isnumeric isprintable isspace istitle isupper join lower lstrip partition
    removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip split splitlines
    startswith strip swapcase title upper
"""
_FILTERS = """
    abs attr capitalize count d default dictsort e escape first float format groupby indent int
    items join last length list lower map max min reject rejectattr replace reverse round safe
    select selectattr sort string sum title trim truncate unique upper urlencode wordcount
"""
_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(_TEXT_METHODS.split()),
    Markup: frozenset(_TEXT_METHODS.split()),
    dict: frozenset(["copy", "get", "items", "keys", "values"]),
    list: frozenset(["append", "copy", "count", "index"]),
    tuple: frozenset(["count", "index"]),
    int: frozenset(),
    bool: frozenset(),
    float: frozenset(["is_integer"]),
    bytes: frozenset(),
}
_WIDE_PERCENT = re.compile(r"%[^%a-zA-Z]*(\*|\d{5})")
_WIDE_BRACES = re.compile(r"\{[^{}]*(\d{5}|[^{}]\{)")
_PRINTABLE = (str, int, float, list, tuple, dict, Undefined, type(None))


class Refused(Exception):
    """The template called ``raise_exception``: it does not accept these messages."""


def _raise_exception(message: object = "") -> NoReturn:
    raise Refused(str(message)[:2000])


def _strftime_now(layout: str) -> str:
    if len(layout) > 200 or re.search(r"%[^a-zA-Z%]*\d", layout):
        raise SecurityError("this time format is not allowed")
    return datetime.now().strftime(layout)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    if type(indent) not in (int, bool, type(None)) or (indent or 0) > MAX_INDENT:
        raise SecurityError("this indentation is not allowed")
    current().allow(current().weigh(value))
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _check_replace(text: str, old: str, new: str) -> None:
    grown = text.count(str(old)) * max(len(str(new)) - len(str(old)), 0)
    current().allow(len(text) + grown)


def _replace(context: Any, value: Any, old: str, new: str, count: int | None = None) -> str:
    _check_replace(str(value), old, new)
    return filters.do_replace(context, value, old, new, count)


_replace.jinja_pass_arg = filters.do_replace.jinja_pass_arg  # type: ignore[attr-defined]


def _indent(value: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    each = len(width) if isinstance(width, str) else width
    current().allow(len(value) + (value.count("\n") + 1) * max(each, 0))
    return filters.do_indent(value, width, first, blank)


def _join(context: Any, value: Iterable[Any], d: str = "", attribute: Any = None) -> str:
    items = list(value)
    current().allow(current().weigh(items) + len(str(d)) * len(items))
    joined: str = filters.sync_do_join(context, items, d, attribute)
    return joined


_join.jinja_pass_arg = filters.sync_do_join.jinja_pass_arg  # type: ignore[attr-defined]


def _format(value: str, *args: Any, **kwargs: Any) -> str:
    _check_percent(str(value), (args, kwargs))
    return filters.do_format(value, *args, **kwargs)


def _check_percent(layout: str, values: Any) -> None:
    if _WIDE_PERCENT.search(layout):
        raise SecurityError("this format is not allowed")
    current().allow(len(layout) + layout.count("%") * (10_000 + current().weigh(values)))


def _round(value: float, precision: int = 0, method: Any = "common") -> float:
    if abs(precision) > 30:
        raise SecurityError("this precision is not allowed")
    return filters.do_round(value, precision, method)


def _sum(value: Iterable[Any], attribute: Any = None, start: Any = 0) -> Any:
    if not isinstance(start, int | float):
        raise SecurityError("only numbers can be summed")
    return filters.sync_do_sum(_environment, list(value), attribute, start)


def _charged(function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, its result charged; ``wraps`` keeps what Jinja notes on a filter."""

    @functools.wraps(function)
    def charged(*args: Any, **kwargs: Any) -> Any:
        current().charge(STEP)
        return _charge_result(function(*args, **kwargs))

    return charged


def _charge_result(value: Any) -> Any:
    if isinstance(value, str):
        current().allow(len(value))
    elif isinstance(value, list | tuple | dict):
        current().weigh(value)
        current().charge(len(value))
    return value


class _Namespace(Namespace):
    """Prints as one word: namespaces that hold each other twice would print without end."""

    def __repr__(self) -> str:
        return "<namespace>"


class _Generation(Extension):
    """``{% generation %}`` marks the assistant's text for training; here it is just its body."""

    tags = {"generation"}  # noqa: RUF012 the base class declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The statements between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Generator(CodeGenerator):
    """Writes code that weighs what literals and ``~`` build."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("environment.concatenate((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802
        self._weighed(super().visit_List, node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self._weighed(super().visit_Dict, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:  # noqa: N802
        if node.ctx == "load":
            self._weighed(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def _weighed(self, visit: Callable[[Any, Frame], None], node: nodes.Expr, frame: Frame) -> None:
        self.write("environment.weighed(")
        visit(node, frame)
        self.write(")")


class _Environment(ImmutableSandboxedEnvironment):
    """The environment of every chat template; holds no state of any rendering."""

    code_generator_class = _Generator
    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, loopcontrols],
            finalize=_printable,
        )
        own = {
            "replace": _replace,
            "indent": _indent,
            "join": _join,
            "format": _format,
            "round": _round,
            "sum": _sum,
        }
        known = {name: own.get(name, filters.FILTERS[name]) for name in _FILTERS.split()}
        self.filters = {name: _charged(one) for name, one in known.items()} | {"tojson": _tojson}
        del self.globals["lipsum"]
        self.globals.update(namespace=_Namespace, raise_exception=_raise_exception)
        self.globals["strftime_now"] = _strftime_now

    @property
    def turn(self) -> None:
        """Charge one turn of a loop; read at the head of every loop's body."""
        current().charge(STEP)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            turn = nodes.ExprStmt(nodes.EnvironmentAttribute("turn"))
            turn.set_lineno(loop.lineno).set_environment(self)
            loop.body.insert(0, turn)
        return tree

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Join what a macro or a block printed."""
        pieces = list(parts)
        current().allow(sum(map(len, pieces)))
        return "".join(pieces)

    @staticmethod
    def concatenate(values: tuple[Any, ...]) -> str:
        """The ``~`` operator."""
        return _Environment.concat([str(_printable(value)) for value in values])

    @staticmethod
    def weighed(value: Any) -> Any:
        """A new list, tuple or dict, refused when what it holds is too large."""
        return _charge_result(value)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Names on the list for built-in types, Jinja's own rules for the rest."""
        allowed = _METHODS.get(type(obj))
        if allowed is not None:
            return attr in allowed
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """``str.format`` without wide or nested field widths."""
        wrapped = super().wrap_str_format(value)
        if wrapped is not None and _WIDE_BRACES.search(value.__self__):
            raise SecurityError("this format is not allowed")
        return wrapped

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An arithmetic operator, its result known to be small enough beforehand."""
        _check_operator(operator, left, right)
        return _charge_result(super().call_binop(context, operator, left, right))

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """A call of a macro, a method or a helper."""
        budget = current()
        budget.charge(STEP)
        budget.weigh(args)
        budget.weigh(kwargs)
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, list):
            budget.grow(args)
        if isinstance(owner, str):
            args = _check_method(owner, obj.__name__, args)
        return _charge_result(super().call(context, obj, *args, **kwargs))


def _check_method(text: str, method: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    if method == "replace" and len(args) >= 2:
        _check_replace(text, args[0], args[1])
    elif method == "join" and args:
        items = list(args[0])
        current().allow(current().weigh(items) + len(text) * len(items))
        return (items, *args[1:])
    elif method == "format":
        current().allow(len(text) + text.count("{") * (10_000 + current().weigh(args)))
    return args


def _check_operator(operator: str, left: Any, right: Any) -> None:
    whole = isinstance(left, int) and isinstance(right, int)
    if operator == "%" and isinstance(left, str):
        _check_percent(left, right)
    elif operator == "*" and not whole:
        for value, times in ((left, right), (right, left)):
            if isinstance(value, str | list | tuple) and isinstance(times, int):
                current().allow((len(value) + 1) * max(times, 0))
    elif whole and operator in ("*", "**"):
        bits = left.bit_length()
        bits = bits * abs(right) if operator == "**" else bits + right.bit_length()
        if bits > MAX_INT_BITS:
            raise SecurityError("this number is too large")
    elif operator == "+" and isinstance(left, str | list | tuple):
        current().allow(len(left) + (len(right) if hasattr(right, "__len__") else 0))


def _printable(value: Any) -> Any:
    """``value``, if printing it is harmless."""
    if isinstance(value, str):
        return value
    if not isinstance(value, _PRINTABLE):
        raise SecurityError(f"a {type(value).__name__} cannot be printed")
    current().allow(current().weigh(value))
    return value


_environment = _Environment()


@functools.lru_cache(maxsize=64)
def compile_template(source: str) -> jinja2.Template:
    """Compile a chat template; the last 64 are remembered.

    Raises:
        TemplateError: it is not Jinja, too long, or uses what is not offered.
    """
    if len(source) > SOURCE_CAP:
        raise TemplateError(f"the model's chat template is longer than {SOURCE_CAP} characters")
    with _translated(), spending(Budget()):
        return _environment.from_string(source)


def render_template(source: str, variables: dict[str, Any]) -> str:
    """Render a chat template with plain JSON-like ``variables``.

    Raises:
        BadRequest: the template refuses, with its own words.
        TemplateError: it is broken, or costs too much.
    """
    template = compile_template(source)
    with _translated():
        budget = Budget(variables)
        variables = copy.deepcopy(variables)  # a template may append to lists
        with spending(budget):
            pieces = []
            for piece in template.generate(variables):
                budget.allow(len(piece))
                pieces.append(piece)
            return _Environment.concat(pieces)


class _translated:  # noqa: N801 reads as a verb at its uses
    """Turns whatever a template raises into ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: Any
    ) -> None:
        if isinstance(error, Refused):
            raise BadRequest(str(error) or "the chat template refuses these messages") from None
        if isinstance(error, TooExpensive):
            raise TemplateError(str(error)) from None
        if isinstance(error, RecursionError | MemoryError):
            raise TemplateError("the chat template nests too deeply") from None
        if isinstance(error, Exception) and not isinstance(error, TemplateError):
            raise TemplateError(f"the model's chat template fails: {error}") from error
