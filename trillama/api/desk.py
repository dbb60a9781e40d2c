"""The one path of every chat and completion.

    resolve the name > check what is asked > acquire a lease > render > tokenise > submit > parse

Owns: a ``Desk`` for the server. Called by the routes of every dialect with a neutral
``TurnRequest``; hands back a ``Turn``, which gives neutral events.
Never: sees JSON or HTTP, decides which model stays, touches the engine.
A cancel, in whatever phase, leaves by the exit of a ``with`` block: the place in the queue and the
lease are given back by plain calls, at once.
"""

from __future__ import annotations

import dataclasses
import time
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import structlog
import trio

from ..base.adapters import AdapterChoice, Adapters
from ..base.callers import Caller
from ..base.errors import BadRequest, Busy, NotFound, TrillamaError, Unsupported
from ..base.jobs import Guide, Job
from ..base.names import ModelName, ModelReference, Source, parse_reference
from ..base.options import Options, merge_options
from ..base.settings import Settings
from ..base.turns import TurnRequest
from ..models.capabilities import COMPLETION, THINKING, TOOLS
from ..models.installed import InstalledModel
from ..nursery_scheduler import Lease, Scheduler
from ..prompts.pictures import tagged
from ..runner_pool import Tokenizer
from .adapters import AdapterBook, lease_with
from .callers import Deadline
from .doorkeeper import Doorkeeper
from .metrics import Meter
from .prompting import Prompt, Prompter, Tokens, conversation, room_for
from .specs import runner_spec
from .templates import go_source, prepare
from .turn import Turn

log = structlog.get_logger(__name__)

NO_LIMIT = 2**31 - 1
"""Positions of a prompt that is only looked at."""


class CloudDisabled(TrillamaError):
    """The name asks for a model that runs elsewhere."""

    status = 403
    code = "cloud_disabled"

    def __init__(self) -> None:
        super().__init__("ollama cloud is disabled: remote model is unavailable")


class Models(Protocol):
    """The installed models; every call reads files and belongs to a worker thread."""

    def find(self, wanted: ModelName | ModelReference) -> InstalledModel:
        """The model of that name, without regard to case; raises NotFound."""
        ...

    def installed(self) -> list[InstalledModel]:
        """All of them."""
        ...

    def licenses(self, model: InstalledModel) -> list[str]:
        """Texts of its licenses."""
        ...


