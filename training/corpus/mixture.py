"""The mixture: which kinds of samples, how often, and the endless deterministic stream of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from training.corpus import chat, code, copying, facts, numbers, stories, talk, tools
from training.corpus.chat import Dialog, Piece


def _talk(make: Callable[[random.Random], Dialog]) -> Callable[[random.Random], list[Piece]]:
    return lambda rng: chat.pieces(make(rng), thinking=rng.random() < 0.35)


def _raw(make: Callable[[random.Random], str]) -> Callable[[random.Random], list[Piece]]:
    return lambda rng: chat.raw(make(rng))


def _answered(rng: random.Random) -> list[Piece]:
    """A tool dialog that ends with a call, or with the reply to the tool's answer."""
    make = rng.choices((facts.fact, talk.chat, None), (0.2, 0.15, 0.65))[0]
    dialog = tools.dialog(rng, make(rng) if make else None)
    if rng.random() < 0.6:
        last = chat.cut_at_call(dialog.turns[-1])
        dialog = Dialog((*dialog.turns[:-1], last), dialog.system, dialog.tools)
    return chat.pieces(dialog, thinking=rng.random() < 0.45)


def _long(rng: random.Random) -> list[Piece]:
    """A value hidden in hundreds of words, so that far positions are used."""
    filler = " ".join(stories.document(rng) for _ in range(rng.randint(1, 12)))
    if rng.random() < 0.5:
        return chat.pieces(Dialog((copying.recall(rng, filler),)), thinking=rng.random() < 0.3)
    return chat.pieces(copying.in_system(rng, filler), thinking=rng.random() < 0.3)


KINDS: tuple[tuple[str, float, Callable[[random.Random], list[Piece]]], ...] = (
    ("talk", 30.0, _talk(talk.dialog)),
    ("memory", 4.0, _talk(talk.memory)),
    ("persona", 11.0, _talk(talk.persona)),
    ("tool call", 48.0, _answered),
    ("story", 4.0, _talk(stories.told)),
    ("code request", 2.0, _talk(lambda rng: Dialog((code.request(rng),)))),
    ("fill in", 5.0, code.hole),
    ("raw story", 2.0, _raw(stories.document)),
    ("raw facts", 4.0, _raw(facts.statements)),
    ("raw code", 1.0, _raw(code.document)),
    ("raw sums", 2.0, numbers.table),
    ("raw copies", 4.0, copying.codes),
    ("long recall", 0.8, _long),
)
_NAMES = [name for name, _, _ in KINDS]
_WEIGHTS = [weight for _, weight, _ in KINDS]
_MAKERS = {name: make for name, _, make in KINDS}


def sample(rng: random.Random, kind: str = "") -> list[Piece]:
    """One sample of a kind, or of a random one."""
    return _MAKERS[kind or rng.choices(_NAMES, _WEIGHTS)[0]](rng)


def stream(seed: int) -> Iterator[list[Piece]]:
    """Endless samples; the same seed gives the same samples."""
    rng = random.Random(seed)
    while True:
        yield sample(rng)
