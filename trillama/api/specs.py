"""From a model, its options and the settings to what the dispatcher is asked to run. Pure."""

from __future__ import annotations

from ..base.options import Options
from ..base.settings import Settings
from ..batching import Policy
from ..engine.base import ContextParams, LoadParams
from ..engine.embedding import EmbeddingParams
from ..models.capabilities import COMPLETION
from ..models.installed import InstalledModel
from ..runner_pool import RunnerSpec

DEFAULT_CELLS = 16_384
"""KV cells of a model's pool when nobody says; shared by all who use it at once."""

MAX_MICRO_BATCH = 2048

LEAST_OUTPUTS = 32
"""Rows of logits of a step at least: a lone answer's guesses need one each."""

MAX_LIVE = 64
"""Requests one model answers at once when nobody says, at most."""

STREAMS = 8
"""The same where each is to have cells of its own."""

SEQUENCES = 128
"""Ids at least: those that are not live keep finished prompts for reuse."""

MAX_SEQUENCES = 256
"""Ids llama.cpp has at most (LLAMA_MAX_SEQ)."""

MAX_STREAMS = 224
"""So many leave ids for those that are kept."""


STATE_MEMORY = 1 << 30
"""Bytes that states of recurrent models may take when nobody says how many there are to be."""

FEWEST_STATES = 8
"""So many there are, however large."""


def runner_spec(model: InstalledModel, options: Options, settings: Settings) -> RunnerSpec:
    """The runner ``model`` needs.

    Args:
        options: defaults, the model's and the request's, merged. ``num_ctx`` of a request is a
            limit on that request; only the model's own makes the pool larger.
    """
    own = model.parameters.get("num_ctx")
    cells = max(settings.context_length or DEFAULT_CELLS, own if isinstance(own, int) else 0)
    live = min(settings.num_parallel or MAX_LIVE, MAX_SEQUENCES)
    return RunnerSpec(
        key=str(model.weights),
        name=model.name.short,
        path=str(model.weights),
        draft=str(model.drafts[-1]) if model.drafts else "",
        load=LoadParams(
            gpu_layers=options.num_gpu if options.num_gpu >= 0 else settings.gpu_layers,
            main_gpu=options.main_gpu,
            use_mmap=options.use_mmap,
        ),
        context=_context(options, settings, cells, (live, _ids(model, settings, live))),
        policy=Policy(
            max_live=settings.num_parallel and live,
            step_budget=settings.step_budget,
            prefix_cache=settings.prefix_cache,
            speculation=settings.speculation,
            host_cache=settings.host_cache,
        ),
        generates=COMPLETION in model.capabilities,
        embedding=EmbeddingParams(
            threads=options.num_thread or settings.num_thread,
            flash_attention=settings.flash_attention,
        ),
        stall_timeout=settings.stall_timeout,
        max_queue=settings.max_queue,
        max_queue_tokens=settings.max_queue_tokens,
        footprint=model.footprint,
    )


def _ids(model: InstalledModel, settings: Settings, live: int) -> int:
    """Sequence ids: each costs a state where the model has states."""
    state = sum(model.footprint.state) if model.footprint else 0
    if not state:
        return min(max(2 * live, SEQUENCES), MAX_SEQUENCES)
    return live if settings.num_parallel else min(live, max(FEWEST_STATES, STATE_MEMORY // state))


def _context(
    options: Options, settings: Settings, cells: int, ids: tuple[int, int]
) -> ContextParams:
    """How the context is opened, for so many answers at once and so many sequence ids."""
    live, sequences = ids
    kind = settings.kv_cache_type or "f16"
    return ContextParams(
        cells=cells,
        streams=_streams(settings),
        kv_memory=settings.kv_memory,
        sequences=sequences,
        outputs=max(live, LEAST_OUTPUTS),
        micro_batch=min(max(options.num_batch, 1), MAX_MICRO_BATCH),
        threads=options.num_thread or settings.num_thread,
        cache_type_k=kind,
        cache_type_v=kind,
        flash_attention=settings.flash_attention,
    )


def _streams(settings: Settings) -> int:
    """Requests that get cells of their own, as many as Ollama would allocate; 0 for one pool."""
    if settings.kv_layout == "unified":
        return 0
    few = STREAMS if settings.kv_layout == "streams" else 0
    return min(settings.num_parallel or few, MAX_STREAMS)
