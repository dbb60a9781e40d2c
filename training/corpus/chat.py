"""Messages as training text: the same ChatML that `chat_template.jinja` writes.

Owns `Sample` (pieces of text, each learned or not) and the rendering of dialogs. The generators
of this folder call it; tests compare it with the template, so that training and serving never
drift apart.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

START, END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
EMPTY_THOUGHT = "<think>\n\n</think>\n\n"
TOOL_INTRO = "# Tools\n\nYou can call these functions:\n<tools>\n"
TOOL_OUTRO = (
    "\n</tools>\n\nTo call a function, answer with its name and arguments as JSON:\n"
    '<tool_call>\n{"name": <name>, "arguments": <arguments>}\n</tool_call>'
)


@dataclass(frozen=True)
class Piece:
    """A stretch of text; `skip` first tokens of a learned piece carry no loss."""

    text: str
    learn: bool
    skip: int = 0


@dataclass(frozen=True)
class Step:
    """One assistant message: an optional thought, text, and tool calls as (name, arguments)."""

    text: str = ""
    thought: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()


@dataclass(frozen=True)
class Turn:
    """A user's message and what the assistant does: steps, with the tools' answers between them."""

    user: str
    steps: tuple[Step, ...]
    results: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dialog:
    turns: tuple[Turn, ...]
    system: str = ""
    tools: tuple[dict[str, Any], ...] = field(default=())


def ask(user: str, answer: str, thought: str) -> Turn:
    """The simplest turn: a question, a thought, an answer."""
    return Turn(user, (Step(answer, thought),))


def dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def call_text(name: str, arguments: dict[str, Any]) -> str:
    return f"<tool_call>\n{dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def _body(step: Step) -> str:
    parts = [step.text] if step.text else []
    return "\n".join(parts + [call_text(*call) for call in step.calls])


def _system(dialog: Dialog) -> str:
    if not dialog.tools:
        return f"{START}system\n{dialog.system}{END}\n" if dialog.system else ""
    head = f"{dialog.system}\n\n" if dialog.system else ""
    tools = "\n".join(dumps(tool) for tool in dialog.tools)
    return f"{START}system\n{head}{TOOL_INTRO}{tools}{TOOL_OUTRO}{END}\n"


def _assistant(step: Step, last: bool, thinking: bool) -> list[Piece]:
    """The pieces of one assistant message; only messages of the last turn show their thought."""
    opening = f"{START}assistant\n"
    if not last:
        # A bare opening asks for a thought, so the first token after it must not be learned here.
        return [Piece(opening, False), Piece(_body(step) + END, True, skip=1), Piece("\n", False)]
    if thinking:
        thought = f"<think>\n{step.thought}\n</think>\n\n"
        return [Piece(opening, False), Piece(thought + _body(step) + END, True), Piece("\n", False)]
    opening += EMPTY_THOUGHT
    return [Piece(opening, False), Piece(_body(step) + END, True), Piece("\n", False)]


def pieces(dialog: Dialog, thinking: bool) -> list[Piece]:
    """The dialog as text; the assistant's messages are what is learned."""
    out = [Piece(_system(dialog), False)]
    for number, turn in enumerate(dialog.turns):
        last = number == len(dialog.turns) - 1
        out.append(Piece(f"{START}user\n{turn.user}{END}\n", False))
        for index, step in enumerate(turn.steps):
            if index:
                result = f"<tool_response>\n{turn.results[index - 1]}\n</tool_response>"
                out.append(Piece(f"{START}user\n{result}{END}\n", False))
            final = last and index == len(turn.steps) - 1
            out += _assistant(step, final, thinking)
    return [piece for piece in out if piece.text][:-1]


def messages(dialog: Dialog) -> list[dict[str, Any]]:
    """The dialog as the messages of a chat API, the last assistant message left out."""
    out: list[dict[str, Any]] = []
    if dialog.system:
        out.append({"role": "system", "content": dialog.system})
    for turn in dialog.turns:
        out.append({"role": "user", "content": turn.user})
        for index, step in enumerate(turn.steps):
            if index:
                out.append({"role": "tool", "content": turn.results[index - 1]})
            calls = [{"function": {"name": n, "arguments": a}} for n, a in step.calls]
            out.append({"role": "assistant", "content": step.text, "tool_calls": calls})
    return out[:-1]


def cut_at_call(turn: Turn) -> Turn:
    """The same turn, ended at its first step (the tool call itself)."""
    return replace(turn, steps=turn.steps[:1], results=())


def raw(text: str) -> list[Piece]:
    """A plain document, learned whole."""
    return [Piece(text + END_OF_TEXT, True)]


def fim(before: str, middle: str, after: str) -> list[Piece]:
    """Fill in the middle: prefix and suffix are given, the middle is learned."""
    prompt = f"<|fim_prefix|>{before}<|fim_suffix|>{after}<|fim_middle|>"
    return [Piece(prompt, False), Piece(middle + END_OF_TEXT, True)]
