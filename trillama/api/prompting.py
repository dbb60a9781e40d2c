"""From a conversation to the tokens an engine is given.

Rendering runs in a worker thread, because a template is a program of a stranger; tokenising on the
runner's threads with deep stacks. Nothing is cut unless the request asks for it, and then what was
cut is counted.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import trio

from ..base.constraints import Constraint
from ..base.errors import BadRequest, PromptTooLong, TemplateError, Unsupported
from ..base.messages import Message
from ..base.options import Options
from ..base.turns import ToolMode, TurnRequest
from ..engine.base import Vocabulary
from ..engine.grammar import Reasoning
from ..models.installed import InstalledModel
from ..prompts.parsers.choose import family_named
from ..prompts.parsers.contract import AnswerParser, Tools
from ..prompts.parsers.family import Ids
from ..prompts.parsers.forced import bound, forced
from ..prompts.parsers.harmony import HARMONY, channels
from ..prompts.parsers.reader import Reader
from ..prompts.parsers.thinking import ThinkingSplitter
from ..runner_pool import Runner, Tokenizer
from .filling import fill_prompt
from .templates import chat_template, fills_gaps, insert

Tokens = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the engine is given, and how its answer is to be read.

    Attributes:
        tokens: int32, shape (n,).
        dropped: tokens left out because truncation was asked for.
        parser: separates reasoning, content and tool calls; None where all is content.
        single: the answer ends with its first tool call.
        rule: of an answer that has to call tools.
        binding: of calls, where an answer may hold some.
        reasoning: what may come before the answer proper; None where nothing may.
        ids: what calls get that have no id of their own.
        shown: control tokens that the parser has to see, with what they spell.
        prediction: what is expected in the answer, int32, shape (n,), None for nothing.
    """

    tokens: Tokens
    dropped: int = 0
    parser: AnswerParser | None = None
    ids: Ids = Ids.ANY
    shown: Mapping[int, str] = field(default_factory=dict)
    prediction: Tokens | None = None
    reasoning: Reasoning | None = None
    rule: Constraint | None = None
    binding: Constraint | None = None
    single: bool = False


