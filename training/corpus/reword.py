"""What people put around a request: greetings, small talk, distractions, words never heard before.

The generators wrap their questions with it so that the model learns to find the request in a message and is
not thrown by a word it has not met. Texts that must be copied are only given something in front.
"""

from __future__ import annotations

import random

from training.corpus import tables as t
from training.corpus.words import COMMON, syllables

_HELLO = (
    "Hi",
    "Hello",
    "Hey",
    "Good morning",
    "Dear friend",
    "OK",
    "Well",
    "So",
    "Now",
    "Thanks",
    "Excuse me",
    "Sorry",
    "Good",
    "Fine",
    "Next",
    "Again",
    "Listen",
    "Please",
)
_STATEMENTS = (
    "I like {w}.",
    "I saw a {a} today.",
    "We talked about {w}.",
    "My {w} is {c}.",
    "It is {d} today.",
    "{n} asked me about this.",
    "I am in {p} now.",
    "This is about {w}.",
    "I have a {w} question.",
    "My friend {n} does not know it.",
    "It is for {w}.",
    "I read about {w} and {v}.",
    "{n} and {m} want to know.",
    "I was thinking of {w}.",
    "You are very {w}.",
    "The {w} is near the {v}.",
    "There is a {c} {w} here.",
    "{w} and {v}.",
    "No more {w}.",
    "I will go to {p} in {o}.",
    "The {a} has a {w}.",
    "{z} {y}.",
    "My {z} is {w}.",
)
_CLOSERS = (
    "Thanks!",
    "Thank you.",
    "Please answer.",
    "Answer briefly.",
    "I forgot.",
    "It is for school.",
    "Thanks, {n}.",
    "I need it for {w}.",
    "Be quick.",
    "That is all.",
    "No long answer, please.",
    "{z}!",
)


def _fill(rng: random.Random, text: str) -> str:
    text = text.format(
        w=rng.choice(COMMON),
        v=rng.choice(COMMON),
        a=rng.choice(t.ANIMALS),
        c=rng.choice(t.COLOUR_NAMES),
        d=rng.choice(t.DAYS),
        n=rng.choice(t.NAMES),
        m=rng.choice(t.PERSONAS),
        p=rng.choice(t.CITIES),
        o=rng.choice(t.MONTHS),
        z=syllables(rng),
        y=syllables(rng),
    )
    return text[:1].upper() + text[1:]


def before(rng: random.Random) -> str:
    """Nothing, a greeting or a remark, ready to stand in front of a request."""
    chance = rng.random()
    if chance < 0.5:
        return ""
    if chance < 0.75:
        who = rng.choice(("", "", " " + rng.choice(t.NAMES), " " + syllables(rng).title()))
        return rng.choice(_HELLO) + who + rng.choice((". ", "! ", ", ", ": "))
    return _fill(rng, rng.choice(_STATEMENTS)) + " "


def around(rng: random.Random, request: str) -> str:
    """The request among other words, sometimes carelessly typed."""
    closer = " " + _fill(rng, rng.choice(_CLOSERS)) if rng.random() < 0.2 else ""
    text = before(rng) + request + closer
    if rng.random() < 0.06:
        return text.lower()
    if rng.random() < 0.06:
        return text.rstrip("?.!")
    return text
