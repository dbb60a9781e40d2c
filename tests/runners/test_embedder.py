"""Vectors on a loaded model: together, in order, fair, and gone when nobody wants them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
import trio
import trio.testing

from tests.support.runners import fake_spec, job, read, running, until
from trillama.base.errors import Busy, EngineError, ModelLoadError, ShuttingDown, Unsupported
from trillama.engine.embedding import EmbeddingParams
from trillama.engine.fake import FakeBackend, FakeWeights
from trillama.engine.fake_embedding import fake_row
from trillama.runner_pool import Runner, RunnerPool, RunnerSpec


def spec(**more: object) -> RunnerSpec:
    embedding = EmbeddingParams(batch=64, sequences=16, longest=64)
    return fake_spec(embedding=embedding, **more)  # type: ignore[arg-type]


def texts(count: int, length: int = 8, start: int = 0) -> list[np.ndarray]:
    return [(np.arange(length, dtype=np.int32) + start + at) % 256 for at in range(count)]


class Hold:
    """Holds the embedding thread in its calls until it is let go."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self.go = threading.Event()
        self.calls: list[int] = []

    def __call__(self, inputs: Sequence[np.ndarray]) -> None:
        self.calls.append(len(inputs))
        self.inside.set()
        assert self.go.wait(20)


async def entered(hold: Hold, runner: Runner) -> None:
    await until(hold.inside.is_set, runner)


async def test_rows_come_in_the_order_of_inputs() -> None:
    """However they were packed, each row belongs to its input."""
    backend = FakeBackend()
    async with running(RunnerPool(backend), spec()) as runner:
        wanted = texts(100, 5)
        rows = await runner.embed(wanted)

    assert np.array_equal(rows, np.stack([fake_row(tokens) for tokens in wanted]))
    (context,) = backend.models[0].embeddings
    assert max(context.counters.inputs) == 12  # 64 tokens hold twelve of five
    assert context.closed


async def test_concurrent_requests_share_calls() -> None:
    """What is asked during a call is computed together in the next."""
    backend, hold = FakeBackend(), Hold()
    backend.hooks.on_embed = hold
    async with running(RunnerPool(backend), spec()) as runner, trio.open_nursery() as nursery:
        found: dict[int, np.ndarray] = {}

        async def one(number: int) -> None:
            found[number] = await runner.embed(texts(1, 4, number))

        nursery.start_soon(one, 0)
        await entered(hold, runner)
        for number in range(1, 11):
            nursery.start_soon(one, number)
        await until(lambda: runner.statistics().embedding == 11, runner)
        hold.go.set()
        await until(lambda: len(found) == 11, runner)

    assert hold.calls == [1, 10]
    for number, rows in found.items():
        assert np.array_equal(rows[0], fake_row(texts(1, 4, number)[0]))


async def test_a_long_request_does_not_hold_up_a_short_one() -> None:
    """A request of one is answered long before the thousand that came first."""
    backend, hold = FakeBackend(), Hold()
    backend.hooks.on_embed = hold
    ended: list[str] = []
    async with running(RunnerPool(backend), spec()) as runner, trio.open_nursery() as nursery:

        async def ask(name: str, count: int) -> None:
            await runner.embed(texts(count))
            ended.append(name)

        nursery.start_soon(ask, "thousand", 1000)
        await entered(hold, runner)
        nursery.start_soon(ask, "one", 1)
        await until(lambda: runner.statistics().embedding == 2, runner)
        hold.go.set()

    assert ended == ["one", "thousand"]


async def test_a_hang_up_takes_its_inputs_out() -> None:
    """After a cancel at most the running call is computed, and nothing is left."""
    backend, hold = FakeBackend(), Hold()
    backend.hooks.on_embed = hold
    async with running(RunnerPool(backend), spec()) as runner:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.embed, texts(500))
            await entered(hold, runner)
            nursery.cancel_scope.cancel()
        hold.go.set()
        again = await runner.embed(texts(1))

        assert runner.statistics().embedding == 0
        assert len(again) == 1
        assert len(hold.calls) == 2


async def test_trouble_stays_with_its_input() -> None:
    """One input that fails ends its request; the neighbours of the same call have their rows."""
    backend = FakeBackend()
    poison = 255

    def fail(inputs: Sequence[np.ndarray]) -> None:
        if any(poison in tokens for tokens in inputs):
            raise EngineError("cannot compute this")

    backend.hooks.on_embed = fail
    async with running(RunnerPool(backend), spec()) as runner, trio.open_nursery() as nursery:
        ends: dict[int, str] = {}

        async def one(number: int) -> None:
            tokens = np.array([poison if number == 3 else number], np.int32)
            try:
                await runner.embed([tokens])
                ends[number] = "fine"
            except EngineError as error:
                ends[number] = error.message

        for number in range(6):
            nursery.start_soon(one, number)

    assert ends == {n: "cannot compute this" if n == 3 else "fine" for n in range(6)}
    assert all(context.closed for context in backend.models[0].embeddings)


