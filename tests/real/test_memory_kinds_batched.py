"""The step loop on every kind of memory: greedy text that depends on nothing but the prompt.

Random weights say nonsense, but each prompt its own, for ever the same: any slip of a state, a cell
or a position shows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest

from tests.support.decoding import TOLERANCE, prompt
from tests.support.stepping import Stepped
from tests.support.tiny_random import TinyShape, make_tiny
from trillama.base.events import Sampled, StopReason
from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.batching import Batcher, Policy
from trillama.engine.base import ContextParams, LoadParams, MemoryKind
from trillama.engine.llama import LlamaBackend, LlamaModel
from trillama.kv import MIN_REUSE
from trillama.seats.states import TAIL

KINDS = ("llama", "cohere2", "mamba", "lfm2")
ANSWER = 40
Tokens = npt.NDArray[np.int32]


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[LlamaModel]:
    """A random model of each kind."""
    shape = TinyShape(architecture=request.param, layers=4)
    path = make_tiny(tmp_path_factory.mktemp("kinds") / f"{request.param}.gguf", shape)
    model = LlamaBackend().load(str(path), LoadParams())
    yield model
    model.close()


class Run(Stepped):
    """Jobs on a context of their own, stepped by hand, with the book checked as they go."""

    def __init__(
        self, model: LlamaModel, *, cells: int = 4096, cached: bool = True, sequences: int = 16
    ) -> None:
        self.context = model.open_context(
            ContextParams(
                cells=cells, sequences=sequences, outputs=sequences, batch=256, micro_batch=64,
                threads=1, cache_type_k="f32", cache_type_v="f32", flash_attention=False,
            )
        )  # fmt: skip
        policy = Policy(step_budget="64", prefix_cache=cached)
        super().__init__(Batcher(self.context, policy))

    def ask(self, name: str, tokens: Tokens, most: int = ANSWER) -> None:
        options = Options(temperature=0, num_predict=most)
        self.batcher.submit(Job(id=name, prompt=tokens, options=options, limit=4096))

    def ask_all(self, prompts: dict[str, Tokens], most: int = ANSWER) -> None:
        for name, tokens in prompts.items():
            self.ask(name, tokens, most)

    def finish(self) -> dict[str, list[int]]:
        self.run()
        said, self.tokens = dict(self.tokens), defaultdict(list)
        return said

    @property
    def computed(self) -> int:
        return self.batcher.statistics().prompt_tokens

    def close(self) -> None:
        self.batcher.drop_cache()
        assert self.batcher.statistics().kv.used == 0
        assert self.batcher.statistics().kv.saved_bytes == 0
        ids = range(self.context.limits.sequences)
        assert all(self.context.seq_pos_max(at) == -1 for at in ids)
        self.batcher.close()


def alone(model: LlamaModel, prompts: dict[str, Tokens], most: int = ANSWER) -> dict:
    """What each prompt is answered when nobody else is there and nothing is cached."""
    run = Run(model, cached=False)
    said = {}
    for name, tokens in prompts.items():
        run.ask(name, tokens, most)
        said |= run.finish()
    run.close()
    return said


def stems(count: int, length: int = 150) -> dict[str, Tokens]:
    """Prompts with one long beginning."""
    return {f"s{n}": np.concatenate([prompt(length), prompt(20 + n, n + 1)]) for n in range(count)}


def ask_likely(run: Run, name: str, tokens: Tokens, most: int = 8) -> None:
    """Ask for an answer of ``most`` tokens with the five most probable at each place."""
    options = Options(temperature=0, num_predict=most)
    run.batcher.submit(Job(id=name, prompt=tokens, options=options, limit=4096, logprobs=5))


def likely(run: Run, disturb: Callable[[int], None] = lambda turn: None) -> dict[str, list[float]]:
    """How likely those were, by job, once all are answered."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    turn = 0
    while run.batcher.has_work:
        disturb(turn)
        turn += 1
        for event in run.batcher.step():
            if isinstance(event, Sampled) and event.scores is not None:
                found[event.job_id] += [logprob for _, logprob in event.scores.top]
    return found


