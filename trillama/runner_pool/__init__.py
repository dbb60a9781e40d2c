"""Runners: one loaded model each, with the thread that drives it and the answers it gives.

Owns: the engine threads, the tokeniser threads, and every answer from ``submit_nowait`` to its
``Done`` or its error. Tokens become text here, on the trio thread, while the next decode runs.
Called by: ``nursery_scheduler``, which alone starts and closes runners; ``api`` submits to the
runner of a lease and reads the answer.
Never: decides which model stays resident, sees JSON, or calls the engine from the trio thread.
A cancel of an answer is a plain call and frees its sequence within one engine step; a cancel of a
load stops it at the next progress report. A reader that is slow pauses its own job alone.

``answers`` is the hot path, ``roster`` the answers of one runner, ``machine`` what lives on its
engine thread, ``runner`` its life, ``pool`` all runners, ``pace`` when to come back, ``spec`` the
nouns.
"""

from .answers import MAILBOX, Answer
from .pace import Pace
from .pool import PoolStatistics, RunnerPool
from .roster import QUEUE_FULL
from .runner import Runner
from .spec import RunnerSpec, RunnerState, RunnerStatistics, RunnerTotals

__all__ = [
    "MAILBOX",
    "QUEUE_FULL",
    "Answer",
    "Pace",
    "PoolStatistics",
    "Runner",
    "RunnerPool",
    "RunnerSpec",
    "RunnerState",
    "RunnerStatistics",
    "RunnerTotals",
]
