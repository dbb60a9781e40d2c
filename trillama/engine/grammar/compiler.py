"""Compiles constraints for one vocabulary, each once, within a deadline.

Called from worker threads, any number at once. A grammar is compiled on a thread of its own with
a deep stack, because llguidance recurses through schemas; a thread that takes long gives way to
the rest of the machine, and one that takes too long is left behind and its grammar refused.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import structlog
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from trillama.base.constraints import Constraint
from trillama.base.errors import BadRequest, Busy
from trillama.engine.base import Vocabulary
from trillama.engine.threads import DEEP_STACK, LEAST_STACK, stack_size_of

from .matcher import Matcher, Thought
from .sources import Reasoning, grammar_text, option_name
from .tokens import grammar_tokenizer

log = structlog.get_logger(__name__)

DEADLINE = 1.5
"""Seconds a grammar may take to compile."""
PATIENCE = 0.1
"""Seconds after which a compiling thread gives way to others."""
AT_ONCE = 2
"""Grammars compiled at once, those left behind included."""
ENTRIES = 64
"""Compiled grammars kept."""
REHEARSAL = 48
"""Tokens of the walk through a new grammar that finds out whether it can be followed."""

_LIMITS = LLParserLimits(
    step_lexer_fuel=100_000,
    max_lexer_states=50_000,
    verbose_errors=False,
)


class GrammarCompiler:
    """Compiled grammars of one vocabulary.

    Args:
        deadline: seconds a grammar may take.
        entries: how many are kept.
    """

    def __init__(
        self, vocabulary: Vocabulary, *, deadline: float = DEADLINE, entries: int = ENTRIES
    ) -> None:
        self._vocabulary = vocabulary
        self._deadline = deadline
        self._entries = entries
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._kept: OrderedDict[tuple[Constraint, Reasoning | None], LLMatcher] = OrderedDict()
        self._tokenizer: LLTokenizer | None = None
        self._spelled: list[bytes] = []

    def matcher(
        self, constraint: Constraint, reasoning: Reasoning | None = None, *, patient: bool = False
    ) -> Matcher:
        """A matcher for one answer. Blocks up to the deadline; for a worker thread.

        Raises:
            BadRequest: the constraint is malformed, uses what is not supported, or is too complex;
                the message names the option and, of a schema, the keyword.
            Busy: too many compile at once.
        """
        tokenizer = self._shared_tokenizer()
        key = constraint, reasoning
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        if kept is None:
            text = grammar_text(constraint, reasoning, self._vocabulary.controls)
            kept = self._compile(text, tokenizer, option_name(constraint))
            with self._lock:
                self._kept[key] = kept
                while len(self._kept) > self._entries:
                    self._kept.popitem(last=False)
        return Matcher(
            kept.deep_copy(),
            self._spelled,
            self._vocabulary.is_eog,
            self._thought(reasoning, tokenizer) if reasoning else None,
            patient=patient,
        )

    def _shared_tokenizer(self) -> LLTokenizer:
        with self._lock:
            if self._tokenizer is None:
                names = {token: name for name, token in self._vocabulary.controls.items()}
                self._spelled = [
                    piece or names.get(token, "").encode()
                    for token, piece in enumerate(self._vocabulary.pieces)
                ]
                self._tokenizer = grammar_tokenizer(self._vocabulary)
            return self._tokenizer

    def _thought(self, reasoning: Reasoning, tokenizer: LLTokenizer) -> Thought:
        control = self._vocabulary.controls.get(reasoning.close)
        closing = tokenizer.tokenize_str(reasoning.close) if control is None else [control]
        begun = "" if reasoning.inside else reasoning.open
        return Thought(begun.encode(), reasoning.close.encode(), closing)

    def _compile(self, text: str, tokenizer: LLTokenizer, name: str) -> LLMatcher:
        if not self._places.acquire(timeout=self._deadline):
            raise Busy("too many grammars are being compiled")
        work = _Compilation(text, tokenizer, self._places.release)
        matcher = work.result(self._deadline)
        if matcher is None:
            log.warning("a grammar was given up", option=name, characters=len(text))
            raise BadRequest(f"{name}: not compiled within {self._deadline:g} s; make it simpler")
        if matcher.is_error():
            raise BadRequest(f"{name}: {_first_line(matcher.get_error())}")
        return matcher


class _Compilation:
    """One grammar on its way, on a thread of its own."""

    def __init__(self, text: str, tokenizer: LLTokenizer, done: Callable[[], None]) -> None:
        self._text = text
        self._tokenizer = tokenizer
        self._done = done
        self._matcher: LLMatcher | None = None
        self._thread = _deep_thread(self._main)

    def result(self, deadline: float) -> LLMatcher | None:
        """The grammar, possibly in error; None once the deadline has passed."""
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            _give_way(self._thread)
            self._thread.join(deadline - PATIENCE)
        return self._matcher

    def _main(self) -> None:
        try:
            matcher = LLMatcher(self._tokenizer, self._text, log_level=0, limits=_LIMITS)
            self._matcher = matcher if matcher.is_error() else _rehearsed(matcher)
        finally:
            self._done()


def _rehearsed(matcher: LLMatcher) -> LLMatcher:
    """``matcher``, or a copy in error if an answer soon cannot go on.

    Walks through the grammar by tokens that it allows, always others, which also fills its caches.
    """
    walker = matcher.deep_copy()
    for step in range(REHEARSAL):
        ids = np.flatnonzero(
            np.unpackbits(np.frombuffer(walker.compute_bitmask(), np.uint8), bitorder="little")
        )
        if walker.is_error():
            return walker
        if not len(ids) or walker.is_stopped():
            break
        walker.consume_token(int(ids[(step * 7919) % len(ids)]))
    return walker if walker.is_error() else matcher


def _deep_thread(target: Callable[[], None]) -> threading.Thread:
    """Start a thread with the deepest stack there is room for."""
    for size in (DEEP_STACK, LEAST_STACK):
        with contextlib.suppress(RuntimeError), stack_size_of(size):
            thread = threading.Thread(target=target, name="grammar", daemon=True)
            thread.start()
            return thread
    raise Busy("no thread to compile a grammar on")


def _give_way(thread: threading.Thread) -> None:
    """Let everybody else run first, where the system can tell threads apart."""
    if thread.native_id is not None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread.native_id, 19)


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]
