"""The jobs inside an engine: who waits, who runs, what a step computes, what memory they hold.

Used by ``batching`` alone. A ``Seat`` is a job from submission to its end; the ``Line`` says who
is admitted; ``Memory`` keeps their cells; a ``Plan`` is the rows of one step. Nothing here decodes.
"""

from .line import Line
from .memory import Memory
from .plan import Plan, divide, load_of
from .policy import Policy
from .rota import Rota
from .seat import Seat, dead_end, take_seat
from .speculation import Speculation
from .statistics import BatchStatistics, Counts, summary

__all__ = [
    "BatchStatistics",
    "Counts",
    "Line",
    "Memory",
    "Plan",
    "Policy",
    "Rota",
    "Seat",
    "Speculation",
    "dead_end",
    "divide",
    "load_of",
    "summary",
    "take_seat",
]