def assert_as_cold(model: LlamaModel, prompts: dict[str, Tokens], found: dict) -> None:
    """The same probabilities as where nobody else is there and nothing is cached: equal words may
    be luck with random weights."""
    cold = Run(model, cached=False)
    for name, tokens in prompts.items():
        ask_likely(cold, name, tokens, len(found[name]) // 5)
        assert np.allclose(found[name], likely(cold)[name], atol=10 * TOLERANCE)
    cold.close()


def test_text_does_not_depend_on_cache_or_company(model: LlamaModel) -> None:
    """Cold together, warm together: what each says alone; and what is warm is not computed."""
    prompts = stems(6)
    expected = alone(model, prompts)
    run = Run(model)
    for turn in range(2):
        before = run.computed
        run.ask_all(prompts)
        assert run.finish() == expected
        unique = 150 + sum(len(tokens) - 150 for tokens in prompts.values())
        cold, warm = 1.1 * unique, (MIN_REUSE + TAIL) * len(prompts)
        assert run.computed - before <= (warm if turn else cold)
    run.close()


def test_a_conversation_goes_on_where_it_was(model: LlamaModel) -> None:
    """Each turn computes its new tokens, not those before; the words are those of a cold engine."""
    run, tokens = Run(model), prompt(120)
    for turn in range(4):
        before = run.computed
        run.ask("turn", tokens)
        said = run.finish()
        assert said == alone(model, {"turn": tokens})
        if turn:
            assert run.computed - before <= 30 + 2
        tokens = np.concatenate([tokens, np.array(said["turn"], np.int32), prompt(30, turn + 5)])
    run.close()


def test_whoever_is_paused_says_the_same(model: LlamaModel) -> None:
    """A pool too small for all pauses some; nobody's words change, the largest's neither."""
    prompts = stems(5, 60) | {"large": prompt(300, 9)}
    expected = alone(model, prompts, 70)
    run = Run(model, cells=512, sequences=8)
    for number in range(120):  # answers of one token make longer ones a surprise
        run.ask(f"brief {number}", prompt(10, number), 1)
    run.finish()
    run.ask_all(prompts, 70)
    assert run.finish() == expected
    kind = run.context.limits.memory
    assert (run.batcher.statistics().preemptions > 0) == (kind is not MemoryKind.RECURRENT)
    run.close()


def test_a_cancel_leaves_the_others_alone(model: LlamaModel) -> None:
    """Whether it comes in the prompt or in the answer."""
    prompts = stems(4)
    expected = alone(model, prompts)
    run = Run(model)
    run.ask_all(prompts)
    run.step()
    run.batcher.cancel("s0")
    while not run.tokens["s1"]:
        run.step()
    run.batcher.cancel("s1")
    said = run.finish()
    assert run.ended["s0"].reason is run.ended["s1"].reason is StopReason.CANCELLED
    assert {name: said[name] for name in ("s2", "s3")} == {n: expected[n] for n in ("s2", "s3")}
    run.close()


def test_an_interrupted_decode_is_computed_again(model: LlamaModel) -> None:
    """Positions that went too far are dropped, or the sequence begins again where it can."""
    prompts = stems(3)
    expected = alone(model, prompts)
    run = Run(model)
    run.ask_all(prompts)
    for turn in range(200):
        if turn % 5 == 4:
            run.context.interrupt()
        run.step()
        if not run.batcher.has_work:
            break
    assert run.finish() == expected
    run.close()


def test_what_was_evicted_comes_back_from_the_host(model: LlamaModel) -> None:
    """A pool for one of three long prompts, and words as if it were large; the second round is not
    computed, but where windows slide: an image has nothing of what has left them."""
    prompts = {f"long {n}": prompt(400 - 7 * n, n) for n in range(3)}
    expected = alone(model, prompts)
    run = Run(model, cells=512)
    for turn in range(2):
        before = run.computed
        for name, tokens in prompts.items():
            run.ask(name, tokens)
            assert run.finish() == {name: expected[name]}
        if turn and run.context.limits.memory is not MemoryKind.SLIDING:
            assert run.computed - before <= 3 * TAIL
    run.close()


def test_a_part_of_what_was_evicted_is_as_if_it_had_been_computed(model: LlamaModel) -> None:
    """A prompt that leaves an evicted one in its middle is answered as by a cold engine, and so is
    one that shares that again."""
    run = Run(model, cells=512)
    for number in range(3):
        run.ask("long", np.concatenate([prompt(300, number), prompt(100, number + 5)]))
        run.finish()
    for number in (20, 21):
        tokens = np.concatenate([prompt(300), prompt(20, number)])
        ask_likely(run, "part", tokens)
        assert_as_cold(model, {"part": tokens}, likely(run))
    run.close()


def test_decodes_that_broke_off_tear_nobody(model: LlamaModel) -> None:
    """Jobs that come and go on few sequences are answered as if each decode had come to its end."""
    prompts = {f"s{n}": prompt(20 + 31 * n % 100, n) for n in range(9)}
    run = Run(model, sequences=4)
    for name, tokens in prompts.items():
        ask_likely(run, name, tokens, {"s0": 4, "s2": 9, "s4": 14}.get(name, 30))

    def disturb(turn: int) -> None:
        if turn % 3 == 2 and turn < 60:
            run.context.interrupt()

    assert_as_cold(model, prompts, likely(run, disturb))
    run.close()
