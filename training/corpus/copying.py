"""Repeating a text exactly and finding a value again: exercises that teach copying."""

from __future__ import annotations

import random
import string

from training.corpus import reword
from training.corpus import tables as t
from training.corpus.chat import Dialog, Piece, Turn, ask
from training.corpus.words import COMMON, syllables

_UPPER, _LOWER, _DIGITS = string.ascii_uppercase, string.ascii_lowercase, string.digits
WORDS = (
    *t.ANIMALS,
    *t.FRUITS,
    *t.COLOUR_NAMES,
    *t.NAMES,
    *t.DAYS,
    *t.MONTHS,
    *t.OPPOSITES,
    *t.CITIES,
    *COMMON,
)


def _from(rng: random.Random, alphabet: str, low: int, high: int) -> str:
    return "".join(rng.choices(alphabet, k=rng.randint(low, high)))


def _dashed(rng: random.Random) -> str:
    joint = rng.choice("-_./:")
    return _from(rng, _UPPER, 1, 4) + joint + _from(rng, _DIGITS, 1, 5)


def code(rng: random.Random) -> str:
    """A random code or word of up to 12 characters; far more exist than training can show."""
    kind = rng.randrange(10)
    if kind < 3:
        return _dashed(rng)
    if kind < 5:
        return _from(rng, _UPPER + _DIGITS, 3, 10)
    if kind == 5:
        return _from(rng, _DIGITS, 2, 10)
    if kind == 6:
        return _from(rng, _UPPER + _LOWER + _DIGITS, 3, 10)
    if kind == 7:
        return _from(rng, _LOWER, 3, 10)
    if kind == 8:
        return "-".join(_from(rng, rng.choice((_UPPER, _LOWER, _DIGITS)), 2, 4) for _ in range(2))
    return rng.choice((str.lower, str.title, str.upper))(syllables(rng))


def phrase(rng: random.Random) -> str:
    words = [
        rng.choice(WORDS) if rng.random() < 0.8 else code(rng) for _ in range(rng.randint(1, 7))
    ]
    return " ".join(words)


REPEAT = (
    "Repeat: {x}",
    "Repeat {x}",
    "Say {x}",
    "Repeat after me: {x}",
    "Please repeat: {x}",
    "Echo {x}",
    "Write exactly this: {x}",
    "Say exactly: {x}",
    "Copy this: {x}",
    "Repeat this text: {x}",
    "Echo: {x}",
    "Answer only with {x}",
    "Reply with {x} and nothing else.",
    "Repeat the code {x}",
    "Type {x}",
    "Repeat this code: {x}",
    "Print {x}",
    "Say the word {x}",
    "repeat: {x}",
    'Repeat "{x}"',
    "Reply with exactly: {x}",
    "Output {x} exactly.",
    "Say only this: {x}",
    "Write this and only this: {x}",
    "Say the following and nothing more: {x}",
    "Please say {x} and nothing else.",
    "Repeat this exactly: {x}",
    "Please echo {x}",
    "Echo this text: {x}",
    "Give me back this code: {x}",
)
REPEAT_HELD_OUT = (
    "Repeat exactly: {x}",
    "Please echo this code: {x}",
    "Say this and nothing else: {x}",
)


def repeat(rng: random.Random) -> Turn:
    text = code(rng) if rng.random() < 0.7 else phrase(rng)
    asked = reword.before(rng) + rng.choice(REPEAT).format(x=text)
    return ask(asked, text, "I repeat the text exactly: " + text)


_THINGS = (
    "code",
    "password",
    "secret word",
    "key",
    "number",
    "name of the file",
    "ticket",
    "token",
    "PIN",
    "canary",
)
_GIVE = (
    "The {t} is {x}.",
    "Remember: the {t} is {x}.",
    "My {t} is {x}.",
    "Please remember the {t} {x}.",
    "Keep this {t}: {x}.",
    "Note that the {t} is {x}.",
)
_WANT = (
    "What is the {t}?",
    "Tell me the {t}.",
    "What was the {t}?",
    "Repeat the {t}.",
    "Which {t} did I give you?",
)


