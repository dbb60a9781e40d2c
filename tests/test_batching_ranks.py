"""A step loop whose context ranks rows by itself: the same tokens, and whole rows where needed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.stepping import Stepped
from trillama.base.events import Admitted, Ended, Sampled, StepEvent
from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.batching import Batcher, Policy
from trillama.engine.base import ContextParams
from trillama.engine.fake import FakeContext, FakeModel, FakeWeights, Hooks, babble


class Loop(Stepped):
    """A batcher on a fake model, stepped by hand."""

    def __init__(self, *, ranks: bool, speculation: bool = False) -> None:
        model = FakeModel(FakeWeights(script=babble, ranks=ranks), Hooks())
        self.context: FakeContext = model.open_context(ContextParams(cells=2048))
        super().__init__(Batcher(self.context, Policy(speculation=speculation)))

    def ask(self, name: str, logprobs: int | None = None, **options: Any) -> None:
        prompt = self.context.vocabulary.tokenize(f"say something about {name}")
        self.tokens[name] = []
        chosen = Options(**({"num_predict": 20, "seed": len(name)} | options))
        job = Job(id=name, prompt=prompt, options=chosen, limit=900, logprobs=logprobs)
        self.batcher.submit(job)


def spoken(loop: Loop) -> dict[str, list[int]]:
    """What a mixed company says."""
    loop.ask("plain")
    loop.ask("greedy one", temperature=0)
    loop.ask("three", top_k=3, top_p=0.8)
    loop.run()
    return dict(loop.tokens)


def test_ranks_say_what_whole_rows_say() -> None:
    """Every token is the same, and every row was drawn from its ranks."""
    loop = Loop(ranks=True)
    assert spoken(loop) == spoken(Loop(ranks=False))
    assert all(loop.tokens.values())
    assert loop.context.counters.rankings >= 20


@pytest.mark.parametrize(
    "need", [{"logprobs": 2}, {"repeat_penalty": 1.3}, {"top_k": 0}, {"logit_bias": ((7, 2.0),)}]
)
def test_a_job_that_needs_whole_rows_gets_them(need: dict[str, Any]) -> None:
    """Its neighbours go on as before, it says what it says where nothing is ever ranked."""
    loops = [Loop(ranks=ranks) for ranks in (True, False)]
    for loop in loops:
        loop.ask("plain", num_predict=40)
        for _ in range(9):
            loop.step()
        loop.ask("needy", **need)
        loop.run()
    assert loops[0].tokens == loops[1].tokens
    assert len(loops[0].tokens["needy"]) == 20
    assert 9 <= loops[0].context.counters.rankings <= 9 + 40 - 20


def test_scores_are_there_beside_others_that_were_ranked() -> None:
    """A request for log-probabilities is answered from whole rows."""
    loop = Loop(ranks=True)
    loop.ask("plain", num_predict=40)
    for _ in range(5):
        loop.step()
    loop.ask("scored", logprobs=2, num_predict=4)
    said = []
    while loop.batcher.has_work:
        said += [event for event in loop.batcher.step() if isinstance(event, Sampled)]
    scores = [event.scores for event in said if event.job_id == "scored"]
    assert len(scores) == 4
    assert all(score is not None and len(score.top) == 2 for score in scores)


def test_guesses_are_checked_in_whole_rows() -> None:
    """With prompt look-up on, the answers stay those of a loop without it."""
    answers = []
    for speculation in (False, True):
        loop = Loop(ranks=True, speculation=speculation)
        loop.ask("again and again and again and again", temperature=0, num_predict=60)
        loop.run()
        answers.append(dict(loop.tokens))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_step_is_told_while_the_next_is_computed(asynchronous: bool) -> None:
    """As its decode begins where that computes on the spot; once a device has its work where the
    decode returns at once. Nothing is told twice or lost."""
    order: list[str] = []
    hooks = Hooks(on_decode=lambda _: order.append("decode"))
    model = FakeModel(FakeWeights(script=babble), hooks)
    context = model.open_context(ContextParams(cells=512))
    context.limits = replace(context.limits, asynchronous=asynchronous)
    batcher, told = Batcher(context, Policy(speculation=False)), []
    prompt = context.vocabulary.tokenize("a few words")
    batcher.submit(Job(id="x", prompt=prompt, options=Options(num_predict=4), limit=400))

    def report(events: list[StepEvent]) -> None:
        order.append("told")
        told.extend(events)

    while batcher.has_work:
        order.append("step")
        told += batcher.step(report)
    in_a_step = ["decode", "told"] if asynchronous else ["told", "decode"]
    assert order[:3] == ["step", *in_a_step]
    assert order.count("told") == 4
    assert [type(event) for event in told] == [Admitted, *[Sampled] * 4, Ended]
