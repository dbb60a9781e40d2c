"""The neutral job: what every dialect asks of an engine, in tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from .adapters import Adapters
from .callers import Priority
from .options import Options

Mask: TypeAlias = npt.NDArray[np.uint32]
"""A bit for each token of a vocabulary, shape (ceil(n_vocab / 32),), lowest bit first."""


class Guide(Protocol):
    """A rule that an answer keeps, and the place it has reached in it.

    Belongs to one job; used by one thread at a time. Nothing here raises for what a model does.
    """

    @property
    def done(self) -> bool:
        """Whether the answer is complete and nothing may follow."""
        ...

    @property
    def wary(self) -> bool:
        """Whether a refusal is likely, so that the mask is worth computing ahead."""
        ...

    @property
    def failure(self) -> str:
        """Why no token can follow, "" if the rule itself is sound."""
        ...

    def take(self, token: int) -> int:
        """Go on by ``token``, an end token included.

        Returns:
            the token to go on with, nearly always the same one; -1 if it may not come here, and
            then nothing has changed.
        """
        ...

    def forced(self, most: int) -> list[int]:
        """Tokens that must come next, at most so many; they count as taken."""
        ...

    def mask(self) -> Mask:
        """The tokens that may come next."""
        ...


@dataclass(slots=True, kw_only=True)
class Job:
    """One answer to be generated.

    Attributes:
        id: unique while the server lives; stands on every log line of the request.
        prompt: int32 tokens, shape (n,), n >= 1; never changed after submission.
        options: sampling and limits, already merged and checked.
        limit: positions the sequence may use (prompt + output), <= the pool's cells.
        shift: slide the window when the limit is reached, where the model can; else end by length.
        cache_key: sequences share cached prefixes only within one key (tenant) and with one set of
            adapters.
        adapters: LoRA adapters of the model, loaded, that all of it is computed with.
        logprobs: None for none, else so many alternatives are reported beside each token.
        guide: a rule the answer keeps; ended by it, an answer has no end token of its own.
        client: whose it is; clients share a busy engine equally.
        priority: how urgent it is beside others.
        deadline: when it must be over, on trio's clock.
        submitted: monotonic nanoseconds.
        shown: control tokens that belong to the answer's text, with what they spell.
        prediction: tokens the client expects in the answer, int32, shape (n,); it is only sooner
            there where they come.
    """

    id: str
    prompt: npt.NDArray[np.int32]
    options: Options = field(default_factory=Options)
    limit: int
    shift: bool = False
    cache_key: str = ""
    adapters: Adapters = ()
    logprobs: int | None = None
    guide: Guide | None = None
    client: str = ""
    priority: Priority = Priority.INTERACTIVE
    deadline: float = math.inf
    submitted: int = 0
    shown: Mapping[int, str] = field(default_factory=dict)
    prediction: npt.NDArray[np.int32] | None = None

    @property
    def prefix_key(self) -> str:
        """What two jobs have in common that may share cells."""
        return f"{self.cache_key}\n{self.adapters}" if self.adapters else self.cache_key
