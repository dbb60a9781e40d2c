"""One answer on its way: what the engine says, read as text, thoughts and calls.

Made by ``desk``, read by the routes of every dialect. A cancel, in whatever phase, leaves by the
exit of a ``with`` block or by ``Turn.close``: the lease and the sequence are given back by plain
calls, at once. However it ends, that is counted, once.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from ..base.errors import TrillamaError
from ..base.events import AnswerEvent, Done, Text, Usage
from ..base.messages import ToolCall
from ..base.turns import Finished, Piece, TokenLogprob, TurnEvent
from ..nursery_scheduler import Lease
from ..prompts.parsers.family import new_id
from ..runner_pool import Answer
from .logprobs import token_logprobs
from .metrics import Meter
from .prompting import Prompt


class Turn:
    """One answer on its way: neutral events to read, everything given back when it is left.

    Args:
        meter: told once how the answer ended.

    Attributes:
        tokens: of prompt and answer so far, if they are asked for.
    """

    def __init__(
        self, lease: Lease, answer: Answer, prompt: Prompt, started: int, meter: Meter
    ) -> None:
        self._lease = lease
        self._answer = answer
        self._prompt = prompt
        self._started = started
        self._meter: Meter | None = meter
        self._parser = prompt.parser
        self._satisfied = False  # the one call that was wanted has been made
        self._thinking_tokens = self._silent_tokens = 0
        self._scores: list[TokenLogprob] = []
        self.tokens: list[int] | None = None

    async def receive_many(
        self, tap: Callable[[Sequence[TurnEvent]], bool] | None = None
    ) -> Sequence[TurnEvent]:
        """Events that wait, at least one; none once all were read.

        Args:
            tap: takes events, in order, in the very call that brought them while this one waits;
                once it returns false this returns, possibly without events.

        Raises:
            TrillamaError: what ended the answer.
        """

        def show(event: Text) -> bool:
            found = self._parse((event,))
            return not found or (tap is not None and tap(found))

        try:
            while events := await self._answer.receive_many(show if tap else None):
                if found := self._parse(events):
                    return found
        except TrillamaError as error:
            self._tell(error)
            raise
        return ()

    def _tell(self, end: Finished | TrillamaError | None) -> None:
        """Have it counted how the answer ended, unless it has been; None: nobody waited for it."""
        meter, self._meter = self._meter, None
        if meter is None:
            return
        model = self._lease.runner.spec.name
        if isinstance(end, Finished):
            meter.finished(model, end)
            return
        reason, usage = "error" if end else "cancelled", self.usage
        meter.ended(model, reason, usage.prompt_tokens, usage.output_tokens)
        if end:
            meter.failed(end.code)

    def _parse(self, events: Sequence[AnswerEvent]) -> list[TurnEvent]:
        found: list[TurnEvent] = []
        for event in events:
            if isinstance(event, Done):
                found += self._finish(event)
                continue
            if self._satisfied:
                continue
            if self.tokens is not None:
                self.tokens += event.tokens
            if event.scores:
                self._scores += token_logprobs(event, self._lease.runner.vocabulary)
            parser = self._parser
            read = parser.push(event.text) if parser else Piece(event.text)
            if parser:
                self._count_thinking(read, len(event.tokens))
            said = self._said(read)
            found += said
            if self._prompt.single and any(piece.tool_calls for piece in said):
                self._satisfied = True
                self._answer.stop()
        return found

    def _count_thinking(self, said: Piece, tokens: int) -> None:
        """Tokens that say nothing yet belong to what is said next."""
        self._silent_tokens += tokens
        if said.content or said.tool_calls:
            self._silent_tokens = 0
        elif said.thinking:
            self._thinking_tokens += self._silent_tokens
            self._silent_tokens = 0

    def _said(self, found: Piece) -> list[Piece]:
        """What a parser found as a client is told it: text, then calls with ids of their own."""
        said = [Piece(found.content, found.thinking)] if found.content or found.thinking else []
        if found.tool_calls:
            ids = self._prompt.ids
            wanted = found.tool_calls[:1] if self._prompt.single else found.tool_calls
            calls = (ToolCall(one.function, one.id or new_id(ids)) for one in wanted)
            said.append(Piece(tool_calls=tuple(calls)))
        if said and self._scores:
            said[0] = dataclasses.replace(said[0], logprobs=tuple(self._scores))
            self._scores = []
        return said

    def _finish(self, done: Done) -> list[TurnEvent]:
        parser = None if self._satisfied else self._parser
        rest = self._said(parser.finish() if parser else Piece())
        if self._scores:  # of tokens without text
            rest.append(Piece(logprobs=tuple(self._scores)))
        end = Finished(
            reason=done.reason,
            usage=done.usage,
            total_ns=time.monotonic_ns() - self._started,
            load_ns=self._lease.load_ns,
            dropped=self._prompt.dropped,
            tokens=tuple(self.tokens or ()),
            stop=done.stop,
            malformed=self._parser is not None and self._parser.malformed,
            thinking_tokens=self._thinking_tokens,
        )
        self._tell(end)
        return [*rest, end]

    @property
    def usage(self) -> Usage:
        """Counts so far; of the prompt all once the first event has come."""
        return self._answer.counts

    def close(self) -> None:
        """Withdraw what still runs and give the model back; again is harmless."""
        self._tell(None)
        self._answer.cancel()
        self._lease.release()

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, *left: object) -> None:
        self.close()
