"""What is measured, in which order, and for how long: the most telling first.

Device time is scarce, so a plan is a flat list of named measurements with the seconds each may
take. `stages` takes them one by one until the time is up; what is missing then is tried first in
the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.gpu import measures
from bench.gpu.measures import Case, Tools
from bench.stall import Question


@dataclass(frozen=True)
class Measurement:
    """A name in the results, the seconds it may take, and how it is taken."""

    name: str
    estimate: float
    take: Callable[[], Any]


@dataclass(frozen=True)
class Sizes:
    """How much is asked of the servers.

    Attributes:
        waves: requests of each client, by number of clients.
        crowd: clients of the comparisons that take one number only.
        stall: streams, tokens of the long prompt, most tokens of a stream.
        cycles: loads and unloads.
        prompt_rate: tokens of the prompt whose reading is timed.
        slack: what every estimate is multiplied by.
    """

    prompt_tokens: int
    new_tokens: int
    waves: dict[int, int]
    crowd: int
    stall: tuple[int, int, int]
    cycles: int
    prompt_rate: int
    slack: float = 1.0


GPU_SIZES = Sizes(256, 128, {1: 5, 8: 3, 32: 3, 64: 3, 128: 2}, 64, (32, 32_000, 900), 20, 4096)
TOY_SIZES = Sizes(24, 6, {1: 1, 4: 1}, 4, (2, 600, 160), 3, 256, slack=0.1)


@dataclass(frozen=True)
class Models:
    """Files of the two models, on a CPU both are toys; and of the large one with other weights."""

    large: Path
    small: Path
    others: Mapping[str, Path] = field(default_factory=dict)


class Plan:
    """Builds the measurements of one machine."""

    def __init__(self, models: Models, sizes: Sizes, tools: Tools) -> None:
        lengths = sizes.prompt_tokens, sizes.new_tokens
        self.large = Case(models.large, *lengths)
        self.small = Case(models.small, *lengths)
        self.others = {name: Case(path, *lengths) for name, path in models.others.items()}
        self.sizes = sizes
        self.tools = tools

    def measurements(self) -> Iterator[Measurement]:
        """All of them, the most telling first."""
        for one in self._in_order():
            yield replace(one, estimate=one.estimate * self.sizes.slack)

    def _in_order(self) -> Iterator[Measurement]:
        crowd, clients = self.sizes.crowd, list(self.sizes.waves)
        yield Measurement("ceiling.8b.split", 20, lambda: self._ceiling(unified=False))
        yield self._ours("ours.8b.1", clients, 1)
        yield self._rival("rival.8b.1", crowd, 1)
        yield self._shares("shares.8b")
        yield self._rival("rival.8b.1", clients[0], 1)
        yield Measurement("one_at_a_time.8b", 30, self._one_at_a_time)
        yield self._stall("trillama")
        yield from self._small()
        yield from [self._weights(name, case) for name, case in self.others.items()]
        yield Measurement("cycles.1b", 45, self._cycles)
        yield from [self._rival("rival.8b.1", n, 1) for n in clients[1:] if n != crowd]
        yield Measurement("read_against_load.8b", 30, self._read_against_load)
        yield Measurement("ranks.8b", 15, self._ranks)
        yield self._ours("ours_pool.8b", [crowd], 1, kv_layout="unified")
        yield self._shares("shares_pool.8b", kv_layout="unified")
        yield Measurement("ceiling.8b.unified", 20, lambda: self._ceiling(unified=True))
        yield self._rival("rival_unified.8b", crowd, 1, unified=True)
        yield self._rival("rival_no_cache.8b", crowd, 1, flags=("--cache-ram", "0"))
        pairs = [clients[0], *clients[1:2], crowd]
        for pair in (2, 3):
            yield self._ours(f"ours.8b.{pair}", pairs, pair)
            yield from [self._rival(f"rival.8b.{pair}", n, pair) for n in dict.fromkeys(pairs)]
        yield self._stall("equal")
        yield Measurement("prompt_rates.8b", 40, self._prompt_rates)
        for budget in ("off", "256", "1024"):
            yield self._ours(f"ours_budget_{budget}.8b", [crowd], 1, step_budget=budget)

    # -- the kinds ------------------------------------------------------------------------------

    def _loads(self, case: Case, clients: list[int], seed: int) -> list[Any]:
        return [case.load(n, self.sizes.waves[n], seed) for n in dict.fromkeys(clients)]

    def _ours(
        self, name: str, clients: list[int], seed: int, *,
        case: Case | None = None, **settings: str,
    ) -> Measurement:  # fmt: skip
        case = case or self.large
        setup = replace(case.setup(max(clients), self.tools), **settings)
        loads = self._loads(case, clients, seed)
        return Measurement(name, 20 + 9 * len(loads), lambda: measures.ours_under(setup, loads))

    def _rival(
        self, name: str, clients: int, seed: int, *, unified: bool = False,
        flags: tuple[str, ...] = (), case: Case | None = None,
    ) -> Measurement:  # fmt: skip
        case = case or self.large
        setup = case.setup(clients, self.tools)
        setup = replace(setup, unified=unified, rival_flags=setup.rival_flags + flags)
        loads = self._loads(case, [clients], seed)
        return Measurement(
            f"{name}.{clients}", 32, lambda: measures.rival_under(setup, loads, self.tools)
        )

    def _small(self) -> Iterator[Measurement]:
        crowd = self.sizes.crowd
        yield self._ours("ours.1b.1", [crowd], 1, case=self.small)
        yield self._rival("rival.1b.1", crowd, 1, case=self.small)

    def _weights(self, name: str, case: Case) -> Measurement:
        crowd, setup = self.sizes.crowd, case.setup(self.sizes.crowd, self.tools)
        loads, clients = self._loads(case, [crowd], 1), [1, crowd]
        return Measurement(
            f"weights.{name}", 40, lambda: measures.weights(setup, case, loads, clients, self.tools)
        )

    def _ceiling(self, unified: bool) -> Any:
        clients = list(self.sizes.waves)
        return measures.batched_bench(self.large, clients, unified, self.tools)

    def _shares(self, name: str, **settings: str) -> Measurement:
        crowd = self.sizes.crowd
        setup = replace(self.large.setup(crowd, self.tools), **settings)
        load = self.large.load(crowd, self.sizes.waves[crowd], 7)
        return Measurement(name, 32, lambda: measures.step_shares(setup, load))

    def _ranks(self) -> Any:
        return measures.ranks(self.large.model, self.sizes.crowd)

    def _stall(self, who: str) -> Measurement:
        streams, prompt, new = self.sizes.stall
        question = Question(streams, prompt, new, 35.0)
        setup = self.large.setup(streams, self.tools)
        return Measurement(
            f"stall.8b.{who}", 50, lambda: measures.stall(setup, question, who, self.tools)
        )

    def _one_at_a_time(self) -> Any:
        crowd = self.sizes.crowd
        load = replace(self.large.load(crowd, 1, 1), seconds=25)
        setup = replace(self.large.setup(1, self.tools), context=self.large.cells)
        return measures.one_at_a_time(setup, load, self.tools)

    def _cycles(self) -> Any:
        return measures.load_cycles(self.small.setup(4, self.tools), self.sizes.cycles)

    def _read_against_load(self) -> Any:
        return measures.read_against_load(self.large.setup(1, self.tools))

    def _prompt_rates(self) -> Any:
        sizes = (256, 512, 1024, 2048)
        return measures.prompt_rates(self.large.model, self.sizes.prompt_rate, sizes, self.tools)
