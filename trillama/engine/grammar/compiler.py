"""Compiles constraints for one vocabulary, each once, within a deadline.

Called from worker threads, any number at once. A grammar is compiled on a thread of its own with
a deep stack, because llguidance recurses through schemas; a thread that takes long gives way to
the rest of the machine, and one that takes too long is left behind and its grammar refused.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
import time
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
from .sources import Reasoning, atoms, grammar_text, option_name
from .tokens import grammar_tokenizer

log = structlog.get_logger(__name__)

DEADLINE = 1.5
"""Seconds a grammar may take to compile."""
PATIENCE = 0.03
"""Seconds after which a compiling thread gives way to others."""
AT_ONCE = 2
"""Grammars compiled at once, those left behind included."""
ENTRIES = 64
"""Compiled grammars kept."""
REHEARSAL = 48
"""Tokens of the walk through a new grammar that finds out whether it can be followed."""

SLOW = 0.02
"""Seconds of computing that the usual token of a grammar may cost."""

_LIMITS = LLParserLimits(
    initial_lexer_fuel=150_000,
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
        self._kept: OrderedDict[tuple[Constraint, Reasoning | None], LLMatcher | str] = (
            OrderedDict()
        )
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
            kept = self._compile(text, tokenizer)
            with self._lock:
                self._kept[key] = kept
                while len(self._kept) > self._entries:
                    self._kept.popitem(last=False)
        if isinstance(kept, str):
            raise BadRequest(f"{option_name(constraint)}: {kept}")
        return Matcher(
            kept.deep_copy(),
            self._spelled,
            self._vocabulary.is_eog,
            self._thought(reasoning, tokenizer) if reasoning and reasoning.wanted else None,
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
        closing: list[int] = []
        for atom in atoms(reasoning.close, self._vocabulary.controls):
            closing += [atom] if isinstance(atom, int) else tokenizer.tokenize_str(atom)
        begun = "" if reasoning.inside else reasoning.open
        return Thought(begun.encode(), reasoning.close.encode(), closing)

    def _compile(self, text: str, tokenizer: LLTokenizer) -> LLMatcher | str:
        """A grammar, or why there can be none: what was refused once is refused at once."""
        if not self._places.acquire(timeout=self._deadline):
            raise Busy("too many grammars are being compiled")
        work = _Compilation(text, tokenizer, self._places.release)
        found = work.result(self._deadline)
        if found is None:
            log.warning("a grammar was given up", characters=len(text))
            return f"not compiled within {self._deadline:g} s; make it simpler"
        return _first_line(found) if isinstance(found, str) else found


class _Compilation:
    """One grammar on its way, on a thread of its own."""

    def __init__(self, text: str, tokenizer: LLTokenizer, done: Callable[[], None]) -> None:
        self._text = text
        self._tokenizer = tokenizer
        self._done = done
        self._found: LLMatcher | str | None = None
        self._thread = _deep_thread(self._main)

    def result(self, deadline: float) -> LLMatcher | str | None:
        """The grammar, or what is wrong with it; None once the deadline has passed."""
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            _give_way(self._thread)
            self._thread.join(deadline - PATIENCE)
        return self._found

    def _main(self) -> None:
        try:
            matcher = LLMatcher(self._tokenizer, self._text, log_level=0, limits=_LIMITS)
            failed = matcher.is_error()
            self._found = str(matcher.get_error()) if failed else _rehearsed(matcher)
        finally:
            self._done()


def _rehearsed(matcher: LLMatcher) -> LLMatcher | str:
    """``matcher``, or why an answer soon could not go on, or too slowly.

    Walks through the grammar by tokens that it allows, always others, which also fills its caches.
    """
    walker, costs = matcher.deep_copy(), [0.0]
    for step in range(REHEARSAL):
        began = time.thread_time()
        ids = np.flatnonzero(
            np.unpackbits(np.frombuffer(walker.compute_bitmask(), np.uint8), bitorder="little")
        )
        if walker.is_error():
            return str(walker.get_error())
        if not len(ids) or walker.is_stopped():
            break
        walker.consume_token(int(ids[(step * 7919) % len(ids)]))
        costs.append(time.thread_time() - began)
    if statistics.median(costs) > SLOW:
        return "every token costs too much to check; make it simpler"
    return str(walker.get_error()) if walker.is_error() else matcher


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
