"""Clients that leave a stream while they live: the engine is free at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from subprocess import PIPE
from typing import Any

import pytest
import trio

from tests.clients.session import CLIENTS, Lacking
from tests.clients.table import command
from tests.support.house import model
from tests.support.source import ROOT
from trillama.engine.fake import babble


@pytest.mark.slow
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_that_leaves_frees_the_engine(
    build: Callable[..., Any], client: str
) -> None:
    """An answer without an end ends when the client's own way of leaving says so."""
    house = await build(model("tiny"), script=babble, context_length=2_000_000)
    try:
        program = [*command(client, house.url, "tiny"), "cancel"]
    except Lacking as error:
        pytest.skip(str(error))
    process = await trio.lowlevel.open_process(program, stdin=PIPE, stdout=PIPE, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    told = b""
    with trio.fail_after(60):
        async with process.stdout, process.stdin:
            while not told.endswith(b"\n"):
                told += await process.stdout.receive_some()
            await house.until(house.at_rest)
            assert process.poll() is None
        await process.wait()

    assert json.loads(told.splitlines()[-1]) == {"cancel": "yes"}
    assert house.backend.contexts[0].counters.tokens_decoded > 0
