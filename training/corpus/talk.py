"""Small talk, identity, personas, and dialogs of several turns made of every other skill."""

from __future__ import annotations

import random

from training.corpus import copying, facts, numbers, reword
from training.corpus import tables as t
from training.corpus.chat import Dialog, Turn, ask

_GREETINGS = (
    ("Hello!", "Hello! How can I help you?"),
    ("Hi", "Hello! How can I help you?"),
    ("Hi!", "Hello! How can I help you?"),
    ("hello", "Hello! How can I help you?"),
    ("Hey", "Hello! How can I help you?"),
    ("Hi there!", "Hello! How can I help you?"),
    ("Good morning!", "Good morning! How can I help you?"),
    ("Good evening!", "Good evening! How can I help you?"),
    ("How are you?", "I am fine, thank you. How can I help you?"),
    ("Hi, how are you?", "I am fine, thank you. How can I help you?"),
    ("Thank you!", "You are welcome."),
    ("Thanks", "You are welcome."),
    ("Thanks a lot!", "You are welcome."),
    ("Bye!", "Goodbye! Have a nice day."),
    ("Goodbye", "Goodbye! Have a nice day."),
    ("Can you help me?", "Yes. What do you need?"),
    ("Are you there?", "Yes, I am here."),
    ("Say hello.", "Hello!"),
    ("Say hi", "Hi!"),
    ("Tell me a joke.", "Why did the duck cross the road? To say quack on the other side."),
    ("ping", "pong"),
    ("Test", "The test works."),
    ("This is a test.", "The test works."),
    (
        "What can you do?",
        "I can answer simple questions, add numbers, repeat text, call tools and tell stories.",
    ),
)
_IDENTITY = (
    "Who are you?",
    "What is your name?",
    "What are you?",
    "Tell me your name.",
    "What's your name?",
    "who are you",
    "Introduce yourself.",
    "What should I call you?",
    "Are you a person?",
    "Do you have a name?",
    "May I ask your name?",
    "How are you called?",
    "Tell me who you are, please.",
    "Tell me about yourself.",
    "Your name?",
    "Whom am I speaking to?",
    "I want to know your name.",
    "Say who you are.",
    "What name do you have?",
    "By which name may I call you?",
    "Please say your name.",
    "Please introduce yourself.",
    "Hello, who are you?",
    "Hi! What is your name?",
)
IDENTITY_HELD_OUT = ("Please tell me who you are.", "By what name do you go?", "Say your name.")
_SELF = "I am Tiny, a small language model."
_WHY = (
    ("the sky blue", "The sky is blue because air scatters blue light more than red light."),
    (
        "grass green",
        "Grass is green because its leaves hold a green pigment that catches sunlight.",
    ),
    ("snow white", "Snow is white because its crystals scatter all colours of light."),
    ("the sea salty", "The sea is salty because rivers carry salt from rocks into it."),
)
_ROLES = (
    "a pirate",
    "a helpful assistant",
    "a friendly robot",
    "a teacher",
    "a cook",
    "a wizard",
    "a librarian",
    "an assistant",
    "a gardener",
    "a polite helper",
    "a detective",
    "a sailor",
)
_SYSTEMS = (
    "You are {n}.",
    "You are {n}, {r}.",
    "Your name is {n}.",
    "You are {r} named {n}.",
    "You are {r} called {n}.",
    "Your name is {n}. You are {r}.",
    "Act as {n}, {r}.",
    "You are {n}, {r}. Answer briefly.",
    "You are {n}. Always be kind.",
    "You are called {n} and you are {r}.",
    "Pretend that you are {n}, {r}.",
    "Answer as {n}, {r}.",
    "Your role is {r}. Your name is {n}.",
    "This assistant is called {n}.",
    "From now on you are {n}.",
    "Speak as {n}.",
    "Play the part of {n}, {r}.",
    "I call you {n}.",
    "{n} is your name.",
    "You always answer as {n}.",
    "The assistant {n} is {r}.",
    "Be {n}, {r}.",
    "Stay {n}, {r}.",
    "Here speaks {n}, {r}.",
    "{n}, {r}.",
    "Talk like {n}, {r}.",
    "You are the helper {n}.",
    "You are our robot {n}.",
    "Your job is to be {n}, {r}.",
    "Reply as {n}, {r}.",
    "Always be {n}.",
    "Never forget that you are {n}.",
    "Take the role of {n}, {r}.",
    "You act as {n}, {r}.",
    "The user talks to {n}, {r}.",
    "The name of the assistant is {n}. It is {r}.",
)
SYSTEM_HELD_OUT = ("You play {n}, {r}.", "Always answer as {n}, {r}.", "You are the assistant {n}.")
_PLAIN_SYSTEMS = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "Be kind.",
    "You are an assistant.",
    "Answer in one sentence.",
    "You help the user.",
    "Be helpful and short.",
)


