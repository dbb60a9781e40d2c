"""The neutral job: what every dialect asks of an engine, in tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .options import Options


@dataclass(slots=True, kw_only=True)
class Job:
    """One answer to be generated.

    Attributes:
        id: unique while the server lives; stands on every log line of the request.
        prompt: int32 tokens, shape (n,), n >= 1; never changed after submission.
        options: sampling and limits, already merged and checked.
        limit: positions the sequence may use (prompt + output), <= the pool's cells.
        shift: slide the window when the limit is reached, where the model can; else end by length.
        cache_key: sequences share cached prefixes only within one key (adapter set, tenant).
        logprobs: None for none, else so many alternatives are reported beside each token.
        submitted: monotonic nanoseconds.
        shown: control tokens that belong to the answer's text, with what they spell.
    """

    id: str
    prompt: npt.NDArray[np.int32]
    options: Options = field(default_factory=Options)
    limit: int
    shift: bool = False
    cache_key: str = ""
    logprobs: int | None = None
    submitted: int = 0
    shown: Mapping[int, str] = field(default_factory=dict)
