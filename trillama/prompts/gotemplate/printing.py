"""Go's fmt: how values print with ``{{ v }}``, print, println and printf.

A ``Printer`` makes one text. It is charged for what it builds before it is built, so a width of a
million is refused, not tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..budget import Budget
from .floats import format_float
from .literals import quote, quote_character, to_bytes
from .values import NO_VALUE, Byte, Struct, is_nil, methods_of, type_name

MAX_WIDTH = 1_000_000
"""Go's own bound of widths and precisions."""


GO_SYNTAX, FIELD_NAMES = "V", "N"
"""Flags for what ``#`` and ``+`` mean to the verb v alone."""


class Spec(NamedTuple):
    """What stands between ``%`` and the verb; width and precision are None when absent."""

    flags: frozenset[str] = frozenset()
    width: int | None = None
    precision: int | None = None


_PLAIN = Spec()
_LETTERS = {"b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}
_STRINGER_VERBS = "vsqxX"


class Printer:
    """Collects the pieces of one text.

    Args:
        budget: is charged, and refuses what is too large.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._pieces: list[str] = []
        self._size = 0

    @property
    def text(self) -> str:
        """What was printed."""
        return "".join(self._pieces)

    def write(self, text: str) -> None:
        """Add ``text`` as it is."""
        self._size += len(text)
        self._budget.fit(self._size)
        self._budget.charge(len(text) + 1)
        self._pieces.append(text)

    def _pad(self, text: str, spec: Spec) -> None:
        missing = (spec.width or 0) - len(text)
        if missing <= 0:
            self.write(text)
            return
        self._budget.fit(missing)
        if "-" in spec.flags:
            self.write(text + " " * missing)
        else:
            self.write(("0" if "0" in spec.flags else " ") * missing + text)

    def value(self, value: Any, verb: str = "v", spec: Spec = _PLAIN) -> None:
        """Print one value by a verb."""
        if value is None or value is NO_VALUE:
            self._nil(verb, spec)
            return
        if verb == "T":
            self._pad(type_name(value)[: spec.precision], spec)
            return
        sharp = GO_SYNTAX in spec.flags
        if verb in _STRINGER_VERBS and not sharp and "String" in methods_of(value):
            value = methods_of(value)["String"](value)
        if isinstance(value, Struct | dict | list | tuple):
            self._container(value, verb, spec)
        elif not self._basic(value, verb, spec, sharp):
            self._bad(verb, value, spec)

    def _nil(self, verb: str, spec: Spec) -> None:
        if verb in "vT":
            self._pad("<nil>", spec)
        else:
            self.write(f"%!{verb}(<nil>)")

    def _inner(self, value: Any, verb: str, spec: Spec) -> None:
        if value is None:
            self.write("<nil>")
        else:
            self.value(value, verb, spec)

    def _basic(self, value: Any, verb: str, spec: Spec, sharp: bool) -> bool:
        if isinstance(value, bool):
            return self._bool(value, verb, spec)
        if isinstance(value, int):
            return self._int(value, verb, spec, sharp)
        if isinstance(value, float):
            return self._float(value, verb, spec, sharp)
        if isinstance(value, complex):
            return self._complex(value, verb, spec)
        return isinstance(value, str) and self._str(value, verb, spec, sharp)

    def _bad(self, verb: str, value: Any, spec: Spec) -> None:
        self.write(f"%!{verb}({type_name(value)}=")
        self.value(value, "v", spec)
        self.write(")")

    def _bool(self, value: bool, verb: str, spec: Spec) -> bool:
        if verb in "tv":
            self._pad(str(value).lower(), spec)
        return verb in "tv"

    def _int(self, value: int, verb: str, spec: Spec, sharp: bool) -> bool:
        if verb == "c":
            self._pad(_character(value), spec)
        elif verb == "q":
            self._pad(quote_character(value, ascii_only="+" in spec.flags), spec)
        elif verb == "U":
            code = value % 2**64
            name = f" '{chr(code)}'" if "#" in spec.flags and _printable(code) else ""
            self._pad(f"U+{code:0{max(spec.precision or 4, 4)}X}{name}", spec)
        elif verb in "vdboOxX":
            if sharp:
                verb = "d"
                if isinstance(value, Byte):
                    verb, spec = "x", spec._replace(flags=spec.flags | {"#"})
            self._digits(value, verb, spec)
        else:
            return False
        return True

    def _digits(self, value: int, verb: str, spec: Spec) -> None:
        least = spec.precision
        if least is None and "0" in spec.flags and "-" not in spec.flags:
            least = (spec.width or 0) - bool(_sign(value < 0, spec))
        spec = spec._replace(flags=spec.flags - {"0"})
        if spec.precision == 0 and value == 0:
            self._pad("", spec)
            return
        self._budget.fit(least or 0)
        digits = f"{abs(value):{_LETTERS.get(verb, 'd')}}".rjust(least or 0, "0")
        prefix = {"b": "0b", "o": "0", "x": "0x", "X": "0X"}.get(verb, "")
        if verb == "o" and digits.startswith("0"):
            prefix = ""
        prefix = "0o" if verb == "O" else prefix if "#" in spec.flags else ""
        self._pad(_sign(value < 0, spec) + prefix + digits, spec)

    def _float(self, value: float, verb: str, spec: Spec, sharp: bool) -> bool:
        self._budget.fit(spec.precision or 0)
        text = format_float(value, verb, spec.precision, "#" in spec.flags)
        if not text:
            return False
        text = text.lstrip("-")
        sign = _sign(math.copysign(1, value) < 0, spec)
        if "0" in spec.flags and "-" not in spec.flags:
            self._budget.fit(spec.width or 0)
            text = text.rjust((spec.width or 0) - len(sign), "0")
        self._pad(sign + text, spec)
        return True

    def _complex(self, value: complex, verb: str, spec: Spec) -> bool:
        if verb not in "vbgGxXfFeE":
            return False
        self._budget.fit(spec.precision or 0)
        real = format_float(value.real, verb, spec.precision)
        imaginary = format_float(value.imag, verb, spec.precision)
        plus = "" if imaginary.startswith(("-", "+")) else "+"
        self.write(f"({real}{plus}{imaginary}i)")
        return True

    def _str(self, value: str, verb: str, spec: Spec, sharp: bool) -> bool:
        if verb in "xX":
            self._hex(value, verb, spec)
            return True
        if verb not in "vsq":
            return False
        if spec.precision is not None:
            value = value[: spec.precision]
        if verb == "q" or sharp:
            self._budget.fit(len(value))
            value = _quoted(value, spec)
        self._pad(value, spec)
        return True

    def _hex(self, value: str, verb: str, spec: Spec) -> None:
        data = to_bytes(value)[: spec.precision]
        self._budget.fit(3 * len(data))
        digits = data.hex(" ") if " " in spec.flags else data.hex()
        if "#" in spec.flags and data:
            digits = "0x" + digits.replace(" ", " 0x")
        self._pad(digits.upper() if verb == "X" else digits, spec)

    def _container(self, value: Any, verb: str, spec: Spec) -> None:
        if GO_SYNTAX in spec.flags:
            self._go_syntax(value, spec)
            return
        opened, closed = ("map[", "]") if isinstance(value, dict) else ("[", "]")
        if isinstance(value, Struct):
            opened, closed = "{", "}"
        self.write(opened)
        for at, (key, item) in enumerate(_entries(value)):
            self.write(" " * (at > 0))
            if isinstance(value, dict):
                self.value(key, verb, spec)
                self.write(":")
            elif key and FIELD_NAMES in spec.flags:
                self.write(f"{key}:")
            self._inner(item, verb, spec)
        self.write(closed)

    def _go_syntax(self, value: Any, spec: Spec) -> None:
        name = type_name(value)
        if is_nil(value):
            self.write(f"{name}(nil)")
            return
        self.write(f"{name}{{")
        for at, (key, item) in enumerate(_entries(value)):
            label = quote(key) if isinstance(value, dict) else key
            self.write(", " * (at > 0) + (f"{label}:" if label else ""))
            if item is None:
                self.write("interface {}(nil)")
            else:
                self.value(item, "v", spec)
        self.write("}")


def _entries(value: Any) -> Iterable[tuple[str, Any]]:
    """What a container holds, each with its key or field name, "" in a list."""
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, Struct):
        return value.fields.items()
    return (("", item) for item in value)


def _sign(negative: bool, spec: Spec) -> str:
    if negative:
        return "-"
    return "+" if "+" in spec.flags else " " if " " in spec.flags else ""


def _printable(code: int) -> bool:
    return code <= 0x10FFFF and chr(code).isprintable()


def _character(code: int) -> str:
    valid = 0 <= code <= 0x10FFFF and not 0xD800 <= code < 0xE000
    return chr(code) if valid else "\ufffd"


def _quoted(text: str, spec: Spec) -> str:
    raw = "#" in spec.flags and "`" not in text
    if raw and all(one == "\t" or (one >= " " and one not in "\x7f\ufeff") for one in text):
        return f"`{text}`"
    return quote(text, ascii_only="+" in spec.flags)
