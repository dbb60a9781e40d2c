"""What the commands of a Modelfile ask for.

Types of parameters and the wording of errors are those of Ollama's api/types.go (FormatParams).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from trillama.base.messages import Message
from trillama.base.options import option_kind

from .lexer import Command, ModelfileError

DEPRECATED = frozenset(
    [
        "penalize_newline",
        "low_vram",
        "f16_kv",
        "logits_all",
        "vocab_only",
        "use_mlock",
        "mirostat",
        "mirostat_tau",
        "mirostat_eta",
    ]
)
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_INTEGER = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NUMBER = r"(?:0|[1-9][0-9]*)"
_LABELS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION = re.compile(rf"{_NUMBER}(?:\.{_NUMBER}(?:\.{_NUMBER}(?:-{_LABELS})?(?:\+{_LABELS})?)?)?")


class Instructions(msgspec.Struct, frozen=True, kw_only=True):
    """What a Modelfile says, its texts as they stand.

    Attributes:
        bases: of FROM: names of models, and paths as whoever wrote them sees them.
        parameters: typed, as they go into a params layer.
        deprecated: names of parameters that are left out because they have no effect any more.
    """

    bases: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    drafts: tuple[str, ...] = ()
    template: str = ""
    system: str = ""
    licenses: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}
    messages: tuple[Message, ...] = ()
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    deprecated: tuple[str, ...] = ()


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise ModelfileError(f"invalid int value [{text}]")
    return int(text)


def _float(text: str) -> float:
    value = float(text) if _FLOAT.fullmatch(text) else math.nan
    try:
        struct.pack("<f", value)
    except OverflowError:
        value = math.nan
    if math.isnan(value):
        raise ModelfileError(f"invalid float value [{text}]")
    return shortest(value)


def shortest(value: float) -> float:
    """The shortest number that is the same as a float32: Ollama keeps them in 32 bits."""
    (wanted,) = struct.unpack("<f", struct.pack("<f", value))
    if math.isinf(wanted):
        return value
    near = (float(f"{wanted:.{digits}g}") for digits in range(1, 10))
    return next(one for one in near if struct.unpack("<f", struct.pack("<f", one))[0] == wanted)


def _boolean(text: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise ModelfileError(f"invalid bool value [{text}]")
    return text in _TRUE


_READERS: dict[str | None, Callable[[str], Any]] = {
    "integer": _integer,
    "float32": _float,
    "boolean": _boolean,
    "text": str,
}


def parameters(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Typed parameters; of several the last counts, except ``stop``, which is a list.

    Raises:
        ModelfileError: an unknown name, or a value of the wrong type.
    """
    found: dict[str, Any] = {}
    for name, text in pairs:
        kind = option_kind(name)
        if kind == "array":
            found.setdefault(name, []).append(text)
        elif kind in _READERS:
            found[name] = _READERS[kind](text)
        else:
            raise ModelfileError(f"unknown parameter '{name}'")
    return found


def version(text: str) -> str:
    """A value of REQUIRES without its ``v``.

    Raises:
        ModelfileError: it is no semantic version.
    """
    plain = text.removeprefix("v")
    if text and not _VERSION.fullmatch(plain):
        raise ModelfileError("requires must be a valid semver (e.g. 0.14.0)")
    return plain


def instructions(commands: Iterable[Command]) -> Instructions:
    """Sum up commands: texts are replaced by later ones, the rest adds up.

    Raises:
        ModelfileError: a parameter or a version that is none.
    """
    values: dict[str, list[str]] = {}
    given: list[tuple[str, str]] = []
    messages: list[Message] = []
    for command in commands:
        if command.name == "parameter":
            given.append((command.key, command.value))
        elif command.name == "message":
            messages.append(Message(command.key, command.value))
        else:
            values.setdefault(command.name, []).append(command.value)

    def last(name: str) -> str:
        return values.get(name, [""])[-1]

    return Instructions(
        bases=tuple(values.get("from", ())),
        adapters=tuple(values.get("adapter", ())),
        drafts=tuple(values.get("draft", ())),
        template=last("template"),
        system=last("system"),
        licenses=tuple(values.get("license", ())),
        parameters=parameters(pair for pair in given if pair[0] not in DEPRECATED),
        messages=tuple(messages),
        renderer=last("renderer"),
        parser=last("parser"),
        requires=version(last("requires")),
        deprecated=tuple(dict.fromkeys(name for name, _ in given if name in DEPRECATED)),
    )