class Desk:
    """Answers turns with the installed models.

    Attributes:
        models: what is installed.
        scheduler: what is loaded.
        meter: what is counted.
        ready: the store may be asked; set once the bundled model is in its place.
    """

    def __init__(self, models: Models, scheduler: Scheduler, settings: Settings) -> None:
        self.ready = trio.Event()
        self.models = models
        self.scheduler = scheduler
        self.settings = settings
        self._adapters = AdapterBook(self.find)
        self.meter = Meter(scheduler)
        self._doorkeeper = Doorkeeper()

    async def find(self, name: str) -> InstalledModel:
        """The installed model a client means.

        Raises:
            BadRequest: the name is malformed.
            CloudDisabled: it asks for a model elsewhere.
            NotFound: nothing of that name is installed.
        """
        reference = parse_reference(name)
        if reference.source is Source.CLOUD:
            raise CloudDisabled
        await self.ready.wait()
        try:
            model = await trio.to_thread.run_sync(self.models.find, reference)
        except NotFound:
            raise NotFound(f"model '{name}' not found") from None
        if model.weights is None:
            raise CloudDisabled
        return model

    async def load(self, request: TurnRequest, caller: Caller) -> str:
        """Carry out a request that wants no answer.

        Returns:
            what was done: "load" or "unload".
        """
        with Deadline(caller, self.settings) as deadline:
            model = await self.find(request.model)
            if request.only_unloads:
                self.scheduler.expire(str(model.weights))
                return "unload"
            options = _check(model, request)
            deadline.obey(options)
            lease, _ = await self.acquire(model, options, request.keep_alive, request.adapters)
            with lease:
                return "load"

    async def preload(self, name: str) -> None:
        """Load a model before anybody asks for it; it stays as long as any.

        Raises:
            TrillamaError: it cannot be loaded.
        """
        model = await self.find(name)
        options, _ = merge_options(Options(), model.parameters)
        lease, _ = await self.acquire(model, options)
        lease.release()

    def tokenizer(self, model: InstalledModel) -> AbstractAsyncContextManager[Tokenizer]:
        """What tokenises for a model without loading more of it than its vocabulary."""
        return self.scheduler.tokenizer(runner_spec(model, Options(), self.settings))

    async def show(self, request: TurnRequest) -> str:
        """The text the model would be given; the model need not be loaded."""
        model = await self.find(request.model)
        _check(model, request, only_shown=True)
        await _prepare(model, request)
        async with self.tokenizer(model) as tokenizer:
            prompter = Prompter(tokenizer, model, request, _think(model, request))
            return await prompter.render(tagged(conversation(model, request)))

    async def preview(self, request: TurnRequest) -> Tokens:
        """The prompt as the model would be given it, uncut, int32; it need not be loaded."""
        model = await self.find(request.model)
        options = _check(model, request)
        await _prepare(model, request)
        async with self.tokenizer(model) as tokenizer:
            prompter = Prompter(tokenizer, model, request, _think(model, request))
            return (await prompter.make(NO_LIMIT, options)).tokens

    async def begin(self, request: TurnRequest, job_id: str, caller: Caller) -> Turn:
        """Have a request answered; whoever asks for it closes the turn.

        Raises:
            TrillamaError: it cannot be: the name, an option, the load, the length of the prompt,
                too many who wait, the caller's time.
        """
        with self.meter.counted_trouble(), Deadline(caller, self.settings) as deadline:
            return await self._begin(request, job_id, caller, deadline)

    async def _begin(
        self, request: TurnRequest, job_id: str, caller: Caller, deadline: Deadline
    ) -> Turn:
        started = time.monotonic_ns()
        self._doorkeeper.check(request.model, caller.client)
        model = await self.find(request.model)
        options = _check(model, request)
        deadline.obey(options)
        await _prepare(model, request)
        lease, adapters = await self.acquire(model, options, request.keep_alive, request.adapters)
        try:
            self._doorkeeper.enter(request.model, lease.runner, caller.client)
            with lease.runner.expecting():
                limit = room_for(lease.runner, options)
                prompter = Prompter(lease.runner, model, request, _think(model, request))
                prompt = await prompter.make(limit, options)
                job = Job(
                    id=job_id,
                    prompt=prompt.tokens,
                    options=options,
                    limit=limit,
                    adapters=adapters,
                    # A rule's answer without its beginning is none: it ends with the context.
                    shift=request.shift is not False and request.constraint is None,
                    logprobs=request.logprobs,
                    guide=await _guide(lease, request, prompt),
                    client=caller.client,
                    priority=caller.priority or options.priority,
                    deadline=deadline.at,
                    submitted=time.monotonic_ns(),
                    shown=prompt.shown,
                    prediction=prompt.prediction,
                )
            turn = Turn(lease, lease.runner.submit_nowait(job), prompt, started, self.meter)
        except BaseException:
            lease.release()
            raise
        if request.wants_tokens:
            turn.tokens = prompt.tokens.tolist()
        return turn

    async def acquire(
        self,
        model: InstalledModel,
        options: Options,
        keep_alive: int | None = None,
        wanted: tuple[AdapterChoice, ...] | None = None,
    ) -> tuple[Lease, Adapters]:
        """A lease on a runner for ``model``, and the adapters it has for this request.

        Raises:
            TrillamaError: an adapter is not what it should be, or something cannot be loaded now.
        """
        adapters = await self._adapters.chosen(model, wanted)
        spec = dataclasses.replace(
            runner_spec(model, options, self.settings),
            adapters=self._adapters.size(model, adapters),
        )
        return await lease_with(self.scheduler, spec, keep_alive, adapters), adapters


async def _prepare(model: InstalledModel, request: TurnRequest) -> None:
    """Compile what has to be compiled, before anything is loaded."""
    if go_source(model, request) or model.config.renderer:
        await trio.to_thread.run_sync(prepare, model, request)


async def _guide(lease: Lease, request: TurnRequest, prompt: Prompt) -> Guide | None:
    """The rule an answer keeps; who wants log-probabilities has every token sampled."""
    rule = request.constraint or prompt.rule
    patient = request.logprobs is not None
    if rule is not None:
        return await lease.runner.guide(rule, prompt.reasoning, patient=patient)
    if prompt.binding is None:
        return None
    try:
        return await lease.runner.guide(prompt.binding, None, patient=patient)
    except (BadRequest, Busy) as error:  # nobody has asked for it
        log.info("calls are not bound", reason=error.message)
        return None


def _check(model: InstalledModel, request: TurnRequest, *, only_shown: bool = False) -> Options:
    """What the request asks of the model, or why it cannot be had."""
    if not only_shown and any(message.images for message in request.messages):
        raise Unsupported("not supported by this version of trillama: images")
    if COMPLETION not in model.capabilities:
        raise BadRequest(f'"{request.model}" does not support {request.verb}')
    if request.tools and TOOLS not in model.capabilities:
        raise BadRequest(f"{model.name.full} does not support tools")
    if request.think and THINKING not in model.capabilities:
        raise BadRequest(f'"{request.model}" does not support thinking')
    own, _ = merge_options(Options(), model.parameters)
    options, ignored = merge_options(own, request.options)
    if ignored:
        log.warning("options without effect", names=ignored)
    return options


def _think(model: InstalledModel, request: TurnRequest) -> bool | str | None:
    """The request's wish; a model that can reason does so unless told otherwise."""
    if request.think is None and THINKING in model.capabilities:
        return True
    return request.think