class Prompter:
    """Makes the prompt of one request.

    Args:
        runner: the model's, or its vocabulary alone.
        think: the request's wish, completed by what the model does by itself.
    """

    def __init__(
        self,
        runner: Tokenizer,
        model: InstalledModel,
        request: TurnRequest,
        think: bool | str | None,
    ) -> None:
        self._runner = runner
        self._model = model
        self._request = request
        self._think = think
        self._tools = request.tools if request.tool_choice.mode is not ToolMode.NONE else ()
        self._template = chat_template(runner.vocabulary, model, request)
        self._family = family_named(model.config.parser) or self._template.family
        self._refuse_unread()
        self._rule = forced(
            self._family,
            self._tools,
            request.tool_choice,
            runner.vocabulary.controls,
            parallel=request.parallel_tool_calls,
        )
        if self._rule and request.constraint:
            raise BadRequest("tool_choice and a format exclude each other")

    def _refuse_unread(self) -> None:
        if self._tools and self._family.unread:
            raise Unsupported(
                "not supported by this version of trillama: "
                f"tool calls in the format of {self._family.name}"
            )

    async def make(self, limit: int, options: Options) -> Prompt:
        """The prompt, see ``_make``, with what is expected in its answer."""
        prompt = await self._make(limit, options)
        if not (expected := self._request.prediction):
            return prompt
        tokens = await self._runner.tokenize(expected, add_special=False, parse_special=False)
        return dataclasses.replace(prompt, prediction=tokens[:limit])

    async def _make(self, limit: int, options: Options) -> Prompt:
        """The prompt, within ``limit`` positions for prompt and answer.

        Raises:
            PromptTooLong: it does not fit and may not be cut.
            BadRequest: the template refuses the conversation, or ``context`` is no list of tokens.
        """
        if self._request.raw_tokens:
            return self._given(limit, options)
        if self._request.suffix and not fills_gaps(self._template):
            return await self._gap(limit, options)
        messages = conversation(self._model, self._request)
        text = await self.render(messages)
        least = least_tokens(text, self._runner.vocabulary)
        if least > limit and not self._request.truncate:
            raise PromptTooLong(least, limit, at_least=True)
        tokens = await self._tokens(text)
        whole = len(tokens)
        if whole > limit and not self._request.truncate:
            raise PromptTooLong(whole, limit)
        if whole > limit:
            room = limit - _reserve(limit, options)
            text, tokens = await self._shorten(messages, text, tokens, room)
            tokens = _cut(tokens, room, options.num_keep)
        return self._prompt(tokens, whole - len(tokens), text)

    async def _gap(self, limit: int, options: Options) -> Prompt:
        """The prompt of a request that wants something filled in; its answer is all content."""
        before = self._request.messages[-1].content if self._request.messages else ""
        room = limit - _reserve(limit, options) if self._request.truncate else None
        texts, name = (before, self._request.suffix), self._model.name.full
        return Prompt(*await fill_prompt(self._runner, texts, name, limit, room))

    def _given(self, limit: int, options: Options) -> Prompt:
        """The prompt of a request that brought tokens."""
        tokens = self._checked("prompt", self._request.raw_tokens)
        if len(tokens) > limit and not self._request.truncate:
            raise PromptTooLong(len(tokens), limit)
        kept = tokens
        if len(tokens) > limit:
            kept = _cut(tokens, limit - _reserve(limit, options), options.num_keep)
        return self._prompt(kept, len(tokens) - len(kept), "")

    def _prompt(self, tokens: Tokens, dropped: int, text: str) -> Prompt:
        """``tokens``, whose text ends as ``text`` does, with what reads their answer."""
        return Prompt(
            tokens,
            dropped,
            parser=self._parser(text),
            ids=self._family.ids,
            shown=self._shown(),
            reasoning=self._reasoning(text),
            rule=self._rule,
            binding=self._binding(),
            single=bool(self._tools) and not self._request.parallel_tool_calls,
        )

    def _reasoning(self, text: str) -> Reasoning | None:
        """Where an answer may think before a rule holds: not where thinking was declined."""
        tags, messages = self._template.tags, self._request.messages
        begun = bool(messages) and _continues(messages[-1])
        unframed = self._request.raw or begun or not text
        if self._request.verbatim:
            return None
        if self._family is HARMONY:
            opened, closed, lead = channels(think=self._think is not False)
            return None if unframed else Reasoning(opened, closed, lead=lead)
        if tags is None:
            return None
        inside = self._template.starts_inside_thinking(text)
        if not inside and (self._think is False or unframed):
            return None
        return Reasoning(tags.open, tags.close, inside)

    def _binding(self) -> Constraint | None:
        """What a call must look like that the model begins by itself."""
        if self._rule or self._request.constraint or not self._reads_calls:
            return None
        return bound(self._family, self._tools, self._runner.vocabulary.controls)

    def _checked(self, name: str, tokens: Sequence[int]) -> Tokens:
        size = self._runner.vocabulary.size
        if tokens and not 0 <= min(tokens) <= max(tokens) < size:
            raise BadRequest(f"{name} holds a token outside 0..{size - 1}")
        return np.array(tokens, np.int32)

    async def render(self, messages: Sequence[Message]) -> str:
        """The text for ``messages``, for the gap before the suffix, or the raw text."""
        if self._request.raw:
            return self._request.raw
        try:
            return await trio.to_thread.run_sync(self._work(messages))
        except TemplateError as error:
            if not self._request.template:
                raise
            raise BadRequest(f"template error: {error}") from None

    def _work(self, messages: Sequence[Message]) -> Callable[[], str]:
        if self._request.suffix and fills_gaps(self._template):
            return functools.partial(insert, self._template, self._request, self._think)
        return functools.partial(
            self._template.render,
            messages,
            self._tools,
            think=self._think,
            continue_final=bool(messages) and _continues(messages[-1]),
        )

    async def _tokens(self, text: str) -> Tokens:
        prefix = self._checked("context", self._request.prefix or ())
        vocabulary = self._runner.vocabulary
        special = not len(prefix) and not self._template.begins_with_bos(text)
        tokens = await self._runner.tokenize(text, add_special=special)
        if not len(prefix):
            return tokens
        if vocabulary.add_bos and prefix[0] != vocabulary.bos:
            prefix = np.concatenate((np.array([vocabulary.bos], np.int32), prefix))
        return np.concatenate((prefix, tokens))

    async def _shorten(
        self, messages: Sequence[Message], text: str, tokens: Tokens, room: int
    ) -> tuple[str, Tokens]:
        """Leave out the oldest messages, as few as needed: a search by halves."""
        least, most = 1, droppable(messages)
        while least <= most and not (self._request.raw or self._request.suffix):
            count = (least + most) // 2
            shorter = await self.render(without_oldest(messages, count))
            found = await self._tokens(shorter)
            if len(found) <= room:
                text, tokens, most = shorter, found, count - 1
            else:
                least = count + 1
                if count == droppable(messages):
                    text, tokens = shorter, found
        return text, tokens

    def _parser(self, text: str) -> AnswerParser | None:
        splitter, calls = self._splitter(text), None
        if self._reads_calls:
            tools = Tools(() if self._request.constraint else self._tools)
            calls = self._family.parser(tools, text)
        return Reader(splitter, calls) if splitter or calls else None

    @property
    def _reads_calls(self) -> bool:
        if self._request.verbatim:
            return False
        if self._request.constraint is not None:  # channels remain, calls do not come
            return self._family is HARMONY and not self._request.raw
        return bool(self._tools) or (self._family.always and not self._request.raw)

    def _splitter(self, text: str) -> ThinkingSplitter | None:
        tags = self._template.tags
        if tags is None or self._request.verbatim:
            return None
        inside = self._template.starts_inside_thinking(text)
        interrupts = self._family.openings if self._tools and self._family.interrupts else ()
        return ThinkingSplitter(tags.open, tags.close, inside=inside, interrupts=interrupts)

    def _shown(self) -> dict[int, str]:
        """Control tokens without whose text the parser would be blind."""
        tags = self._template.tags
        known = tags is not None and not self._request.verbatim
        marks: tuple[str, ...] = (tags.open, tags.close) if tags and known else ()
        if self._reads_calls:
            marks += self._family.marks
        controls = self._runner.vocabulary.controls
        return {controls[mark]: mark for mark in marks if mark in controls}


