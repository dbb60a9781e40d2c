"""From the replies of one load to the numbers of the tables: pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec
import numpy as np


class Reply(msgspec.Struct):
    """One request as its client saw it; times in seconds of one monotonic clock.

    Attributes:
        sent: when the request had been written.
        texts: when each piece of text arrived, in order.
        ended: when the last byte arrived.
        retry_after: seconds after which a refused client should come back; 0 where none is named.
    """

    sent: float
    texts: list[float]
    ended: float
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    error: str | None = None
    retry_after: int = 0


class Summary(msgspec.Struct):
    """One load in figures; times in milliseconds, rates in tokens per second of wall time.

    Attributes:
        ttft: from the request sent to its first text.
        gap: between two pieces of text of one stream.
        worst_gap: the longest gap of any stream; `median_worst_gap` takes each stream's longest.
        tokens_per_text: above 1 the server sends several tokens at a time, and gaps mean less.
        cached_share: part of the prompt tokens that servers say they took from a cache.
        client_cpu: processor time of the load generator as a part of one core.
        wrong_lengths: replies with another number of tokens than was asked for.
    """

    requests: int
    errors: int
    wrong_lengths: int
    seconds: float
    output_rate: float
    prompt_rate: float
    ttft_p50: float
    ttft_p99: float
    gap_p50: float
    gap_p99: float
    worst_gap: float
    median_worst_gap: float
    tokens_per_text: float
    cached_share: float
    client_cpu: float


def percentile(values: Sequence[float], q: float) -> float:
    """The q-th percentile, interpolated; NaN of nothing."""
    return float(np.percentile(values, q)) if len(values) else float("nan")


def median(values: Sequence[float]) -> float:
    return percentile(values, 50)


def gaps(reply: Reply) -> list[float]:
    """Seconds between neighbouring pieces of text of one stream."""
    return [b - a for a, b in pairwise(reply.texts)]


def summarise(replies: Sequence[Reply], expected: tuple[int, int], client_cpu: float) -> Summary:
    """Figures of one load. `expected` is (prompt, output) tokens; (0, n) skips the first check."""
    good = [r for r in replies if r.error is None and r.texts]
    seconds = max(r.ended for r in replies) - min(r.sent for r in replies)
    all_gaps = [gaps(r) for r in good]
    flat = [g for per_stream in all_gaps for g in per_stream]
    worst = [max(per_stream) for per_stream in all_gaps if per_stream]
    ttft = [r.texts[0] - r.sent for r in good]
    output, prompt = sum(r.output_tokens for r in good), sum(r.prompt_tokens for r in good)
    return Summary(
        requests=len(replies),
        errors=len(replies) - len(good),
        wrong_lengths=sum(_wrong(r, *expected) for r in good),
        seconds=seconds,
        output_rate=output / seconds,
        prompt_rate=prompt / seconds,
        ttft_p50=1e3 * percentile(ttft, 50),
        ttft_p99=1e3 * percentile(ttft, 99),
        gap_p50=1e3 * percentile(flat, 50),
        gap_p99=1e3 * percentile(flat, 99),
        worst_gap=1e3 * max(worst, default=float("nan")),
        median_worst_gap=1e3 * median(worst),
        tokens_per_text=output / max(1, sum(len(r.texts) for r in good)),
        cached_share=sum(r.cached_tokens for r in good) / max(1, prompt),
        client_cpu=client_cpu / seconds,
    )


def _wrong(reply: Reply, prompt_tokens: int, output_tokens: int) -> bool:
    wrong_prompt = prompt_tokens > 0 and reply.prompt_tokens != prompt_tokens
    return wrong_prompt or reply.output_tokens != output_tokens


def ratio(ours: Iterable[float], theirs: Iterable[float]) -> float:
    """Median of the ratios of paired runs: each pair ran close in time, on the same machine."""
    return median([a / b for a, b in zip(ours, theirs, strict=True)])
