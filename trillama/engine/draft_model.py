"""Guesses by a second, smaller model of the same vocabulary.

Used by ``seats.speculation`` on the engine thread. The small model has a context of its own, in
which it follows the few answers it guesses for; what it says is only ever a guess, so it is greedy,
stops where it is not sure, and is simply forgotten where anything goes wrong.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from trillama.base.errors import EngineError, ModelLoadError

from .base import Context, ContextParams, DecodeStatus, MemoryKind, Model
from .prefix_tree import common_length

Tokens = npt.NDArray[np.int32]
Owner = TypeVar("Owner")

FOLLOWED = 4
"""Answers that are guessed for at once."""
CATCH_UP = 512
"""Tokens of an answer that are read in one step, until it has been caught up with."""
LEAST_CHANCE = 0.4
"""A guess the small model itself does not believe in is not worth a row."""
LEARN = 0.1


@dataclass(slots=True)
class _Followed:
    """One answer's sequence in the small model's memory, and what is in it."""

    sequence: int
    tokens: Tokens = field(default_factory=lambda: np.empty(0, np.int32))


class DraftModel(Generic[Owner]):
    """A small model that says how answers may go on.

    Args:
        context: of the small model; its first ``FOLLOWED`` sequences are used.
        clock: nanoseconds.

    Attributes:
        token_ns: what one guess for each of those followed takes, as measured lately.
    """

    def __init__(self, context: Context, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._context = context
        self._clock = clock
        self._batch = context.new_batch()
        self._free = list(range(min(FOLLOWED, context.limits.sequences, context.limits.outputs)))
        self._followed: dict[Owner, _Followed] = {}
        self.token_ns = 0.0

    def propose(self, answers: Mapping[Owner, Tokens], most: int) -> dict[Owner, list[int]]:
        """What may come next in each of several answers; nothing for those it has to read first.

        Args:
            answers: all tokens of each, int32, shape (n,), the newest last.
            most: tokens to guess at most.
        """
        try:
            return self._propose(answers, most)
        except EngineError:
            self._forget_all()
            return {}

    def _propose(self, answers: Mapping[Owner, Tokens], most: int) -> dict[Owner, list[int]]:
        drafts: dict[Owner, list[int]] = {}
        self._batch.clear()
        for owner, tokens in answers.items():
            if self._read(owner, tokens, most):
                drafts[owner] = []
        if not self._batch.size or not self._decode():
            return {}
        going = list(drafts)
        while going:
            going = self._extend(going, drafts)
            going = [owner for owner in going if len(drafts[owner]) < most]
            if not going or not self._follow(going, drafts):
                break
        return {owner: draft for owner, draft in drafts.items() if draft}

    def _read(self, owner: Owner, tokens: Tokens, most: int) -> bool:
        """Add what is not read yet to the batch; whether it ends with the newest token."""
        one = self._seat(owner)
        limits = self._context.limits
        if one is None or len(tokens) + most > limits.sequence_cells:
            return False
        same = common_length(one.tokens, tokens[:-1])
        if same < len(one.tokens):
            self._context.seq_remove(one.sequence, same)
        room = min(CATCH_UP, limits.batch - self._batch.size)
        rest = tokens[same : same + room]
        one.tokens = tokens[: same + len(rest)].copy()
        if not len(rest):
            return False
        self._batch.add_run(one.sequence, same, rest)
        caught_up = same + len(rest) == len(tokens)
        if caught_up:
            self._batch.want_last()
        return caught_up

    def _seat(self, owner: Owner) -> _Followed | None:
        if owner not in self._followed and self._free:
            self._followed[owner] = _Followed(self._free.pop())
        return self._followed.get(owner)

    def _decode(self) -> bool:
        if self._context.decode(self._batch) is DecodeStatus.OK:
            return True
        self._forget_all()
        return False

    def _extend(self, owners: Sequence[Owner], drafts: dict[Owner, list[int]]) -> list[Owner]:
        """Take the best token of each row; those remain whose token was likely enough."""
        vocabulary, logits = self._context.vocabulary, self._context.logits()
        best = logits.argmax(1)
        peaks = logits[np.arange(len(owners)), best]
        with np.errstate(all="ignore"):
            chances = 1.0 / np.exp(logits - peaks[:, None]).sum(1)
        sure = (chances >= LEAST_CHANCE) & ~vocabulary.is_eog[best]
        for owner, token, likely in zip(owners, best.tolist(), sure.tolist(), strict=True):
            if likely:
                drafts[owner].append(token)
        return [owner for owner, likely in zip(owners, sure.tolist(), strict=True) if likely]

    def _follow(self, owners: Sequence[Owner], drafts: dict[Owner, list[int]]) -> bool:
        """Compute the latest guess of each, to guess on from there."""
        began = self._clock()
        self._batch.clear()
        for owner in owners:
            one, token = self._followed[owner], drafts[owner][-1]
            self._batch.add_run(one.sequence, len(one.tokens), np.array([token], np.int32))
            self._batch.want_last()
            one.tokens = np.append(one.tokens, np.int32(token))
        done = self._decode()
        taken = self._clock() - began
        self.token_ns += (LEARN if self.token_ns else 1.0) * (taken - self.token_ns)
        return done

    def leave(self, owner: Owner) -> None:
        """Forget an answer."""
        if one := self._followed.pop(owner, None):
            self._context.seq_remove(one.sequence)
            self._free.append(one.sequence)

    def _forget_all(self) -> None:
        self._context.clear()
        for one in self._followed.values():
            one.tokens = np.empty(0, np.int32)


def draft_params(params: ContextParams) -> ContextParams:
    """How a draft model's context is opened beside one with ``params``: a small pool of its own."""
    return dataclasses.replace(
        params, streams=0, unified=True, sequences=FOLLOWED, outputs=FOLLOWED, batch=CATCH_UP
    )


def check_draft(model: Model, draft: Model) -> None:
    """See that a model can guess for another one.

    Raises:
        ModelLoadError: its tokens mean something else, or it cannot take a token back.
    """
    one, other = model.vocabulary, draft.vocabulary
    if one.pieces != other.pieces or one.controls != other.controls:
        raise ModelLoadError("the draft model has another vocabulary")
    if draft.facts.memory not in (MemoryKind.ATTENTION, MemoryKind.SLIDING):
        raise ModelLoadError(f"a draft model with a memory of kind {draft.facts.memory.value}")
