"""Vectors: ``/api/embed``, ``/api/embeddings``, ``/v1/embeddings``, and the one path behind them.

find the model > check > acquire a lease > tokenise, fit > embed > check, shorten, normalise
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import structlog
import trio
from quart import Blueprint, Response

from ..base.callers import Caller
from ..base.embeddings import EmbeddingRequest, Vectors
from ..base.errors import BadRequest, NotFound
from ..base.options import Options, merge_options
from ..engine.embedding import Pooling
from ..models.installed import InstalledModel
from ..wire.embeddings import (
    read_embed,
    read_embeddings,
    read_openai_embeddings,
    write_embed,
    write_embeddings,
    write_openai_embeddings,
)
from .callers import Deadline, caller
from .connection import read_as
from .desk import Desk
from .errors import JSON
from .inputs import read_inputs

log = structlog.get_logger(__name__)

T = TypeVar("T")

MANY = 1 << 16
"""Values from which they are left to a thread."""

_FLOOR = 1e-12


class NotPulled(NotFound):
    """The model is not installed, in the words of the routes that embed."""

    def __init__(self, name: str) -> None:
        super().__init__(f'model "{name}" not found, try pulling it first')


def merged(model: InstalledModel, changes: dict[str, object]) -> Options:
    """The model's own options with a request's over them."""
    own, _ = merge_options(Options(), model.parameters)
    options, ignored = merge_options(own, changes)
    if ignored:
        log.warning("options without effect", names=ignored)
    return options


def finished(rows: npt.NDArray[np.float32], dimensions: int) -> npt.NDArray[np.float32]:
    """Rows cut to ``dimensions`` and of length 1; a row of zeros stays one.

    Raises:
        BadRequest: a value is not finite.
    """
    if not np.isfinite(rows).all():
        raise BadRequest("embedding contains NaN or Inf values")
    rows = normalised(rows)
    if 0 < dimensions < rows.shape[1]:
        rows = normalised(rows[:, :dimensions])
    return rows


def normalised(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rows of length 1."""
    lengths = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    found: npt.NDArray[np.float32] = (rows / np.maximum(lengths, _FLOOR)).astype(np.float32)
    return found


class Embeddings:
    """Answers requests for vectors with the models of a desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def find(self, name: str) -> InstalledModel:
        """The model a client means.

        Raises:
            NotPulled: it is not installed.
        """
        try:
            return await self._desk.find(name)
        except NotFound:
            raise NotPulled(name) from None

    async def embed(self, request: EmbeddingRequest, caller: Caller) -> Vectors | None:
        """Vectors for a request; None if it has no inputs and only loads.

        Raises:
            TrillamaError: it cannot be had: the name, an option, the load, a length, too many who
                wait, a model that does not embed, the caller's time.
        """
        desk = self._desk
        with desk.meter.counted_trouble(), Deadline(caller, desk.settings) as deadline:
            return await self._embed(request, deadline)

    async def _embed(self, request: EmbeddingRequest, deadline: Deadline) -> Vectors | None:
        began = time.monotonic_ns()
        model = await self.find(request.model)
        options = merged(model, request.options)
        deadline.obey(options)
        lease, adapters = await self._desk.acquire(
            model, options, request.keep_alive, request.adapter
        )
        with lease:
            runner = lease.runner
            if runner.facts.pooling in (None, Pooling.RANK):
                raise BadRequest(f'"{request.model}" does not support embeddings')
            if not request.inputs:
                return None
            inputs = await read_inputs(runner, request.inputs, options, truncate=request.truncate)
            rows = await runner.embed(inputs.tokens, adapters)
            self._desk.meter.embedded(runner.spec.name, inputs.count)
            load_ns = lease.load_ns
        work = functools.partial(finished, rows, request.dimensions)
        return Vectors(
            rows=await off_the_loop(rows.size, work),
            prompt_tokens=inputs.count,
            dropped=inputs.dropped,
            total_ns=time.monotonic_ns() - began,
            load_ns=load_ns,
        )


async def off_the_loop(size: int, work: Callable[[], T]) -> T:
    """The result of ``work`` on ``size`` values, on a thread if they are many."""
    return work() if size < MANY else await trio.to_thread.run_sync(work)


async def _written(found: Vectors | None, write: Callable[[], bytes]) -> Response:
    body = await off_the_loop(0 if found is None else found.rows.size, write)
    return Response(body, content_type=JSON)


def routes(desk: Desk) -> Blueprint:
    """The routes, answered with the models of ``desk``."""
    blueprint = Blueprint("embeddings", __name__)
    embeddings = Embeddings(desk)

    @blueprint.post("/api/embed")
    async def embed() -> Response:
        request = await read_as(read_embed)
        found = await embeddings.embed(request, caller())
        return await _written(found, lambda: write_embed(request.model, found))

    @blueprint.post("/api/embeddings")
    async def legacy() -> Response:
        request = await read_as(read_embeddings)
        found = await embeddings.embed(request, caller())
        return await _written(found, lambda: write_embeddings(found))

    @blueprint.post("/v1/embeddings")
    async def openai() -> Response:
        asked = await read_as(read_openai_embeddings)
        found = await embeddings.embed(asked.request, caller())
        assert found is not None
        model = asked.request.model
        return await _written(
            found, lambda: write_openai_embeddings(model, found, as_base64=asked.base64)
        )

    return blueprint
