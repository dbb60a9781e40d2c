"""What clients hear of guesses: counts in every dialect that has a place for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.guessing import every_guess
from tests.support.house import ask, model
from trillama.base.errors import ModelLoadError
from trillama.engine.base import LoadParams
from trillama.engine.fake import fixed
from trillama.seats import speculation

TEXT = "the cat saw the dog, " * 6


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guesses are taken whatever rows cost: nothing here takes any time."""
    monkeypatch.setattr(speculation, "share_out", every_guess)


async def test_native_records_count_guesses(build: Callable[..., Any]) -> None:
    """Only where there were any; ``draft_num_predict`` 0 has none, and the text is the same."""
    house = await build(model("m"), script=fixed(TEXT), speculation=True)
    for most, expected in ((-1, True), (3, True), (0, False)):
        options = {"draft_num_predict": most, "temperature": 0}
        body = {"model": "m", "prompt": TEXT, "stream": False, "options": options}
        answer = (await ask(house, "POST", "/api/generate", body)).json()
        assert answer["response"] == TEXT
        assert ("draft_count" in answer) == expected
        if expected:
            assert 0 < answer["draft_accepted_count"] <= answer["draft_count"]


async def test_openai_usage_counts_guesses(build: Callable[..., Any]) -> None:
    """In the fields that the official client knows."""
    house = await build(model("m"), script=fixed(TEXT), speculation=True)
    body = {"model": "m", "messages": [{"role": "user", "content": TEXT}]}
    usage = (await ask(house, "POST", "/v1/chat/completions", body)).json()["usage"]
    details = usage["completion_tokens_details"]
    assert details["accepted_prediction_tokens"] > 0
    assert details["rejected_prediction_tokens"] >= 0


async def test_ps_shows_what_a_cache_holds_and_saves(build: Callable[..., Any]) -> None:
    """Prompt tokens computed and shared, and guesses, since the model was loaded."""
    house = await build(model("m"), script=fixed(TEXT), speculation=True)
    body = {"model": "m", "prompt": f"{TEXT} Again: ", "raw": True, "stream": False}
    first = (await ask(house, "POST", "/api/generate", body)).json()
    second = (await ask(house, "POST", "/api/generate", body)).json()
    asked = first["prompt_eval_count"]

    def settled() -> bool:
        """Whether the engine has told of both: it does so a moment after the last token."""
        (runner,) = house.server.pool.statistics().runners
        batch = runner.batch
        return batch is not None and batch.prompt_tokens + batch.cached_tokens == 2 * asked

    await house.until(lambda: settled() and house.live == 0)
    (entry,) = (await ask(house, "GET", "/api/ps")).json()["models"]
    cache = entry["cache"]
    assert cache["prompt_tokens"] == asked + 1
    assert cache["reused_tokens"] == asked - 1
    assert cache["used"] == cache["kept"] >= asked
    assert cache["draft_count"] == first["draft_count"] + second["draft_count"]
    assert 0 < cache["draft_accepted_count"] <= cache["draft_count"]


async def test_a_prediction_is_guessed_from(build: Callable[..., Any]) -> None:
    """Text that was never said: from its third token on it is there at once."""
    house = await build(model("m"), script=fixed(NOVEL), speculation=True)
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Go."}]}
    for content in (NOVEL, [{"type": "text", "text": NOVEL}]):
        body["prediction"] = {"type": "content", "content": content}
        reply = (await ask(house, "POST", "/v1/chat/completions", body)).json()
        assert reply["choices"][0]["message"]["content"] == NOVEL
        details = reply["usage"]["completion_tokens_details"]
        assert details["accepted_prediction_tokens"] >= len(NOVEL) - 8
    for wrong in ({"type": "other", "content": "x"}, {"type": "content"}, "x"):
        body["prediction"] = wrong
        refused = await ask(house, "POST", "/v1/chat/completions", body)
        assert refused.status == 400
        assert refused.json()["error"]["param"].startswith("prediction")


async def test_a_server_can_be_told_not_to_guess(build: Callable[..., Any]) -> None:
    """``SPECULATION=false`` is for all requests."""
    house = await build(model("m"), script=fixed(TEXT), speculation=False)
    body = {"model": "m", "prompt": TEXT, "stream": False}
    assert "draft_count" not in (await ask(house, "POST", "/api/generate", body)).json()


NOVEL = "Six big jugs of quartz, vexed by two lynx."


async def test_a_models_own_draft_guesses_what_was_never_said(build: Callable[..., Any]) -> None:
    """The DRAFT of a model is loaded beside it, and leaves with it."""
    house = await build(model("m", drafts=(Path("/draft"),)), script=fixed(NOVEL), speculation=True)
    body = {"model": "m", "prompt": "Go.", "stream": False}
    answer = (await ask(house, "POST", "/api/generate", body)).json()
    assert answer["response"] == NOVEL
    assert answer["draft_accepted_count"] == answer["draft_count"] > 20
    assert house.backend.open_models == 2
    await ask(house, "POST", "/api/generate", {"model": "m", "keep_alive": 0})
    await house.until(lambda: house.backend.open_models == 0)
    assert house.backend.open_contexts == 0


async def test_a_draft_that_cannot_be_used_is_left_out(build: Callable[..., Any]) -> None:
    """The model answers without it, and nothing of it stays in memory."""

    def refuse(path: str, params: LoadParams) -> None:
        if path == "/draft":
            raise ModelLoadError("no such architecture")

    house = await build(model("m", drafts=(Path("/draft"),)), script=fixed(NOVEL), speculation=True)
    house.hooks.on_load = refuse
    body = {"model": "m", "prompt": "Go.", "stream": False}
    answer = (await ask(house, "POST", "/api/generate", body)).json()
    assert answer["response"] == NOVEL
    assert "draft_count" not in answer
    assert house.backend.open_models == 1