def _continues(message: Message) -> bool:
    """An assistant's last words are the beginning of the answer; its tool calls are not."""
    return message.role == "assistant" and bool(message.content.strip()) and not message.tool_calls


def conversation(model: InstalledModel, request: TurnRequest) -> list[Message]:
    """The request's messages with the model's own system text and examples where they belong.

    A system message of the request replaces the model's; the model's examples follow it.
    """
    asked = list(request.messages)
    system = [asked.pop(0)] if asked and asked[0].role == "system" else []
    if not system and model.system:
        system = [Message("system", model.system)]
    examples = list(model.messages) if request.prefix is None else []
    return system + examples + asked


def droppable(messages: Sequence[Message]) -> int:
    """How many may be left out: all but system messages and the last."""
    return sum(message.role != "system" for message in messages[:-1])


def without_oldest(messages: Sequence[Message], count: int) -> list[Message]:
    """``messages`` without the first ``count`` that may be left out.

    What answered a message that is left out goes with it: many templates refuse a conversation
    that does not begin with the user, and a tool's result means nothing without its call.
    """
    kept: list[Message] = []
    cutting = count > 0
    for at, message in enumerate(messages):
        if message.role == "system" or at == len(messages) - 1:
            kept.append(message)
            continue
        cutting = cutting and (count > 0 or message.role != "user")
        if not cutting:
            kept.append(message)
        count -= 1
    return kept


def least_tokens(text: str, vocabulary: Vocabulary) -> int:
    """So many tokens has ``text`` without doubt: the ends of turns in it.

    llama.cpp's tokeniser needs the square of their number: minutes for a hundred thousand.
    """
    ends = (vocabulary.text_of(token) for token in np.flatnonzero(vocabulary.is_eog).tolist())
    return max((text.count(end.decode("utf-8", "replace")) for end in ends if end), default=0)


def _reserve(limit: int, options: Options) -> int:
    """Positions kept for the answer when a prompt is cut: what was asked for, a quarter at most."""
    quarter = max(limit // 4, 1)
    return min(options.num_predict, quarter) if options.num_predict > 0 else quarter


def _cut(tokens: Tokens, room: int, keep: int) -> Tokens:
    """``tokens`` within ``room``: the first ``keep`` and the end, the middle left out."""
    if len(tokens) <= room:
        return tokens
    keep = min(max(keep, 0), room // 2)
    return np.concatenate((tokens[:keep], tokens[len(tokens) - (room - keep) :]))


def room_for(runner: Runner, options: Options) -> int:
    """Positions a request may use: what it asked for, within the pool and the training."""
    most, trained = runner.limits.sequence_cells, runner.facts.train_context
    most = min(most, trained) if trained > 0 else most
    return min(options.num_ctx, most) if options.num_ctx > 0 else most
