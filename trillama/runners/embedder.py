"""Texts to vectors on a loaded model: a context and a thread of their own, beside those that
generate.

The context is opened when somebody asks, over weights that are in memory already, and goes with the
runner. While one call computes, what others ask for gathers and goes together in the next. A
request that is left takes its inputs out before the next call; trouble with one input ends the
request it belongs to, never its neighbours.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import structlog
import trio

from ..base.adapters import Adapters
from ..base.errors import Busy, EngineError, ModelLoadError, TrillamaError
from ..engine.base import Model
from ..engine.embedding import EmbeddingParams, Tokens, Vectors
from ..engine.packing import Packer, Part
from ..engine.threads import EngineThread
from .admission import QUEUE_FULL
from .lanes import Lanes, Outcome
from .machine import EngineMachine
from .pace import Pace
from .spec import RunnerSpec

log = structlog.get_logger(__name__)

MAX_WAITING = 8_000_000
"""Tokens that may wait for one model."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of one input: its row, or an error."""

    request: str
    index: int
    row: Vectors | None = None
    error: TrillamaError | None = None


class EmbeddingMachine:
    """What lives on the thread: contexts, made anew when a longer input comes.

    Args:
        model: the loaded model; asked on the thread.
    """

    def __init__(self, model: Callable[[], Model], params: EmbeddingParams) -> None:
        self.packer = Packer()
        self._model = model
        self._params = params
        self._lanes: Lanes | None = None

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return self.packer.has_work

    @property
    def linger(self) -> float:
        """Nothing is waited for: what comes during a call goes into the next."""
        return 0.0

    def open(self) -> None:
        """Open the context.

        Raises:
            TrillamaError: the model cannot embed, or the library refused.
        """
        self._open(self._params.longest)

    def _open(self, longest: int) -> Lanes:
        self.close()
        params = dataclasses.replace(self._params, longest=longest)
        self._lanes = lanes = Lanes(self._model().open_embeddings, params)
        self.packer.batch, self.packer.sequences = lanes.limits.pack, lanes.limits.sequences
        return lanes

    def step(self) -> list[Embedded]:
        """Compute the next inputs together; alone, one after the other, where that fails."""
        wanted = self._lanes.wanted if self._lanes else 1
        packs = [parts for _ in range(wanted) if (parts := self.packer.take())]
        found = zip(packs, self._compute(packs), strict=True)
        return [one for parts, outcome in found for one in self._results(parts, outcome)]

    def _results(self, parts: Sequence[Part], outcome: Outcome) -> list[Embedded]:
        if not isinstance(outcome, TrillamaError):
            rows = zip(parts, outcome, strict=True)
            return [Embedded(part.request, part.index, row) for part, row in rows]
        self.close()  # whatever went wrong, the next call begins afresh
        if len(parts) == 1:
            return [Embedded(parts[0].request, parts[0].index, error=outcome)]
        return [one for part in parts for one in self._results([part], self._compute([[part]])[0])]

    def _compute(self, packs: Sequence[Sequence[Part]]) -> list[Outcome]:
        longest = max(len(part.tokens) for parts in packs for part in parts)
        try:
            lanes = self._lanes or self._open(self._params.longest)
            if longest > lanes.limits.longest:
                lanes = self._open(1 << (longest - 1).bit_length())
        except (EngineError, ModelLoadError) as error:
            return [error] * len(packs)
        return lanes.compute([[part.tokens for part in parts] for parts in packs])

    def close(self) -> None:
        """Free the contexts."""
        lanes, self._lanes = self._lanes, None
        if lanes is not None:
            lanes.close()


class _Request:
    """One call of ``Embedder.embed``: rows that have come, and whether all have."""

    def __init__(self, inputs: Sequence[Tokens]) -> None:
        self.tokens = sum(map(len, inputs))
        self.rows: list[Vectors | None] = [None] * len(inputs)
        self.missing = len(inputs)
        self.error: TrillamaError | None = None
        self.done = trio.Event()

    def take(self, event: Embedded) -> None:
        if event.error is not None:
            self.fail(event.error)
        elif self.rows[event.index] is None:
            self.rows[event.index] = event.row
            self.missing -= 1
            if not self.missing:
                self.done.set()

    def fail(self, error: TrillamaError) -> None:
        self.error = copy.copy(error)  # each task raises its own, with its own traceback
        self.done.set()


