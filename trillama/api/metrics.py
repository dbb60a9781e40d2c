"""``/metrics``: the server in figures, as Prometheus reads them.

Names and meanings are those of vLLM where it has one, with our prefix. What is so at the moment is
read from the scheduler's records at each scrape, and goes with its model; what an answer turned out
to be is counted when it ends, so totals outlive the model. Labels take values that are few: names
of installed models, reasons, codes of errors, routes; never anything that a client made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from quart import Blueprint, Response

from ..base.durations import SECOND
from ..base.errors import TrillamaError
from ..base.turns import Finished
from ..nursery_scheduler import Scheduler
from ..seats import BatchStatistics

FIRST = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
"""Bounds of the times to a first token and in a queue, in seconds."""
EACH = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)
"""The same of the time that an output token takes."""
WHOLE = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)
"""The same of whole answers."""

GAUGES: tuple[tuple[str, str, Callable[[BatchStatistics], float]], ...] = (
    ("num_requests_running", "Requests being answered.", lambda b: b.prefilling + b.generating),
    ("num_requests_waiting", "Requests that wait for their turn.", lambda b: b.waiting),
    ("num_requests_paused", "Requests whose clients read too slowly.", lambda b: b.paused),
    (
        "kv_cache_usage_ratio",
        "Share of the KV cells that hold something, finished sequences included.",
        lambda b: b.kv.used / max(1, b.kv.cells),
    ),
    (
        "kv_cache_kept_ratio",
        "Share of the KV cells that hold finished sequences, and can be had.",
        lambda b: b.kv.idle / max(1, b.kv.cells),
    ),
    ("host_cache_bytes", "Sequences in the host's memory.", lambda b: b.kv.saved_bytes),
)
"""Of each loaded model that generates: what is so now."""

COUNTERS: tuple[tuple[str, str, Callable[[BatchStatistics], float]], ...] = (
    ("engine_steps", "Decodes.", lambda b: b.steps),
    (
        "prefix_cache_queries",
        "Prompt tokens that were looked up in the cache.",
        lambda b: b.prompt_tokens + b.cached_tokens,
    ),
    ("prefix_cache_hits", "Prompt tokens that needed no computing.", lambda b: b.cached_tokens),
    ("num_preemptions", "Requests paused for want of cells.", lambda b: b.preemptions),
    ("kv_cache_evictions", "Finished sequences given up.", lambda b: b.kv.evictions),
    ("spec_decode_num_draft_tokens", "Tokens guessed ahead.", lambda b: b.drafted),
    ("spec_decode_num_accepted_tokens", "Right ones among them.", lambda b: b.accepted),
)
"""The same: counts since the model was loaded."""

MODEL = ("model",)


class Meter:
    """Counts what ends, and tells all figures.

    Args:
        scheduler: what is read at each scrape.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._registry = registry = CollectorRegistry()
        registry.register(_Now(scheduler))
        ProcessCollector(namespace="trillama", registry=registry)

        def counter(name: str, told: str, *labels: str) -> Counter:
            return Counter(f"trillama_{name}", told, labels, registry=registry)

        def histogram(name: str, told: str, bounds: tuple[float, ...]) -> Histogram:
            name = f"trillama_{name}_seconds"
            return Histogram(name, told, MODEL, buckets=bounds, registry=registry)

        labels = "handler", "method", "status"
        self._served = counter("http_requests", "Requests over, by route.", *labels)
        self._ended = counter("requests", "Answers that ended, by reason.", "model", "reason")
        self._failed = counter("request_errors", "Requests refused or broken off.", "code")
        self._prompts = counter("prompt_tokens", "Tokens of prompts.", *MODEL)
        self._outputs = counter("generation_tokens", "Tokens of answers.", *MODEL)
        told = "Requests for vectors or ranks that were computed."
        self._embedded = counter("embedding_requests", told, *MODEL)
        self._inputs = counter("embedding_tokens", "Tokens of what was embedded.", *MODEL)
        self._first = histogram("time_to_first_token", "From the request to its text.", FIRST)
        self._each = histogram("time_per_output_token", "After the first, on average.", EACH)
        self._queued = histogram("request_queue_time", "From submission to admission.", FIRST)
        self._whole = histogram("e2e_request_latency", "From the request to its end.", WHOLE)

    def finished(self, model: str, end: Finished) -> None:
        """An answer is complete."""
        usage = end.usage
        self.ended(model, end.reason.value, usage.prompt_tokens, usage.output_tokens)
        self._first.labels(model).observe((end.total_ns - usage.output_ns) / SECOND)
        self._queued.labels(model).observe(usage.queue_ns / SECOND)
        self._whole.labels(model).observe(end.total_ns / SECOND)
        if usage.output_tokens > 1:
            each = usage.output_ns / (usage.output_tokens - 1)
            self._each.labels(model).observe(each / SECOND)

    def ended(self, model: str, reason: str, prompt: int, output: int) -> None:
        """An answer is over, complete or not, after so many tokens."""
        self._ended.labels(model, reason).inc()
        self._prompts.labels(model).inc(prompt)
        self._outputs.labels(model).inc(output)

    def embedded(self, model: str, tokens: int) -> None:
        """Vectors or ranks of so many tokens have been computed."""
        self._embedded.labels(model).inc()
        self._inputs.labels(model).inc(tokens)

    def served(self, method: str, route: str, status: int) -> None:
        """A request is over, whatever it was."""
        self._served.labels(route, method, str(status)).inc()

    def failed(self, code: str) -> None:
        """A request got an error in place of its answer, or of the rest of it."""
        self._failed.labels(code).inc()

    @contextmanager
    def counted_trouble(self) -> Iterator[None]:
        """An error that leaves this block is counted."""
        try:
            yield
        except TrillamaError as error:
            self.failed(error.code)
            raise

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)


class _Now(Collector):
    """Figures of the moment."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def describe(self) -> list[Metric]:
        """Nothing: names are known without a first look at the scheduler."""
        return []

    def collect(self) -> Iterator[Metric]:
        """A family for each figure, with a sample for each model."""
        yield from self._of_scheduler()
        residents = self._scheduler.residents()
        size = GaugeMetricFamily("trillama_model_bytes", "Memory of a model.", labels=MODEL)
        for one in residents:
            size.add_metric([one.name], one.size)
        yield size
        batches = [(one.name, one.batch) for one in residents if one.batch is not None]
        for kind, figures in ((GaugeMetricFamily, GAUGES), (CounterMetricFamily, COUNTERS)):
            for name, told, figure in figures:
                family = kind(f"trillama_{name}", told, labels=MODEL)
                for model, batch in batches:
                    family.add_metric([model], figure(batch))
                yield family

    def _of_scheduler(self) -> Iterator[Metric]:
        now = self._scheduler.statistics()
        yield GaugeMetricFamily("trillama_models_loaded", "Models that answer.", now.ready)
        yield GaugeMetricFamily("trillama_models_loading", "On their way in.", len(now.loading))
        yield GaugeMetricFamily(
            "trillama_num_requests_without_model", "Requests that wait for a load.", now.waiting
        )
        totals = now.totals
        changes = CounterMetricFamily(
            "trillama_model_changes", "Comings and goings.", labels=["what"]
        )
        for what in ("loads", "failed_loads", "evicted", "expired"):
            changes.add_metric([what], getattr(totals, what))
        yield changes


def routes(meter: Meter) -> Blueprint:
    """The route."""
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics")
    async def metrics() -> Response:
        return Response(meter.text(), content_type=CONTENT_TYPE_LATEST)

    return blueprint
