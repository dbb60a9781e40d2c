"""Messages to prompt text by a Go template, as Ollama runs one.

A template that loops over ``.Messages`` is executed once. An older one knows ``.System``,
``.Prompt`` and ``.Response``: it is executed for every exchange, the last time up to the place of
the answer. One with ``.Suffix`` can also be asked to fill a gap.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from trillama.base.errors import BadRequest, Unsupported
from trillama.base.messages import Message, ToolCall

from ..budget import Budget
from ..detect import ThinkingTags
from ..parsers.choose import family_of_template
from ..parsers.thinking import ThinkingSplitter
from ..render import marked, up_to_mark
from . import analysis, nodes
from .data import messages_value, thinking_values, tools_value
from .template import Template, compile_template

MAX_LEVELS = 64
"""How deeply tools and arguments may nest."""

_RESPONSE = nodes.Action(0, nodes.Pipe(0, (nodes.Command(0, (nodes.Field(0, ("Response",)),)),)))


class GoChatTemplate:
    """A model's Go template and what its text shows about the model.

    Attributes:
        tags: around the reasoning in answers, None where the template shows none.
        thinks: the template shows reasoning.
        uses_tools, inserts: it uses ``.Tools``, ``.Suffix``.
        family: whose marks its tool calls have.
        call_tag: what tool calls in answers begin with; ``{`` where the template does not say.

    Raises:
        TemplateError: ``source`` is no template.
    """

    def __init__(self, source: str, bos_piece: str = "") -> None:
        self.source = source
        self._bos = bos_piece
        self._template = compile_template(source)
        trees = self._template.trees
        self.variables = analysis.variables(trees)
        self._by_messages = "messages" in self.variables
        if not self._by_messages and "response" not in self.variables:
            trees = {**trees, "": (*trees[""], _RESPONSE)}
            self._template = Template(source, trees)
        self._last = Template(source, analysis.up_to_response(trees))
        self.tags: ThinkingTags | None = analysis.thinking_tags(trees)
        self.thinks = self.tags is not None
        self.uses_tools = "tools" in self.variables
        self.inserts = "suffix" in self.variables
        self.call_tag = analysis.tool_call_tag(trees)
        self.family = family_of_template(source, self.call_tag)

    def render(
        self,
        messages: Sequence[Message],
        tools: Iterable[Mapping[str, Any]] = (),
        think: bool | str | None = None,
        *,
        continue_final: bool = False,
    ) -> str:
        """The prompt.

        Args:
            tools: definitions, as JSON objects; a template without messages cannot show them.
            think: asks for or against reasoning, or for how much.
            continue_final: the last message is the beginning of the answer.

        Raises:
            BadRequest: there is nothing to continue, or tools nest too deeply.
            TemplateError: the template fails, or costs too much.
        """
        definitions = list(tools)
        check_depth([definitions, *(one.tool_calls for one in messages)])
        budget = Budget([definitions, *map(_given, messages)])
        system = "\n\n".join(one.content for one in messages if one.role == "system")
        collated = collate(self._without_thoughts(messages))
        if not self._by_messages:
            return self._render_exchanges(collated, think, budget)
        if continue_final:
            collated = collate(self._without_thoughts(marked(messages)))
        data = {
            "System": system,
            "Messages": messages_value(collated),
            "Tools": tools_value(definitions),
            "Response": "",
        }
        text = self._template.execute(data | thinking_values(think), budget)
        return up_to_mark(text) if continue_final else text

    def insert(self, prompt: str, suffix: str, think: bool | str | None = None) -> str:
        """The prompt for what belongs between ``prompt`` and ``suffix``.

        Raises:
            Unsupported: the template has no place for a suffix.
            TemplateError: it fails, or costs too much.
        """
        if not self.inserts:
            raise Unsupported("the template has no .Suffix")
        data = {"Prompt": prompt, "Suffix": suffix, "Response": ""} | thinking_values(think)
        return self._template.execute(data, Budget([prompt, suffix]))

    def beginning_with(self, bos_piece: str) -> GoChatTemplate:
        """The same template for a vocabulary whose begin token has this text."""
        other = copy.copy(self)
        other._bos = bos_piece
        return other

    def begins_with_bos(self, prompt: str) -> bool:
        """True when tokenising ``prompt`` must not add the begin token once more."""
        return bool(self._bos) and prompt.startswith(self._bos)

    def starts_inside_thinking(self, prompt: str) -> bool:
        """True when the answer to ``prompt`` begins as reasoning."""
        return self.tags is not None and prompt.rstrip().endswith(self.tags.open)

    def _without_thoughts(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Clients that know nothing of reasoning send it back as part of earlier answers."""
        if self.tags is None:
            return messages
        users = [at for at, message in enumerate(messages) if message.role == "user"]
        end = users[-1] if users else 0
        return [*(_without_thoughts(one, self.tags) for one in messages[:end]), *messages[end:]]

    def _render_exchanges(
        self, messages: Sequence[Message], think: bool | str | None, budget: Budget
    ) -> str:
        pieces: list[str] = []
        data: dict[str, Any] = {"System": "", "Prompt": "", "Response": ""} | thinking_values(think)

        def flush() -> None:
            pieces.append(self._template.execute(dict(data), budget))
            data.update(System="", Prompt="", Response="")

        for message in messages:
            if message.role == "system":
                if data["Prompt"] or data["Response"]:
                    flush()
                data["System"] = message.content
            elif message.role == "user":
                if data["Response"]:
                    flush()
                data["Prompt"] = message.content
            elif message.role == "assistant":
                data["Response"] = message.content
        pieces.append(self._last.execute(data, budget))
        return "".join(pieces)


def _given(message: Message) -> list[Any]:
    return [
        message.content,
        message.thinking,
        *(call.function.arguments for call in message.tool_calls),
    ]


def check_depth(value: Any, levels: int = MAX_LEVELS) -> None:
    """Refuse what nests so deeply that nobody could print it.

    Raises:
        BadRequest: it does.
    """
    if not levels:
        raise BadRequest(f"tools and their arguments may nest {MAX_LEVELS} levels, no more")
    if isinstance(value, ToolCall):
        check_depth(value.function.arguments, levels)
    elif isinstance(value, Mapping):
        for one in value.values():
            check_depth(one, levels - 1)
    elif isinstance(value, list | tuple):
        for one in value:
            check_depth(one, levels - 1)


def _without_thoughts(message: Message, tags: ThinkingTags) -> Message:
    if message.role != "assistant" or not message.content.lstrip().startswith(tags.open):
        return message
    splitter = ThinkingSplitter(tags.open, tags.close)
    content = splitter.push(message.content)[1] + splitter.finish()[1]
    return msgspec.structs.replace(message, content=content)


def collate(messages: Sequence[Message]) -> list[Message]:
    """Neighbours of one role joined by an empty line; results of tools stay apart."""
    joined: list[Message] = []
    for message in messages:
        if joined and joined[-1].role == message.role != "tool":
            content = f"{joined[-1].content}\n\n{message.content}"
            joined[-1] = msgspec.structs.replace(joined[-1], content=content)
        else:
            joined.append(message)
    return joined


@functools.lru_cache(maxsize=32)
def _read(source: str) -> GoChatTemplate:
    return GoChatTemplate(source)


def go_chat_template(source: str, bos_piece: str = "") -> GoChatTemplate:
    """The template of ``source``; what was read from the last 32 is remembered.

    Raises:
        TemplateError: it is none.
    """
    return _read(source).beginning_with(bos_piece)
