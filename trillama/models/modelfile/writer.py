"""From commands to the text of a Modelfile.

Quotes are used where Ollama uses them, and wherever a value would not come back without them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from .lexer import SPACE, Command, ModelfileError, parse


def _comes_back(text: str, value: str) -> bool:
    try:
        return parse(f"FROM {text}\n") == [Command("from", value)]
    except ModelfileError:
        return False


def _here_document(value: str) -> str:
    words = itertools.chain(["END"], (f"END{number}" for number in itertools.count(2)))
    word = next(word for word in words if word not in value)
    end = "\r\n" if value.endswith("\r") else "\n"  # the reader takes a whole line end off
    return f'<<"{word}"\n{value}{end}{word}'


def quote(value: str) -> str:
    """``value`` as it can stand behind a command: bare, in quotes, or as a here-document."""
    plain = value and value == value.strip(SPACE) and not {"\n", "\r"} & set(value)
    bare = [value] if plain else []
    quotes = ('"""', '"') if '"' in value else ('"', '"""')
    for text in (*bare, *(f"{mark}{value}{mark}" for mark in quotes)):
        if _comes_back(text, value):
            return text
    return _here_document(value)


def render(commands: Iterable[Command]) -> str:
    """One command after the other; ``parse`` reads the same ones back."""
    lines = (
        f"{' '.join(filter(None, (command.name.upper(), command.key)))} {quote(command.value)}\n"
        for command in commands
    )
    return "".join(lines)
