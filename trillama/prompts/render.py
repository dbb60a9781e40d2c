"""Messages to prompt text, by the model's own chat template.

Called by the Desk in a worker thread: a template is a program, and it takes its time. What the
template is told is what transformers tells it (roles, content, tool calls with their arguments as
objects), the reasoning of earlier answers under both of its usual names, and the switches that
templates use for thinking, in the ``manners`` of the template. Never cuts, tokenises or guesses: a
template that fails is an error.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from trillama.base.errors import BadRequest, TemplateError
from trillama.base.messages import Message

from .detect import ThinkingTags, jinja_thinking_tags, jinja_thinks, jinja_uses_tools
from .jinja import render_template
from .manners import Manner, conversation, manner_of
from .parsers.choose import family_of_template
from .parsers.family import call_id
from .parsers.harmony import HARMONY


def thinking_variables(think: bool | str | None) -> dict[str, Any]:
    """What templates are told about reasoning; nothing when nobody said anything."""
    if think is None:
        return {}
    wanted = {"enable_thinking": bool(think), "thinking": bool(think)}
    return wanted | ({"reasoning_effort": think} if isinstance(think, str) else {})


class ChatTemplate:
    """A chat template and what its text shows about the model.

    Args:
        source: Jinja text; "" for a model without a template, whose prompt is the plain texts.
        bos_piece, eos_piece: texts of the vocabulary's begin and end tokens, "" if none.

    Attributes:
        tags: around the reasoning in answers, None where the template knows of none.
        family: whose marks its tool calls have.
        thinks: the template knows of reasoning.
        uses_tools: the template mentions tools.
    """

    def __init__(self, source: str, bos_piece: str = "", eos_piece: str = "") -> None:
        self.source = source
        self._bos = bos_piece
        self._eos = eos_piece
        self.tags: ThinkingTags | None = jinja_thinking_tags(source)
        self.family = family_of_template(source)
        self.thinks = jinja_thinks(source)
        self.uses_tools = jinja_uses_tools(source)

    def render(
        self,
        messages: Sequence[Message],
        tools: Iterable[Mapping[str, Any]] = (),
        think: bool | str | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final: bool = False,
    ) -> str:
        """The prompt.

        Args:
            tools: definitions, as JSON objects.
            think: asks for or against reasoning, or for how much.
            continue_final: the last message is the beginning of the answer.

        Raises:
            BadRequest: the template refuses, with its own words; or nothing is there to continue.
            TemplateError: the template is broken, or costs too much whatever it is told.
        """
        if not self.source:
            return _plain(messages)
        if continue_final:
            messages = marked(messages)
        variables = {
            "messages": self._told(messages),
            "tools": [dict(tool) for tool in tools] or None,
            "bos_token": self._bos,
            "eos_token": self._eos,
            "add_generation_prompt": add_generation_prompt and not continue_final,
        }
        if self.family is HARMONY and think == "max":
            think = "high"  # the most it knows
        text = self._rendered(variables | thinking_variables(think))
        return up_to_mark(text) if continue_final else text

    @property
    def _manner(self) -> Manner:
        return manner_of(self.source, self._bos, self._eos)

    def _told(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        ids = functools.partial(call_id, self.family.ids)
        return conversation(messages, self._manner, ids)

    def _rendered(self, variables: dict[str, Any]) -> str:
        """The text; where a template that works otherwise fails, the conversation is at fault."""
        try:
            return render_template(self.source, variables)
        except TemplateError as error:
            if not self._manner.works:
                raise
            raise BadRequest(f"the chat template cannot show these messages: {error}") from None

    def begins_with_bos(self, prompt: str) -> bool:
        """True when tokenising ``prompt`` must not add the begin token once more."""
        return bool(self._bos) and prompt.startswith(self._bos)

    def starts_inside_thinking(self, prompt: str) -> bool:
        """True when the answer to ``prompt`` begins as reasoning."""
        return self.tags is not None and prompt.rstrip().endswith(self.tags.open)


_MARK = "<[continue-here-7c1e]>"


def marked(messages: Sequence[Message]) -> list[Message]:
    """``messages``, with a mark behind the content of the last, that is to be continued.

    Raises:
        BadRequest: there is no such content.
    """
    content = messages[-1].content.rstrip() if messages else ""
    if not content:
        raise BadRequest("there is no last message to be continued")
    return [*messages[:-1], msgspec.structs.replace(messages[-1], content=content + _MARK)]


def up_to_mark(text: str) -> str:
    """``text`` as far as the mark.

    Raises:
        BadRequest: it has none.
    """
    before, found, _ = text.rpartition(_MARK)
    if not found:
        raise BadRequest("the last message cannot be continued: the template does not show it")
    return before


def _plain(messages: Sequence[Message]) -> str:
    """The texts alone: what a base model without a template is given.

    System text stands before an empty line; neighbours of one role are joined by one.
    """
    pieces: list[str] = []
    before = ""
    for message in messages:
        if before and before in ("system", message.role):
            pieces.append("\n\n")
        pieces.append(message.content)
        before = message.role
    return "".join(pieces)