class _Session:
    """One context from its opening to its end: its adapters, the thread, the requests in it."""

    def __init__(
        self,
        spec: RunnerSpec,
        adapters: Adapters,
        model: Callable[[], Model],
        over: Callable[[_Session], None],
    ) -> None:
        self.adapters = adapters
        self.requests: dict[str, _Request] = {}
        params = dataclasses.replace(spec.embedding, adapters=adapters)
        self.machine = EmbeddingMachine(model, params)
        self.thread = EngineThread(f"{spec.name}:embed", self.machine, self)
        self.broken = False
        self._name = spec.name
        self._over = over

    def opened(self) -> None:
        """The context is there."""

    def deliver(self, events: Sequence[Embedded]) -> None:
        """Hand rows to whoever still waits for them."""
        for event in events:
            if request := self.requests.get(event.request):
                request.take(event)

    def broke(self, error: Exception) -> None:
        """The context could not be opened, or a bug; the next request tries again."""
        known = error if isinstance(error, TrillamaError) else EngineError(f"embedding: {error!r}")
        log.error("embedding failed", model=self._name, error=known.message)
        self.broken = True
        self.fail_all(known)
        self.thread.stop()

    def closed(self) -> None:
        """The context is freed and the thread gone."""
        self._over(self)

    def fail_all(self, error: TrillamaError) -> None:
        """End every request with ``error``."""
        for request in self.requests.values():
            request.fail(error)


class Embedder:
    """Vectors from one loaded model; every method belongs to the trio thread.

    Args:
        machine: holds the loaded model.
        freed: called when a context is gone.
    """

    def __init__(self, spec: RunnerSpec, machine: EngineMachine, freed: Callable[[], None]) -> None:
        self._spec = spec
        self._model: Callable[[], Model] = lambda: machine.model
        self._freed: Callable[[], object] | None = freed
        self._sessions: dict[Adapters, _Session] = {}
        self._live: set[_Session] = set()
        self._numbers = count(1)
        self._requests = 0
        self._tokens = 0
        self._pace = Pace()
        self._emptied = trio.lowlevel.ParkingLot()

    @property
    def requests(self) -> int:
        """Requests that wait or are computed."""
        return self._requests

    @property
    def live(self) -> bool:
        """A context is there, or on its way in or out."""
        return bool(self._live)

    async def embed(self, inputs: Sequence[Tokens], adapters: Adapters = ()) -> Vectors:
        """Rows of ``inputs`` in their order, float32, shape (n, width), as the model gives them.

        Each set of adapters has a context of its own. Cancelling takes out the inputs
        that are not being computed.

        Raises:
            Busy: too many wait already.
            EngineError: the library failed on one of them.
            Unsupported: the model cannot embed.
        """
        if not inputs:
            return np.empty((0, 0), np.float32)
        request = _Request(inputs)
        self._admit(request)
        session = self._running(adapters)
        number = str(next(self._numbers))
        session.requests[number] = request
        self._requests += 1
        self._tokens += request.tokens
        session.thread.post(session.machine.packer.add, number, inputs)
        try:
            await request.done.wait()
        finally:
            self._leave(session, number, request)
        if request.error is not None:
            raise request.error
        return np.stack([row for row in request.rows if row is not None])

    def _admit(self, request: _Request) -> None:
        crowded = self._requests >= max(1, self._spec.max_queue) + self._spec.embedding.sequences
        heavy = self._tokens and self._tokens + request.tokens > MAX_WAITING
        if crowded or heavy:
            raise Busy(QUEUE_FULL, self._pace.retry_after(self._requests, trio.current_time()))

    def _running(self, adapters: Adapters) -> _Session:
        session = self._sessions.get(adapters)
        if session is None or session.broken:
            session = _Session(self._spec, adapters, self._model, self._over)
            try:
                session.thread.start()
            except RuntimeError as error:
                raise EngineError(f"no thread to embed with: {error}") from error
            self._sessions[adapters] = session
            self._live.add(session)
        return session

    def _leave(self, session: _Session, number: str, request: _Request) -> None:
        del session.requests[number]
        if request.missing:
            session.thread.post(session.machine.packer.drop, number)
        self._requests -= 1
        self._tokens -= request.tokens
        self._pace.tick(trio.current_time())
        if not self._requests:
            self._emptied.unpark_all()

    def _over(self, session: _Session) -> None:
        self._live.discard(session)
        if self._freed is not None:
            self._freed()

    async def wait_empty(self) -> None:
        """Wait until nobody waits for vectors."""
        while self._requests:
            await self._emptied.park()

    def fail_all(self, error: TrillamaError) -> None:
        """End every request with ``error``."""
        for session in self._live:
            session.fail_all(error)

    def stop(self) -> None:
        """Have the contexts freed after the calls that run; again is harmless."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            if not session.broken:
                session.thread.stop()

    def forget(self) -> None:
        """Let go of who is told: the model is freed."""
        self._freed = None
