"""Modelfiles: the text a model is described by, read and written. Pure.

``parse`` splits a text into commands, ``instructions`` says what they ask for, ``render`` writes
commands so that ``parse`` reads the same ones back. Words and errors are those of Ollama's
parser/parser.go, which see for the grammar; where it loses text (docs/differences.md) we do not.
"""

from .lexer import Command, ModelfileError, decode, parse
from .meaning import Instructions, instructions
from .writer import render

__all__ = [
    "Command",
    "Instructions",
    "ModelfileError",
    "decode",
    "instructions",
    "parse",
    "render",
]
