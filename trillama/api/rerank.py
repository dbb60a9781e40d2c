"""Documents ordered by how well they answer a query, by models that rank.

A pair is one input: query and document with the model's own tokens between and around them, or its
rerank template filled in. Scores go through the same packed calls as vectors.
"""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
from quart import Blueprint, Response

from ..base.callers import Caller
from ..base.embeddings import Ranking, RerankRequest
from ..base.errors import BadRequest, Unsupported
from ..base.options import Options
from ..engine.base import Vocabulary
from ..engine.embedding import Pooling
from ..runner_pool import Runner
from ..wire.rerank import read_rerank, write_rerank
from .callers import Deadline, caller
from .connection import read_as
from .desk import Desk
from .embeddings import Embeddings, merged
from .errors import JSON
from .inputs import Inputs, InputTooLong, longest_input

PATHS = ("/api/rerank", "/rerank", "/reranking", "/v1/rerank", "/v1/reranking")

Tokens = npt.NDArray[np.int32]


class Frame:
    """What stands around query and document: ``[CLS] query [SEP] document [SEP]`` and its like.

    Args:
        ends: tokens of the empty text.
    """

    def __init__(self, vocabulary: Vocabulary, ends: Tokens) -> None:
        first = int(len(ends) > 0 and ends[0] == vocabulary.bos)
        self.before, self.behind = ends[:first], ends[first:]
        eos = [vocabulary.eos if vocabulary.eos >= 0 else vocabulary.sep] * vocabulary.add_eos
        sep = [vocabulary.sep] * vocabulary.add_sep
        self.between = np.array([token for token in eos + sep if token >= 0], np.int32)

    def pair(self, query: Tokens, document: Tokens) -> Tokens:
        """One input."""
        return np.concatenate((self.before, query, self.between, document, self.behind))

    def room(self, limit: int, query: Tokens) -> int:
        """Tokens left for a document."""
        return limit - len(self.pair(query, query[:0]))


async def read_pairs(runner: Runner, request: RerankRequest, options: Options) -> Inputs:
    """Each document with the query, as the model takes them.

    Raises:
        BadRequest: the query leaves no room for a document.
        InputTooLong: a document is too long and may not be cut, or the model has a template.
    """
    limit = longest_input(runner, options)
    if runner.facts.rerank_template:
        return await _from_template(runner, request, limit)
    (ends,) = await runner.tokenize_many([""])
    query, *documents = await runner.tokenize_many(
        [request.query, *request.documents], add_special=False
    )
    frame = Frame(runner.vocabulary, ends)
    room = frame.room(limit, query)
    if room < 1:
        raise BadRequest(f"the query has {len(query)} tokens, the model takes {limit} for a pair")
    pairs: list[Tokens] = []
    dropped = 0
    for index, document in enumerate(documents):
        if len(document) > room and not request.truncate:
            raise InputTooLong(index, len(frame.pair(query, document)), limit)
        dropped += max(len(document) - room, 0)
        pairs.append(frame.pair(query, document[:room]))
    return Inputs(pairs, dropped)


async def _from_template(runner: Runner, request: RerankRequest, limit: int) -> Inputs:
    template = runner.facts.rerank_template.replace("{query}", request.query)
    texts = [template.replace("{document}", document) for document in request.documents]
    pairs = await runner.tokenize_many(texts, add_special=False)
    for index, pair in enumerate(pairs):
        if len(pair) > limit:
            raise InputTooLong(index, len(pair), limit)
    return Inputs(pairs, 0)


def ranked(
    scores: npt.NDArray[np.float32], top: int | None, *, sigmoid: bool
) -> tuple[tuple[int, float], ...]:
    """Places and scores, best first; equal scores in the order of the documents.

    Raises:
        BadRequest: a score is not finite.
    """
    if not np.isfinite(scores).all():
        raise BadRequest("the model computed a score that is not finite")
    shown = scores.astype(np.float64)
    if sigmoid:
        shown = 1 / (1 + np.exp(-shown))
    order = np.argsort(-scores, kind="stable")[:top]
    return tuple((int(at), float(shown[at])) for at in order)


class Reranker:
    """Answers requests to rank with the models of a desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._embeddings = Embeddings(desk)

    async def rerank(self, request: RerankRequest, caller: Caller) -> Ranking:
        """The documents' order.

        Raises:
            TrillamaError: it cannot be had: the name, an option, the load, a length, too many who
                wait, a model that does not rank, the caller's time.
        """
        desk = self._desk
        with desk.meter.counted_trouble(), Deadline(caller, desk.settings) as deadline:
            return await self._rerank(request, deadline)

    async def _rerank(self, request: RerankRequest, deadline: Deadline) -> Ranking:
        began = time.monotonic_ns()
        model = await self._embeddings.find(request.model)
        options = merged(model, request.options)
        deadline.obey(options)
        lease, adapters = await self._desk.acquire(
            model, options, request.keep_alive, request.adapter
        )
        with lease:
            runner = lease.runner
            if runner.facts.pooling is not Pooling.RANK:
                raise Unsupported(f'"{request.model}" does not support rerank')
            inputs = await read_pairs(runner, request, options)
            rows = await runner.embed(inputs.tokens, adapters)
            self._desk.meter.embedded(runner.spec.name, inputs.count)
            sigmoid = not (request.raw or runner.facts.scores_are_probabilities)
        return Ranking(
            order=ranked(rows[:, 0], request.top, sigmoid=sigmoid),
            prompt_tokens=inputs.count,
            dropped=inputs.dropped,
            total_ns=time.monotonic_ns() - began,
            load_ns=lease.load_ns,
        )


def routes(desk: Desk) -> Blueprint:
    """The routes, answered with the models of ``desk``."""
    blueprint = Blueprint("rerank", __name__)
    reranker = Reranker(desk)

    async def rerank() -> Response:
        asked = await read_as(read_rerank)
        ranking = await reranker.rerank(asked.request, caller())
        return Response(write_rerank(asked, ranking), content_type=JSON)

    for path in PATHS:
        blueprint.add_url_rule(path, f"rerank at {path}", rerank, methods=["POST"])
    return blueprint
