"""Questions about the tables: many wordings a fact, some of them held out for the evaluation."""

from __future__ import annotations

import random
from collections.abc import Callable

from training.corpus import reword
from training.corpus import tables as t
from training.corpus.chat import Turn, ask
from training.corpus.fact_clauses import CLAUSES
from training.corpus.fact_families import FAMILIES, Family, cap

BY_NAME = {family.name: family for family in FAMILIES}
_WEIGHTS = [family.weight for family in FAMILIES]

_OPENERS = (
    "Can you say",
    "Do you know",
    "I want to know",
    "I wonder",
    "Say",
    "Please say",
    "Let me know",
    "Please explain",
    "Do you remember",
    "Could you say",
    "My teacher asks",
    "I would like to know",
    "We want to find out",
    "Just say",
    "Answer me:",
    "Quickly say",
    "Find out",
    "I need to know",
    "Help me:",
    "Guess",
    "Is it clear",
    "I cannot remember",
    "Explain",
    "You surely know",
    "Have you heard",
    "Remind me",
    "Would you tell me",
    "I am asking you",
)


def _fill(pattern: str, row: tuple[str, str]) -> str:
    x, y = row
    return cap(pattern.format(x=x, y=y, X=cap(x), Y=cap(y)))


def _article(text: str) -> str:
    for vowel in "aeioAEIO":
        for before, after in ((" a ", " an "), ("A ", "An ")):
            text = text.replace(before + vowel, after + vowel)
    return text


def question(family: Family, row: tuple[str, str], wording: str) -> tuple[str, str]:
    """Question and answer of one row in one wording."""
    answer = _article(_fill(family.answer, row)).replace(" a water", " the water")
    return _article(_fill(wording, row)), answer


def fact(rng: random.Random) -> Turn:
    """One fact in a training wording."""
    family = rng.choices(FAMILIES, _WEIGHTS)[0]
    wording = rng.choice(family.train)
    if rng.random() < 0.4:
        wording = f"{rng.choice(_OPENERS)} {rng.choice(CLAUSES[family.name])}{rng.choice('.?')}"
    asked, answer = question(family, rng.choice(family.rows), wording)
    asked = reword.around(rng, asked)
    return ask(asked, answer, "The user asks me for a fact. I know it: " + answer)


_HOW_MANY = (
    "How many {x}?",
    "how many {x}",
    "Tell me: how many {x}?",
    "Quick question: how many {x}?",
)


def quantity(rng: random.Random) -> Turn:
    key, answer = rng.choice(list(t.QUANTITIES.items()))
    return ask(rng.choice(_HOW_MANY).format(x=key), answer, "The user asks how many. " + answer)


def unknown(rng: random.Random) -> Turn:
    """Places that do not exist: the right answer is that one does not know."""
    family = BY_NAME[rng.choice(("capital", "continent", "language"))]
    name = rng.choice(t.INVENTED)
    asked, _ = question(family, (name, ""), rng.choice(family.train))
    return ask(asked, f"I do not know {name}.", f"I have never heard of {name}, so I say so.")


_LISTS: tuple[tuple[str, tuple[str, ...] | list[str]], ...] = (
    ("the days of the week", t.DAYS),
    ("the months of the year", t.MONTHS),
    ("the planets", t.PLANETS),
)
_SOME = (("colours", t.COLOUR_NAMES), ("fruits", t.FRUITS), ("animals", t.ANIMALS))


def listing(rng: random.Random) -> Turn:
    if rng.random() < 0.5:
        name, items = rng.choice(_LISTS)
        wording = rng.choice(("List {x}.", "Name {x}.", "What are {x}?", "Tell me {x}."))
        return ask(wording.format(x=name), ", ".join(items) + ".", f"I list {name} in order.")
    name, pool = rng.choice(_SOME)
    count = rng.randint(2, 5)
    wording = rng.choice(("Name {n} {x}.", "List {n} {x}.", "Give me {n} {x}.", "Tell me {n} {x}."))
    chosen = rng.sample(pool, count)
    answer = ", ".join(chosen[:-1]) + " and " + chosen[-1] + "."
    number = rng.choice((str(count), t.NUMBER_WORDS[count]))
    return ask(
        wording.format(n=number, x=name), cap(answer), f"I name {t.NUMBER_WORDS[count]} {name}."
    )


def statements(rng: random.Random) -> str:
    """A plain document of facts, for raw completion."""
    count = rng.randint(1, 8)
    families = [family for family in FAMILIES if family.statement]
    lines = []
    for _ in range(count):
        family = rng.choices(families, [f.weight for f in families])[0]
        lines.append(_article(_fill(family.statement, rng.choice(family.rows))))
    return rng.choice((" ", "\n")).join(lines)


def held_out_questions(
    rng: random.Random, per_family: Callable[[Family], int]
) -> list[tuple[str, str]]:
    """Questions in held-out wordings with the word that a right answer must hold."""
    out = []
    for family in FAMILIES:
        rows = rng.sample(family.rows, min(per_family(family), len(family.rows)))
        out += [(question(family, row, rng.choice(family.held_out))[0], row[1]) for row in rows]
    return out
