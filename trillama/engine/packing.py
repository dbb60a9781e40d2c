"""Which inputs are computed together: whole inputs of many requests, packed into one call.

The requests take turns, one input each, so that a request of thousands does not hold up a request
of one. Pure book-keeping in tokens; the embedding thread drives it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from .embedding import Tokens


@dataclass(frozen=True, slots=True)
class Part:
    """One input of one request; ``index`` is its place there."""

    request: str
    index: int
    tokens: Tokens


class Packer:
    """Inputs that wait.

    Args:
        batch: tokens of one call; a longer input goes alone.
        sequences: inputs of one call.

    Attributes:
        batch, sequences: as above; may be changed at any time.
    """

    def __init__(self, batch: int = 1, sequences: int = 1) -> None:
        self.batch = batch
        self.sequences = sequences
        self._waiting: OrderedDict[str, deque[Part]] = OrderedDict()

    def add(self, request: str, inputs: Sequence[Tokens]) -> None:
        """Queue the inputs of a request that is new here."""
        if inputs:
            self._waiting[request] = deque(
                Part(request, index, tokens) for index, tokens in enumerate(inputs)
            )

    def drop(self, request: str) -> None:
        """Forget what waits of a request; an unknown one is no trouble."""
        self._waiting.pop(request, None)

    def take(self) -> list[Part]:
        """The next inputs to compute together; none when nothing waits."""
        taken: list[Part] = []
        room = self.batch
        while self._waiting and len(taken) < self.sequences:
            request, queue = next(iter(self._waiting.items()))
            if taken and len(queue[0].tokens) > room:
                break
            part = queue.popleft()
            room -= len(part.tokens)
            taken.append(part)
            self._waiting.move_to_end(request)
            if not queue:
                del self._waiting[request]
        return taken

    @property
    def has_work(self) -> bool:
        """Something waits."""
        return bool(self._waiting)

    @property
    def waiting(self) -> int:
        """Inputs that wait."""
        return sum(map(len, self._waiting.values()))
