"""How little of prompts is computed twice, with the bundled model: a crowd, and conversations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from trillama.base.events import Sampled
from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.batching import Batcher
from trillama.engine.base import ContextParams, LoadParams
from trillama.engine.llama import LlamaBackend, LlamaContext

CROWD = 32


@pytest.fixture
def context(tiny_model_path: Path) -> Iterator[LlamaContext]:
    """A pool that holds all of it."""
    model = LlamaBackend().load(str(tiny_model_path), LoadParams())
    yield model.open_context(ContextParams(cells=16_384, sequences=128, outputs=64))
    model.close()


def tokens(context: LlamaContext, role: str, text: str) -> np.ndarray:
    """A message as the template of the bundled model writes it."""
    turn = f"<|im_start|>{role}\n{text}<|im_end|>\n"
    return context.vocabulary.tokenize(turn)


def finish(batcher: Batcher) -> dict[str, list[int]]:
    said: dict[str, list[int]] = {}
    while batcher.has_work:
        for event in batcher.step():
            if isinstance(event, Sampled):
                said.setdefault(event.job_id, []).append(event.token)
    batcher.check()
    return said


def test_a_crowd_computes_its_common_beginning_once(context: LlamaContext) -> None:
    """32 clients, cold, at the same instant, with 1,000 tokens in common: at most 1.1 times the
    unique tokens, which are as many as there are different beginnings."""
    system = tokens(context, "system", "Be kind and brief. " * 400)[:1000]
    assert len(system) == 1000
    users = [tokens(context, "user", f"What is {n} + {n}?") for n in range(CROWD)]
    batcher = Batcher(context)
    beginnings: set[bytes] = set()
    for number, user in enumerate(users):
        prompt = np.concatenate([system, user])
        beginnings |= {prompt[:end].tobytes() for end in range(1, len(prompt) + 1)}
        options = Options(temperature=0, num_predict=4)
        batcher.submit(Job(id=str(number), prompt=prompt, options=options, limit=2048))
    assert len(finish(batcher)) == CROWD
    assert batcher.statistics().prompt_tokens <= 1.1 * len(beginnings)


@pytest.mark.parametrize(("turns", "users"), [(8, 8), pytest.param(20, 16, marks=pytest.mark.slow)])
def test_conversations_compute_their_new_words_alone(
    context: LlamaContext, turns: int, users: int
) -> None:
    """Users talk at once, turn after turn: of all prompt tokens, at most 5 % are computed that have
    been computed before."""
    batcher, sent, new = Batcher(context), 0, 0
    begin = context.vocabulary.tokenize("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    end = context.vocabulary.tokenize("<|im_end|>\n")
    chats = [tokens(context, "system", f"You talk to user {u}.") for u in range(users)]
    computed = [np.empty(0, np.int32)] * users
    for turn in range(turns):
        for user, chat in enumerate(chats):
            asked = tokens(context, "user", f"Repeat: {turn}-{user}")
            chats[user] = prompt = np.concatenate([chat, asked, begin])
            sent += len(prompt)
            new += len(prompt) - len(computed[user])
            options = Options(temperature=0, num_predict=8)
            batcher.submit(Job(id=str(user), prompt=prompt, options=options, limit=4096))
        for user, said in finish(batcher).items():
            computed[int(user)] = np.append(chats[int(user)], np.array(said[:-1], np.int32))
            chats[int(user)] = np.concatenate([chats[int(user)], np.array(said, np.int32), end])
    again = batcher.statistics().prompt_tokens - new
    assert again <= 0.05 * sent, f"{again} of {sent} computed again"
