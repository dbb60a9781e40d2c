"""From the source of a Go template to its trees, with the errors of Go's parser."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

from . import nodes
from .lexer import Kind, Token, lex
from .literals import character, number, pair, quote, unquote

MAX_PARENTHESES = 40
MAX_NESTING = 60
"""Levels of parentheses and of blocks; Go allows more, but nobody needs them."""

_T = TypeVar("_T")
_TERMS = frozenset(
    {
        Kind.BOOL, Kind.CHARACTER, Kind.PAIR, Kind.DOT, Kind.FIELD, Kind.IDENTIFIER, Kind.NUMBER,
        Kind.NIL, Kind.STRING, Kind.VARIABLE, Kind.OPEN,
    }
)  # fmt: skip
_BRANCHES = {"if": nodes.If, "with": nodes.With, "range": nodes.Range}


class ParseError(Exception):
    """The source is no template; the text is Go's."""


def parse(source: str, functions: Collection[str]) -> dict[str, nodes.List]:
    """The trees of a template by name; the main one is "".

    Raises:
        ParseError: the source is no template.
    """
    return _Parser(source, functions).run()


class _Parser:
    def __init__(self, source: str, functions: Collection[str]) -> None:
        self._tokens = lex(source)
        self._at = 0
        self._furthest = 0
        self._action_line = 0
        self._functions = functions
        self._variables = ["$"]
        self._trees: dict[str, nodes.List] = {}
        self._loops = self._parentheses = self._nesting = 0

    def run(self) -> dict[str, nodes.List]:
        """Parse all of it."""
        root: list[nodes.Node] = []
        while self._peek().kind is not Kind.END:
            if self._defines():
                self._define()
                continue
            found = self._text_or_action()
            if isinstance(found, str):
                raise self._error(f"unexpected {{{{{found}}}}}")
            root.append(found)
        self._add("", tuple(root))
        return self._trees

    # Tokens.

    def _error(self, message: str) -> ParseError:
        return ParseError(f"template: :{self._tokens[self._furthest].line}: {message}")

    def _unexpected(self, token: Token, context: str) -> ParseError:
        if token.kind is not Kind.ERROR:
            return self._error(f"unexpected {token} in {context}")
        extra = ""
        if self._action_line not in (0, token.line):
            extra = f" started at :{self._action_line}"
            extra = extra if token.text.endswith(" action") else f" in action{extra}"
        return self._error(f"{token}{extra}")

    def _raw(self) -> Token:
        """The token that comes next, be it a space."""
        self._furthest = max(self._furthest, self._at)
        return self._tokens[self._at]

    def _peek(self) -> Token:
        """The token that comes next; spaces are passed over."""
        while self._raw().kind is Kind.SPACE:
            self._at += 1
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._peek()
        self._at += token.kind not in (Kind.END, Kind.ERROR)
        return token

    def _expect(self, kind: Kind, context: str) -> Token:
        token = self._next()
        if token.kind is not kind:
            raise self._unexpected(token, context)
        return token

    def _read(self, convert: Callable[[str], _T], text: str) -> _T:
        try:
            return convert(text)
        except ValueError as error:
            raise self._error(str(error)) from None

    # Blocks.

    def _text_or_action(self) -> nodes.Node | str:
        """A node, or "end" or "else" where a list ends."""
        token = self._next()
        if token.kind is Kind.TEXT:
            return nodes.Text(token.at, token.text)
        if token.kind is not Kind.LEFT:
            raise self._unexpected(token, "input")
        self._action_line = token.line
        found = self._action()
        self._action_line = 0
        return found

    def _action(self) -> nodes.Node | str:
        token = self._peek()
        word = token.text if token.kind is Kind.KEYWORD else ""
        if not word or word == "define":
            at = self._peek().at
            return nodes.Action(at, self._pipe("command", Kind.RIGHT))
        self._next()
        if word in ("end", "else"):
            return self._separator(word)
        if word in ("break", "continue"):
            return self._jump(word, token.at)
        if word == "block":
            return self._block()
        return self._call() if word == "template" else self._branch(word, token.at)

    def _separator(self, word: str) -> str:
        if word == "else" and self._peek().text in ("if", "with"):
            return word
        self._expect(Kind.RIGHT, word)
        return word

    def _jump(self, word: str, at: int) -> nodes.Node:
        self._expect(Kind.RIGHT, f"{{{{{word}}}}}")
        if not self._loops:
            raise self._error(f"{{{{{word}}}}} outside {{{{range}}}}")
        return nodes.Break(at) if word == "break" else nodes.Continue(at)

    def _list(self) -> tuple[nodes.List, str]:
        """The nodes up to an end or else, and which of them it is."""
        found: list[nodes.Node] = []
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise self._error("blocks are nested too deeply")
        while self._peek().kind is not Kind.END:
            node = self._text_or_action()
            if isinstance(node, str):
                self._nesting -= 1
                return tuple(found), node
            found.append(node)
        raise self._error("unexpected EOF")

    def _branch(self, word: str, at: int) -> nodes.Node:
        known = len(self._variables)
        pipe = self._pipe(word, Kind.RIGHT)
        self._loops += word == "range"
        body, end = self._list()
        self._loops -= word == "range"
        orelse = self._orelse(word) if end == "else" else None
        del self._variables[known:]
        return _BRANCHES[word](at, pipe, body, orelse)

    def _orelse(self, word: str) -> nodes.List:
        token = self._raw()
        if token.kind is Kind.KEYWORD and token.text == word != "range":
            self._next()
            self._nesting += 1
            node = self._branch(word, token.at)
            self._nesting -= 1
            return (node,)
        orelse, end = self._list()
        if end != "end":
            raise self._error(f"expected end; found {{{{{end}}}}}")
        return orelse

    def _defines(self) -> bool:
        """Whether a definition begins here; if so, its keyword is consumed."""
        start = self._at
        if self._next().kind is Kind.LEFT and self._next().text == "define":
            return True
        self._at = start
        return False

    def _define(self) -> None:
        context = "define clause"
        name = self._name(self._next(), context)
        self._expect(Kind.RIGHT, context)
        self._body_of(name, context)

    def _body_of(self, name: str, context: str) -> None:
        outside = self._variables, self._loops
        self._variables, self._loops = ["$"], 0
        body, end = self._list()
        if end != "end":
            raise self._error(f"unexpected {{{{{end}}}}} in {context}")
        self._variables, self._loops = outside
        self._add(name, body)

    def _add(self, name: str, body: nodes.List) -> None:
        if _empty(self._trees.get(name, ())):
            self._trees[name] = body
        elif not _empty(body):
            raise self._error(f"template: multiple definition of template {quote(name)}")

    def _name(self, token: Token, context: str) -> str:
        if token.kind is not Kind.STRING:
            raise self._unexpected(token, context)
        return self._read(unquote, token.text)

    def _call(self) -> nodes.Node:
        context = "template clause"
        token = self._next()
        name = self._name(token, context)
        if self._peek().kind is Kind.RIGHT:
            raise ParseError("undefined template specified")
        return nodes.Call(token.at, name, self._pipe(context, Kind.RIGHT))

    def _block(self) -> nodes.Node:
        context = "block clause"
        token = self._next()
        name = self._name(token, context)
        pipe = self._pipe(context, Kind.RIGHT)
        self._body_of(name, context)
        return nodes.Call(token.at, name, pipe)

    # Pipelines.

    def _pipe(self, context: str, end: Kind) -> nodes.Pipe:
        at = self._peek().at
        names, assigns = self._declared(context)
        commands: list[nodes.Command] = []
        while (token := self._peek()).kind is not end:
            if token.kind not in _TERMS:
                raise self._unexpected(self._next(), context)
            commands.append(self._command())
        self._next()
        if not commands:
            raise self._error(f"missing value for {context}")
        for stage, command in enumerate(commands[1:], 2):
            if isinstance(command.args[0], nodes.Dot | nodes.Nil | nodes.Literal):
                raise self._error(f"non executable command in pipeline stage {stage}")
        return nodes.Pipe(at, tuple(commands), names, assigns)

    def _declared(self, context: str) -> tuple[tuple[str, ...], bool]:
        """The variables before ``:=`` or ``=``, and whether it is the latter."""
        names: list[str] = []
        while (token := self._peek()).kind is Kind.VARIABLE:
            start = self._at
            self._next()
            sign = self._peek()
            if sign.kind not in (Kind.DECLARE, Kind.ASSIGN) and sign.text != ",":
                self._at = start
                break
            self._next()
            names.append(token.text)
            self._variables.append(token.text)
            if sign.text != ",":
                return tuple(names), sign.kind is Kind.ASSIGN
            if context != "range" or len(names) > 1:
                raise self._error(f"too many declarations in {context}")
            if self._peek().kind not in (Kind.VARIABLE, Kind.RIGHT, Kind.CLOSE):
                raise self._error("range can only initialize variables")
        return tuple(names), False

    def _command(self) -> nodes.Command:
        at = self._peek().at
        args: list[nodes.Operand] = []
        while True:
            operand = self._operand()
            args += [operand] if operand is not None else []
            token = self._raw()
            if token.kind is Kind.SPACE:
                continue
            if token.kind is Kind.PIPE:
                self._next()
            elif token.kind not in (Kind.RIGHT, Kind.CLOSE):
                raise self._unexpected(token, "operand")
            break
        if not args:
            raise self._error("empty command")
        return nodes.Command(at, tuple(args))

    def _operand(self) -> nodes.Operand | None:
        """A term and the fields taken from it; None where the next token begins no term."""
        term = self._term()
        if term is None or self._raw().kind is not Kind.FIELD:
            return term
        at = self._raw().at
        fields: list[str] = []
        while self._raw().kind is Kind.FIELD:
            fields.append(self._next().text[1:])
        if isinstance(term, nodes.Field):
            return nodes.Field(at, (*term.names, *fields))
        if isinstance(term, nodes.Variable):
            return nodes.Variable(at, (*term.names, *fields))
        if isinstance(term, nodes.Literal | nodes.Nil | nodes.Dot):
            raise self._error(f"unexpected . after term {quote(str(term))}")
        return nodes.Chain(at, term, tuple(fields))

    def _term(self) -> nodes.Operand | None:
        token = self._peek()
        if token.kind not in _TERMS:
            return None
        self._next()
        at, text = token.at, token.text
        match token.kind:
            case Kind.IDENTIFIER:
                if text not in self._functions:
                    raise self._error(f"function {quote(text)} not defined")
                return nodes.Function(at, text)
            case Kind.DOT:
                return nodes.Dot(at)
            case Kind.NIL:
                return nodes.Nil(at)
            case Kind.VARIABLE:
                if text not in self._variables:
                    raise self._error(f"undefined variable {quote(text)}")
                return nodes.Variable(at, (text,))
            case Kind.FIELD:
                return nodes.Field(at, (text[1:],))
            case Kind.OPEN:
                return self._parenthesized()
        return nodes.Literal(at, self._literal(token), text)

    def _literal(self, token: Token) -> str | bool | int | float | complex:
        if token.kind is Kind.BOOL:
            return token.text == "true"
        readers: dict[Kind, Callable[[str], str | int | float | complex]] = {
            Kind.STRING: unquote,
            Kind.CHARACTER: character,
            Kind.PAIR: pair,
            Kind.NUMBER: number,
        }
        return self._read(readers[token.kind], token.text)

    def _parenthesized(self) -> nodes.Pipe:
        if self._parentheses >= MAX_PARENTHESES:
            raise self._error("max expression depth exceeded")
        self._parentheses += 1
        pipe = self._pipe("parenthesized pipeline", Kind.CLOSE)
        self._parentheses -= 1
        return pipe


def _empty(tree: nodes.List) -> bool:
    return all(isinstance(node, nodes.Text) and not node.text.strip() for node in tree)
