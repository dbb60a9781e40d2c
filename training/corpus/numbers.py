"""Sums, differences, products, comparisons, counting; a tenth of the pairs is held out."""

from __future__ import annotations

import random

from training.corpus import reword
from training.corpus.chat import Piece, Turn, ask

SUM_WORDINGS = (
    "What is {a} + {b}?",
    "{a} + {b}",
    "{a}+{b}=?",
    "How much is {a} plus {b}?",
    "Add {a} and {b}.",
    "Calculate {a} + {b}.",
    "What is {a} plus {b}?",
    "Compute {a} + {b}",
    "{a} + {b} = ?",
    "Please add {b} to {a}.",
    "What is the sum of {a} and {b}?",
    "Say what {a} + {b} is.",
    "Do you know what {a} plus {b} is?",
    "Work out {a} + {b}, please.",
    "I have {a} and get {b} more. How many is that?",
    "The result of {a} + {b}?",
    "I wonder how much {a} + {b} is.",
)
DIFFERENCE_WORDINGS = (
    "What is {a} - {b}?",
    "{a} - {b}",
    "{a}-{b}=?",
    "How much is {a} minus {b}?",
    "Subtract {b} from {a}.",
    "Calculate {a} - {b}.",
    "What is {a} minus {b}?",
    "Compute {a} - {b}",
    "{a} - {b} = ?",
    "What is the difference of {a} and {b}?",
    "Say what {a} - {b} is.",
    "Do you know what {a} minus {b} is?",
    "Work out {a} - {b}, please.",
    "I have {a} and lose {b}. How many are left?",
    "The result of {a} - {b}?",
    "I wonder how much {a} - {b} is.",
)
SUM_HELD_OUT = ("Tell me what {a} + {b} is.", "Can you work out {a} plus {b}?")
DIFFERENCE_HELD_OUT = ("Tell me what {a} - {b} is.", "Can you work out {a} minus {b}?")


def held_out(a: int, b: int) -> bool:
    """Whether the pair belongs to the evaluation: one in ten, never seen in training.

    Pairs that may stand inside a thought as an intermediate step (round or one-digit) never do.
    """
    return b >= 10 and a % 10 > 0 and b % 10 > 0 and (a * 7919 + b * 104729) % 1009 % 10 == 0


def pair(rng: random.Random, wanted: bool = False) -> tuple[int, int]:
    """Two numbers below 100, from the training pairs or (wanted) from the held-out ones."""
    while True:
        top = 9 if rng.random() < 0.1 else 99
        a, b = rng.randint(0, top), rng.randint(0, 99)
        if held_out(a, b) == wanted:
            return a, b


def _sum_thought(a: int, b: int) -> str:
    tens, ones = a // 10 * 10 + b // 10 * 10, a % 10 + b % 10
    return (
        f"{a // 10 * 10} + {b // 10 * 10} = {tens} and {a % 10} + {b % 10} = {ones}. "
        f"{tens} + {ones} = {a + b}."
    )


def _asked(rng: random.Random, wordings: tuple[str, ...], a: int, b: int) -> str:
    return reword.before(rng) + rng.choice(wordings).format(a=a, b=b)


def sums(
    rng: random.Random, wanted: bool = False, wordings: tuple[str, ...] = SUM_WORDINGS
) -> Turn:
    a, b = pair(rng, wanted)
    return ask(_asked(rng, wordings, a, b), f"{a} + {b} = {a + b}.", _sum_thought(a, b))


def differences(
    rng: random.Random, wanted: bool = False, wordings: tuple[str, ...] = DIFFERENCE_WORDINGS
) -> Turn:
    a, b = pair(rng, wanted)
    a, b = max(a, b), min(a, b)
    if held_out(a, b) != wanted:
        return differences(rng, wanted, wordings)
    thought = f"{a} - {b // 10 * 10} = {a - b // 10 * 10}. {a - b // 10 * 10} - {b % 10} = {a - b}."
    return ask(_asked(rng, wordings, a, b), f"{a} - {b} = {a - b}.", thought)


def products(rng: random.Random) -> Turn:
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    wording = rng.choice(
        (
            "What is {a} x {b}?",
            "{a} * {b}",
            "{a} times {b}?",
            "Multiply {a} by {b}.",
            "What is {a} times {b}?",
            "How much is {a} * {b}?",
        )
    )
    return ask(
        wording.format(a=a, b=b), f"{a} * {b} = {a * b}.", f"I multiply {a} by {b}: {a * b}."
    )


def compare(rng: random.Random) -> Turn:
    a, b = rng.sample(range(100), 2)
    larger = rng.random() < 0.5
    word = (
        rng.choice(("larger", "bigger", "greater")) if larger else rng.choice(("smaller", "less"))
    )
    wording = rng.choice(
        ("Which number is {w}, {a} or {b}?", "Which is {w}: {a} or {b}?", "{w}: {a} or {b}?")
    )
    right = max(a, b) if larger else min(a, b)
    return ask(
        wording.format(w=word, a=a, b=b),
        f"{right} is {word}.",
        f"I compare {a} and {b}. {right} is {word}.",
    )


def count(rng: random.Random) -> Turn:
    start = rng.choice((1, 1, 1, rng.randint(2, 60)))
    stop = start + rng.choice((4, 9, 19, rng.randint(2, 39), rng.randint(2, 19)))
    if start == 1 and rng.random() < 0.5:
        wording = rng.choice(("Count to {b}.", "Count up to {b}.", "Please count to {b}."))
    else:
        wording = rng.choice(
            (
                "Count from {a} to {b}.",
                "List the numbers from {a} to {b}.",
                "Please count from {a} to {b}.",
                "Write the numbers from {a} to {b}.",
            )
        )
    answer = ", ".join(str(i) for i in range(start, stop + 1))
    return ask(wording.format(a=start, b=stop), answer, f"I start at {start} and stop at {stop}.")


def table(rng: random.Random) -> list[Piece]:
    """A dense page of equations without the held-out pairs; only the results are learned."""
    sign = rng.choice("+-")
    out = []
    for _ in range(rng.randint(4, 30)):
        a, b = pair(rng)
        if sign == "-":
            a, b = max(a, b), min(a, b)
        if not held_out(a, b):
            result = a + b if sign == "+" else a - b
            out += [Piece(f"{a} {sign} {b} =", False), Piece(f" {result}\n", True)]
    return out
