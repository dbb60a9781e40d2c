"""Fair queueing alone: a server that works on one item at a time, in a plain loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trillama.base.callers import Priority
from trillama.seats.fair_queue import FairQueue

Item = tuple[str, int]


def jain(shares: list[float]) -> float:
    """Jain's index: 1 where all have the same, 1/n where one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def serve(queue: FairQueue[Item], cost: float) -> Item:
    """Take the first and be done with it."""
    item = next(iter(queue))
    queue.take(item)
    queue.settle(item, cost)
    return item


def closed_loop(clients: dict[str, int], cost: Callable[[str], float], rounds: int) -> Counter[str]:
    """Work got by clients that each always have so many items waiting."""
    queue: FairQueue[Item] = FairQueue()
    for name, many in clients.items():
        for number in range(many):
            queue.put((name, number), name, cost(name))
    got: Counter[str] = Counter()
    for _ in range(rounds):
        item = serve(queue, cost(item_name := next(iter(queue))[0]))
        got[item_name] += round(cost(item_name))
        queue.put(item, item_name, cost(item_name))
    return got


def test_clients_of_unequal_appetite_get_the_same() -> None:
    """One with a hundred items waiting gets no more than seven with one each."""
    got = closed_loop({"hog": 100, **{f"c{n}": 1 for n in range(7)}}, lambda name: 300, 800)
    assert jain(list(map(float, got.values()))) > 0.999


def test_tokens_are_shared_not_requests() -> None:
    """One whose requests are ten times as large gets a tenth of the requests."""
    got = closed_loop({"large": 5, "small": 5}, lambda n: 1000 if n == "large" else 100, 2200)
    assert got["large"] == pytest.approx(got["small"], rel=0.01)


def test_an_estimate_that_was_wrong_is_made_up_for() -> None:
    """A client whose answers are longer than expected waits for it afterwards."""
    queue: FairQueue[Item] = FairQueue()
    got: Counter[str] = Counter()
    for name in ("brief", "long"):
        queue.put((name, 0), name, 100)
    for _ in range(2000):
        name, number = next(iter(queue))
        work = 500 if name == "long" else 50
        serve(queue, work)
        got[name] += work
        queue.put((name, number), name, 100)
    assert got["long"] == pytest.approx(got["brief"], rel=0.02)


def test_a_lone_client_is_served_in_order() -> None:
    """Fairness to nobody else is first in, first out."""
    queue: FairQueue[Item] = FairQueue()
    for number in range(20):
        queue.put(("a", number), "a", 1000 - number)
    assert [serve(queue, 10)[1] for _ in range(20)] == list(range(20))


def test_fresh_clients_without_end_do_not_starve_anybody() -> None:
    """However many come that never asked before, each item's turn comes."""
    queue: FairQueue[Item] = FairQueue()
    for number in range(10):
        queue.put(("old", number), "old", 100)
    served = []
    for number in range(200):
        queue.put((f"new {number}", 0), f"new {number}", 100)
        served.append(serve(queue, 100)[0])
    assert served.count("old") == 10


def test_classes_share_by_their_weights_and_nobody_starves() -> None:
    """Beside interactive clients a batch gets a quarter of one's share, an embedding a 16th."""
    queue: FairQueue[Item] = FairQueue()
    weights = {p.value: p.weight for p in Priority}
    for name, weight in weights.items():
        for number in range(5):
            queue.put((name, number), name, 100, weight)
    got: Counter[str] = Counter()
    for _ in range(2100):
        item = serve(queue, 100)
        got[item[0]] += 1
        queue.put(item, item[0], 100, weights[item[0]])
    assert got["interactive"] == pytest.approx(4 * got["batch"], rel=0.03)
    assert got["batch"] == pytest.approx(4 * got["embedding"], rel=0.06)
    assert got["embedding"] > 0


def test_the_urgent_go_before_what_waits_already() -> None:
    """An interactive request passes every batch that waits."""
    queue: FairQueue[Item] = FairQueue()
    for number in range(5):
        queue.put(("b", number), "b", 100, Priority.BATCH.weight)
    queue.put(("i", 0), "i", 100, Priority.INTERACTIVE.weight)
    assert next(iter(queue)) == ("i", 0)


def test_what_was_got_while_nobody_waited_is_forgotten() -> None:
    """A client that had an idle machine for itself is not held back for it afterwards."""
    queue: FairQueue[Item] = FairQueue()
    for number in range(1000):
        queue.put(("busy", number), "busy", 100)
        serve(queue, 100)
    queue.put(("other", 0), "other", 100)
    queue.put(("busy", 0), "busy", 100)
    queue.put(("other", 1), "other", 100)
    assert [serve(queue, 100)[0] for _ in range(3)] == ["other", "busy", "other"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("ptds")), max_size=60))
def test_every_item_leaves_once_and_nothing_stays(steps: list[tuple[str, str]]) -> None:
    """Whatever is put, taken, dropped and settled: the books end empty."""
    queue: FairQueue[Item] = FairQueue()
    waiting: list[Item] = []
    running: list[Item] = []
    for number, (name, step) in enumerate(steps):
        if step == "p":
            waiting.append((name, number))
            queue.put(waiting[-1], name, 10 + number)
        elif step == "t" and waiting:
            running.append(next(iter(queue)))
            waiting.remove(running[-1])
            queue.take(running[-1])
        elif step == "d" and waiting:
            queue.drop(waiting.pop())
        elif step == "s" and running:
            queue.settle(running.pop(), number)
        assert sorted(queue) == sorted(waiting)
    for item in running:
        queue.settle(item, 0)
    while len(queue):
        queue.drop(next(iter(queue)))
    queue.put(("z", 0), "z", 1)
    serve(queue, 0)
    assert repr(queue) == "<FairQueue 0 waiting of 0 clients>"
