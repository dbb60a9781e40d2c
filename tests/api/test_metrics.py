"""What Prometheus reads: parsed by its own parser, against what clients were told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.faults import connections
from tests.support.house import House, ask, connect, model
from trillama.engine.base import Batch
from trillama.engine.fake import babble, fixed

SERVED = "trillama_http_requests_total"
REQUESTS = "trillama_requests_total"
Samples = dict[tuple[str, str], float]


async def scrape(house: House) -> Samples:
    """Values by the name of a sample and the values of its labels, joined."""
    reply = await ask(house, "GET", "/metrics")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain; version=")
    return {
        (one.name, " ".join(one.labels.values())): one.value
        for family in text_string_to_metric_families(reply.body.decode())
        for one in family.samples
    }


def answered(house: House, count: int) -> Callable[[], bool]:
    """Whether the engine has told of so many answers' tokens, which it does a moment later."""

    def told() -> bool:
        batches = [runner.batch for runner in house.server.pool.statistics().runners]
        return house.live == 0 and sum(b.output_tokens for b in batches if b) >= count

    return told


async def test_an_idle_server_has_figures(build: Callable[..., Any]) -> None:
    """Nothing is loaded, nothing was asked; the process is there."""
    seen = await scrape(await build(model("m")))
    assert seen["trillama_models_loaded", ""] == 0
    assert seen["trillama_process_resident_memory_bytes", ""] > 1 << 20
    assert not [name for name, labels in seen if labels == "m:latest"]


async def test_requests_over_are_counted_by_route(build: Callable[..., Any]) -> None:
    """With their status; paths and methods that a client made up make no labels of their own."""
    house = await build(model("m"))
    await ask(house, "GET", "/api/version")
    await ask(house, "POST", "/api/show", {"model": "nowhere"})
    for path in ("/made/up", "/and/another"):
        await ask(house, "BREW", path)
    await house.until(lambda: not connections())
    seen = await scrape(house)
    served = {labels: value for (name, labels), value in seen.items() if name == SERVED}
    assert served == {"/api/version GET 200": 1, "/api/show POST 404": 1, "none none 404": 2}


async def test_vectors_are_counted(build: Callable[..., Any]) -> None:
    """Those that were computed with their tokens, the others by what was wrong."""
    house = await build(model("m"))
    body = {"model": "m", "input": ["four score", "and seven"]}
    told = (await ask(house, "POST", "/api/embed", body)).json()
    await ask(house, "POST", "/api/embed", body | {"model": "nowhere"})
    await ask(house, "POST", "/api/rerank", {"model": "m", "query": "a", "documents": ["b"]})
    seen = await scrape(house)
    assert seen["trillama_embedding_requests_total", "m:latest"] == 1
    assert seen["trillama_embedding_tokens_total", "m:latest"] == told["prompt_eval_count"] > 0
    assert seen["trillama_request_errors_total", "not_found"] == 1
    assert seen["trillama_request_errors_total", "unsupported"] == 1


async def test_totals_are_what_clients_were_told(build: Callable[..., Any]) -> None:
    """Tokens, reasons and times; the cache's hits of the second answer; and they stay when the
    model goes."""
    house = await build(model("m"), script=fixed("four score and seven"))
    body = {"model": "m", "prompt": "A" * 64, "raw": True, "stream": False}
    told = [(await ask(house, "POST", "/api/generate", body)).json() for _ in range(2)]
    await house.until(answered(house, sum(one["eval_count"] for one in told) - 2))
    seen = await scrape(house)

    assert seen[REQUESTS, "m:latest stop"] == 2
    assert seen["trillama_prompt_tokens_total", "m:latest"] == 2 * told[0]["prompt_eval_count"]
    outputs = sum(one["eval_count"] for one in told)
    assert seen["trillama_generation_tokens_total", "m:latest"] == outputs
    assert (
        seen["trillama_prefix_cache_queries_total", "m:latest"] == 2 * told[0]["prompt_eval_count"]
    )
    assert seen["trillama_prefix_cache_hits_total", "m:latest"] == told[0]["prompt_eval_count"] - 1
    assert seen["trillama_num_requests_running", "m:latest"] == 0
    assert 0 < seen["trillama_kv_cache_usage_ratio", "m:latest"] < 1
    whole = seen["trillama_e2e_request_latency_seconds_sum", "m:latest"]
    assert whole == pytest.approx(sum(one["total_duration"] for one in told) / 1e9)
    first = seen["trillama_time_to_first_token_seconds_sum", "m:latest"]
    later = sum(one["eval_duration"] for one in told) / 1e9
    assert first == pytest.approx(whole - later, abs=1e-3)
    assert seen["trillama_time_per_output_token_seconds_count", "m:latest"] == 2

    await ask(house, "POST", "/api/generate", {"model": "m", "keep_alive": 0})
    await house.until(lambda: house.backend.open_models == 0)
    gone = await scrape(house)
    assert gone["trillama_generation_tokens_total", "m:latest"] == outputs
    assert ("trillama_kv_cache_usage_ratio", "m:latest") not in gone
    assert gone["trillama_model_changes_total", "loads"] == 1


async def test_refusals_are_counted_by_their_codes(build: Callable[..., Any]) -> None:
    """Labels are codes; what a client made up appears nowhere."""
    house = await build(model("m"))
    body = {"model": "made-up-name", "prompt": "x", "stream": False}
    assert (await ask(house, "POST", "/api/generate", body)).status == 404
    assert (await ask(house, "POST", "/v1/chat/completions", {
        "model": "made-up-name", "messages": [{"role": "user", "content": "x"}]
    })).status == 404  # fmt: skip
    seen = await scrape(house)
    assert seen["trillama_request_errors_total", "not_found"] == 2
    assert "made-up-name" not in str(seen)


async def test_an_answer_that_breaks_or_is_left_is_counted_once(build: Callable[..., Any]) -> None:
    """As what it was, with the tokens of its prompt."""
    house = await build(model("m"), script=babble)
    house.hooks.on_decode = lambda batch: time.sleep(0.001)
    body = {"model": "m", "prompt": "A" * 40, "raw": True, "options": {"num_predict": 1000}}
    wire = await connect(house)
    await wire.send("POST", "/api/generate", json.dumps(body).encode())
    await wire.until(b"\n")
    wire.hang_up()
    await house.until(house.quiet)  # it fails at the next request

    def fail(batch: Batch) -> None:
        raise RuntimeError("the engine broke")

    house.hooks.on_decode = fail
    broken = await ask(house, "POST", "/api/generate", body | {"stream": False})
    assert broken.status == 500
    seen = await scrape(house)
    counted = {labels: value for (name, labels), value in seen.items() if name == REQUESTS}
    assert counted == {"m:latest cancelled": 1, "m:latest error": 1}
    assert seen["trillama_request_errors_total", "engine_error"] == 1
