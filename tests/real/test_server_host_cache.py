"""A server with fewer streams than conversations: what it gives up it takes back from the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.served import Process, said

STORY = "We went there on a cold day. " * 60


@pytest.mark.parametrize("host_cache", ["0", "64MB"])
def test_conversations_take_turns_in_one_stream(tmp_path: Path, host_cache: str) -> None:
    """Each says the same as before, and `/api/ps` tells where the prompts came from."""
    settings = {
        "TRILLAMA_NUM_PARALLEL": "1",
        "TRILLAMA_CONTEXT_LENGTH": "1024",
        "TRILLAMA_HOST_CACHE": host_cache,
    }
    server = Process(tmp_path / "models", **settings)
    try:
        texts = [f"{n}. {STORY} What is 12 + {n}?" for n in range(4)]
        first = [said(server.chat(text, num_predict=24)) for text in texts]
        assert [said(server.chat(text, num_predict=24)) for text in texts] == first
        (listed,) = server.ask("GET", "/api/ps")
        cache = listed["models"][0]["cache"]
    finally:
        server.close()
    assert cache["cells"] < 4 * 1024, "there is no room for all of them"
    assert cache["evicted_sequences"] > 0
    on = host_cache != "0"
    assert (cache["saved_sequences"] >= 2, cache["restored_tokens"] >= 3 * 400) == (on, on)