async def test_a_longer_input_gets_a_larger_context() -> None:
    """The context is as small as its inputs allow, and opened anew when one is longer."""
    backend = FakeBackend()
    opened: list[int] = []
    backend.hooks.on_open_embeddings = lambda params: opened.append(params.longest)
    async with running(RunnerPool(backend), spec()) as runner:
        for length in (8, 64, 300, 20, 512):
            await runner.embed(texts(1, length))

    assert opened == [64, 512]


async def test_a_context_that_cannot_be_opened_is_tried_again() -> None:
    """No memory now is an error of that request, not of the model."""
    backend = FakeBackend()

    def refuse(params: EmbeddingParams) -> None:
        raise ModelLoadError("no memory")

    backend.hooks.on_open_embeddings = refuse
    async with running(RunnerPool(backend), spec()) as runner:
        for _ in range(2):
            with pytest.raises(ModelLoadError, match="no memory"):
                await runner.embed(texts(3))
        backend.hooks.on_open_embeddings = None
        assert len(await runner.embed(texts(3))) == 3


async def test_generating_and_embedding_go_side_by_side() -> None:
    """A model answers while it embeds: two contexts, one set of weights."""
    backend, hold = FakeBackend(), Hold()
    backend.hooks.on_embed = hold
    async with running(RunnerPool(backend), spec()) as runner, trio.open_nursery() as nursery:
        nursery.start_soon(runner.embed, texts(4))
        await entered(hold, runner)
        with runner.submit_nowait(job("Repeat: on\n")) as answer:
            assert (await read(answer))[0] == "on"
        hold.go.set()

    assert len(backend.models) == 1


async def test_a_model_that_only_embeds_has_no_pool() -> None:
    """No cells are reserved for answers it cannot give, and a job is refused."""
    backend = FakeBackend()
    async with running(RunnerPool(backend), spec(generates=False)) as runner:
        assert len(await runner.embed(texts(2))) == 2
        assert runner.context_length == 4096
        with pytest.raises(Unsupported):
            runner.submit_nowait(job("x"))

    assert backend.contexts == []


async def test_a_model_that_cannot_embed_says_so() -> None:
    """The error is that of the model, and asking again gives it again."""
    backend = FakeBackend(weights={"/m": FakeWeights(pooling=None)})
    async with running(RunnerPool(backend), spec()) as runner:
        for _ in range(2):
            with pytest.raises(Unsupported, match="cannot embed"):
                await runner.embed(texts(1))


async def test_too_many_are_told_to_come_back() -> None:
    """Beyond the queue and what one call holds a request is refused, with a time."""
    backend, hold = FakeBackend(), Hold()
    backend.hooks.on_embed = hold
    async with running(RunnerPool(backend), spec(max_queue=2)) as runner:
        async with trio.open_nursery() as nursery:
            for _ in range(18):
                nursery.start_soon(runner.embed, texts(1))
            await until(lambda: runner.statistics().embedding == 18, runner)
            with pytest.raises(Busy) as refused:
                await runner.embed(texts(1))
            hold.go.set()
        assert len(await runner.embed(texts(1))) == 1
    assert refused.value.retry_after >= 1


async def test_closing_ends_requests_and_frees_in_order() -> None:
    """Who waits is told; the context is gone before the weights are."""
    backend, hold = FakeBackend(), Hold()
    backend.hooks.on_embed = hold
    ends: list[str] = []

    async def ask(runner: Runner) -> None:
        with pytest.raises(ShuttingDown):
            await runner.embed(texts(100))
        ends.append("told")

    async with trio.open_nursery() as nursery, running(RunnerPool(backend), spec()) as runner:
        nursery.start_soon(ask, runner)
        await entered(hold, runner)
        threading.Timer(0.05, hold.go.set).start()

    assert ends == ["told"]
    assert not backend.open_models
    assert backend.models[0].embeddings[0].closed


async def test_draining_waits_for_vectors() -> None:
    """A request that runs may finish; new ones are refused."""
    backend, hold = FakeBackend(), Hold()
    backend.hooks.on_embed = hold
    async with running(RunnerPool(backend), spec()) as runner, trio.open_nursery() as nursery:
        nursery.start_soon(runner.embed, texts(3))
        await entered(hold, runner)
        nursery.start_soon(runner.drain)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ShuttingDown):
            await runner.embed(texts(1))
        hold.go.set()