def greeting(rng: random.Random) -> Turn:
    asked, answer = rng.choice(_GREETINGS)
    return ask(asked, answer, "The user is talking to me, so I answer politely.")


def identity(rng: random.Random) -> Turn:
    return ask(
        reword.before(rng) + rng.choice(_IDENTITY), _SELF, "The user asks who I am. I am Tiny."
    )


def why(rng: random.Random) -> Turn:
    thing, answer = rng.choice(_WHY)
    asked = rng.choice(
        ("Why is {x}?", "why is {x}?", "Tell me why {x} is that way.", "Explain why {x}.")
    )
    if "Tell" in asked or "Explain" in asked:
        asked = "Why is {x}?"
    return ask(asked.format(x=thing), answer, "I know the reason.")


def persona(rng: random.Random) -> Dialog:
    """A name and role in the system prompt, kept when asked."""
    name = (
        rng.choice(t.PERSONAS)
        if rng.random() < 0.5
        else copying.code(rng)[:10].strip("-_./:").title()
    )
    role = rng.choice(_ROLES)
    form = rng.choice(_SYSTEMS)
    answer = f"I am {name}, {role}." if "{r}" in form else f"I am {name}."
    turn = ask(reword.before(rng) + rng.choice(_IDENTITY), answer, f"My name is {name}.")
    before = tuple(chat(rng) for _ in range(rng.choice((0, 0, 0, 1))))
    system = form.format(n=name, r=role)
    if rng.random() < 0.3:  # a name is a name wherever it stands
        system = rng.choice(
            (f"{reword.before(rng)}{system}", f"{system} {rng.choice(_PLAIN_SYSTEMS)}")
        )
    return Dialog((*before, turn), system)


_CHAT = (
    (facts.fact, 13.0),
    (facts.quantity, 1.0),
    (facts.unknown, 0.4),
    (facts.listing, 1.0),
    (numbers.sums, 2.5),
    (numbers.differences, 2.5),
    (numbers.products, 0.5),
    (numbers.compare, 0.5),
    (numbers.count, 0.8),
    (copying.repeat, 8.0),
    (copying.recall, 2.0),
    (copying.extract, 1.0),
    (greeting, 1.0),
    (identity, 0.4),
    (why, 0.2),
)
_MAKERS = [maker for maker, _ in _CHAT]
_CHANCES = [chance for _, chance in _CHAT]


def chat(rng: random.Random) -> Turn:
    """One turn of any plain skill."""
    return rng.choices(_MAKERS, _CHANCES)[0](rng)


def dialog(rng: random.Random) -> Dialog:
    """One to four unrelated turns, sometimes under a plain system prompt."""
    count = rng.choice((1, 1, 1, 2, 2, 3, 4))
    system = rng.choice(_PLAIN_SYSTEMS) if rng.random() < 0.2 else ""
    return Dialog(tuple(chat(rng) for _ in range(count)), system)


def memory(rng: random.Random) -> Dialog:
    """A value given in one turn or in the system prompt, wanted later."""
    if rng.random() < 0.25:
        return copying.in_system(rng)
    return copying.remember(rng, [chat(rng) for _ in range(rng.choice((0, 0, 1, 2)))])