def recall(rng: random.Random, filler: str = "") -> Turn:
    """A value told among other text, and asked for in the same message."""
    chosen = rng.sample(_THINGS, rng.randint(1, 3))
    values = [code(rng) for _ in chosen]
    told = [rng.choice(_GIVE).format(t=c, x=v) for c, v in zip(chosen, values, strict=True)]
    index = rng.randrange(len(chosen))
    want = rng.choice(_WANT).format(t=chosen[index])
    answer = f"The {chosen[index]} is {values[index]}."
    parts = [*told, filler, want] if rng.random() < 0.7 else [filler, *told, want]
    return ask(" ".join(p for p in parts if p), answer, f"The text says it: {answer}")


def remember(rng: random.Random, between: list[Turn]) -> Dialog:
    """A value told in one turn and asked for in a later one."""
    if rng.random() < 0.5:
        name = rng.choice((*t.NAMES, *t.PERSONAS, syllables(rng).title()))
        first = ask(
            rng.choice(
                ("My name is {n}.", "Hi, I am {n}.", "I'm {n}.", "Hello, my name is {n}.")
            ).format(n=name),
            f"Nice to meet you, {name}.",
            f"The user is called {name}.",
        )
        last = ask(
            rng.choice(("What is my name?", "Who am I?", "Do you remember my name?")),
            f"Your name is {name}.",
            f"The user told me the name {name}.",
        )
        return Dialog((first, *between, last))
    thing, value = rng.choice(_THINGS), code(rng)
    first = ask(
        rng.choice(_GIVE).format(t=thing, x=value),
        f"OK. The {thing} is {value}.",
        f"I must remember {value}.",
    )
    last = ask(
        rng.choice(_WANT).format(t=thing), f"The {thing} is {value}.", f"The user told me {value}."
    )
    return Dialog((first, *between, last))


def in_system(rng: random.Random, filler: str = "") -> Dialog:
    """A value told in the system prompt."""
    thing, value = rng.choice(_THINGS), code(rng)
    system = " ".join(p for p in (filler, rng.choice(_GIVE).format(t=thing, x=value)) if p)
    turn = ask(
        rng.choice(_WANT).format(t=thing),
        f"The {thing} is {value}.",
        f"My instructions say {value}.",
    )
    return Dialog((turn,), system)


def codes(rng: random.Random) -> list[Piece]:
    """A plain document in which every code stands twice: only the second is learned."""
    before, after = rng.choice(
        (
            ("{x} =", " {x}"),
            ("{x} ->", " {x}"),
            ("copy {x}:", " {x}"),
            ("Repeat: {x}\n", "{x}"),
            ("{x}\n", "{x}"),
        )
    )
    out = []
    for _ in range(rng.randint(2, 12)):
        text = code(rng)
        out += [Piece(before.format(x=text), False), Piece(after.format(x=text) + "\n", True)]
    return out


def extract(rng: random.Random) -> Turn:
    """Fields of a sentence as JSON."""
    name, age, city = rng.choice(t.NAMES), rng.randint(5, 90), rng.choice(t.CITIES)
    fields = {"name": name, "age": age, "city": city}
    keys = rng.sample(list(fields), rng.randint(2, 3))
    told = rng.choice(
        (
            "{n} is {a} years old and lives in {c}.",
            "{n}, aged {a}, lives in {c}.",
            "My friend {n} from {c} is {a}.",
        )
    ).format(n=name, a=age, c=city)
    want = rng.choice(
        ("Give me {k} as JSON.", "Answer in JSON with the keys {k}.", "Return JSON with {k}.")
    )
    body = ", ".join(f'"{k}": {fields[k]}' if k == "age" else f'"{k}": "{fields[k]}"' for k in keys)
    parts = (told, want.format(k=", ".join(keys)))
    asked = " ".join(parts if rng.random() < 0.6 else parts[::-1])
    return ask(asked, "{" + body + "}", f"I take {', '.join(keys)} from the text.")
