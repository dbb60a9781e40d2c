"""What a Go template shows about its model, read from its trees without running them.

The rules are Ollama's: which variables it uses, what stands around the reasoning and before tool
calls of earlier answers, and the trees that end with the answer's place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from ..detect import ThinkingTags
from . import nodes


def _names(operand: nodes.Operand) -> Iterator[str]:
    if isinstance(operand, nodes.Field | nodes.Variable):
        yield from operand.names
    elif isinstance(operand, nodes.Chain):
        yield from _names(operand.start)
    elif isinstance(operand, nodes.Pipe):
        yield from _pipe_names(operand)


def _pipe_names(pipe: nodes.Pipe) -> Iterator[str]:
    for command in pipe.commands:
        for operand in command.args:
            yield from _names(operand)


def variables(trees: Mapping[str, nodes.List]) -> frozenset[str]:
    """Names of all fields and variables used, in lower case: "tools", "suffix", "$x"…"""
    found = (
        name for tree in trees.values() for pipe in nodes.pipes(tree) for name in _pipe_names(pipe)
    )
    return frozenset(name.lower() for name in found)


def _fields(operand: nodes.Operand) -> Iterator[nodes.Field]:
    if isinstance(operand, nodes.Field):
        yield operand
    elif isinstance(operand, nodes.Pipe):
        for command in operand.commands:
            for part in command.args:
                yield from _fields(part)


def _thinking_lists(tree: nodes.List, in_messages: bool) -> Iterator[nodes.List]:
    """The lists of nodes that show ``.Thinking``, within a loop over the messages."""
    for node in tree:
        if isinstance(node, nodes.Action | nodes.Call | nodes.Branch):
            inside = in_messages
            if isinstance(node, nodes.Range):
                inside = any(field.names[0] == "Messages" for field in _fields(node.pipe))
            for field in _fields(node.pipe):
                if field.names[0] == "Thinking" and inside:
                    yield tree
        if isinstance(node, nodes.Branch):
            yield from _thinking_lists(node.body, inside)
            yield from _thinking_lists(node.orelse or (), inside)


def thinking_tags(trees: Mapping[str, nodes.List]) -> ThinkingTags | None:
    """The texts around the reasoning of earlier answers, None where there are none."""
    before = after = ""
    for shown in _thinking_lists(trees[""], False):
        if isinstance(shown[0], nodes.Text):
            before = shown[0].text.strip()
        if isinstance(shown[-1], nodes.Text):
            after = shown[-1].text.strip()
    return ThinkingTags(before, after) if before and after else None


def _shows_calls(node: nodes.Node) -> bool:
    if not isinstance(node, nodes.If):
        return False
    operands = (part for command in node.pipe.commands for part in command.args)
    return any(isinstance(part, nodes.Field) and "ToolCalls" in part.names for part in operands)


def _calls(tree: nodes.List) -> nodes.List | None:
    """The body of the first ``if .ToolCalls``."""
    for node in tree:
        if isinstance(node, nodes.Branch):
            if _shows_calls(node):
                return node.body
            found = _calls(node.body) or _calls(node.orelse or ())
            if found:
                return found
    return None


def _first_text(tree: nodes.List) -> str:
    """The first text that is not blank, unless something is printed before it."""
    for node in tree:
        if isinstance(node, nodes.Text):
            if node.text.strip():
                return node.text
        elif isinstance(node, nodes.Branch):
            return _first_text(node.body) or _first_text(node.orelse or ())
        elif isinstance(node, nodes.Call) or (
            isinstance(node, nodes.Action) and not node.pipe.names
        ):
            return ""
    return ""


def tool_call_tag(trees: Mapping[str, nodes.List]) -> str:
    """What an answer's tool calls begin with, ``{`` where the template shows nothing else."""
    text = _first_text(_calls(trees[""]) or ()).replace("\r\n", "\n")
    return text.partition("{")[0].strip() or "{"


def _mentions(pipe: nodes.Pipe, name: str) -> bool:
    return any(
        name in field.names
        for command in pipe.commands
        for part in command.args
        for field in _fields(part)
    )


def _cut(tree: nodes.List, name: str) -> tuple[nodes.List, bool]:
    kept: list[nodes.Node] = []
    for node in tree:
        if isinstance(node, nodes.Action | nodes.Call) and _mentions(node.pipe, name):
            return (*kept, node), True
        if isinstance(node, nodes.Branch):
            body, ends = _cut(node.body, name)
            orelse, ends_else = _cut(node.orelse or (), name)
            node = msgspec.structs.replace(
                node, body=body, orelse=orelse if node.orelse is not None else None
            )
            if ends or ends_else:
                return (*kept, node), True
        kept.append(node)
    return tuple(kept), False


def up_to_response(trees: Mapping[str, nodes.List]) -> dict[str, nodes.List]:
    """The trees without what comes after the answer, whose place is ``.Response``.

    Conditions do not count: an ``if .Response`` ends nothing, its body may.
    """
    return {**trees, "": _cut(trees[""], "Response")[0]}
