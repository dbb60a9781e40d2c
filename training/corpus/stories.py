"""Short stories in plain English from a small grammar, told whole or continued."""

from __future__ import annotations

import random

from training.corpus import reword
from training.corpus import tables as t
from training.corpus.chat import Dialog, Step, Turn

_TRAITS = [
    "little",
    "old",
    "brave",
    "happy",
    "clever",
    "kind",
    "shy",
    "hungry",
    "tired",
    "young",
    "quiet",
    "curious",
    "lazy",
    "friendly",
]
_PLACES = (
    "in a forest",
    "near a river",
    "on a farm",
    "by the sea",
    "in a small town",
    "under a big tree",
    "on a hill",
    "in a quiet garden",
    "at the edge of a lake",
    "in a warm house",
)
_FINDS = (
    "a shiny key",
    "a red ball",
    "an old map",
    "a golden coin",
    "a small boat",
    "a lost hat",
    "a blue feather",
    "a box of apples",
    "a silver bell",
    "a strange book",
    "a big yellow leaf",
    "a broken toy",
)
_WANTS = (
    "find a friend",
    "see the sea",
    "learn to sing",
    "find some food",
    "go home",
    "build a house",
    "climb the hill",
    "cross the river",
    "help someone",
    "see the moon",
)
_FEELS = ["happy", "proud", "surprised", "glad", "excited", "calm", "thankful"]
_WEATHER = (
    "The sun was shining.",
    "It was a cold morning.",
    "It was raining softly.",
    "The wind was blowing.",
    "It was a warm day.",
    "The sky was full of clouds.",
)
_ENDS = (
    "From that day on, they were best friends.",
    "They lived happily ever after.",
    "That night, {n} slept well.",
    "And {n} never forgot that day.",
    "Then everyone went home and had supper.",
    "{n} smiled and went to bed.",
)


_CONTINUE = (
    "Continue this story: ",
    "Continue the story: ",
    "Go on: ",
    "Please continue the story: ",
    "What happens next? ",
    "Tell the rest of this tale: ",
    "Go on with this story: ",
    "Write the next part: ",
    "Finish the tale: ",
    "Here is a beginning, please go on: ",
    "Please continue: ",
)


def _line(rng: random.Random, name: str, friend: tuple[str, str]) -> list[str]:
    find, want, feel = rng.choice(_FINDS), rng.choice(_WANTS), rng.choice(_FEELS)
    animal, other = friend
    trouble = rng.choice(
        (
            f"But the way was long and {name} was afraid.",
            f"But then {name} got lost.",
            f"But {name} did not know the way.",
            "But it began to get dark.",
        )
    )
    help_ = rng.choice(
        (
            f'"Do not worry," said {other}. "I will help you."',
            f'"Come with me," said {other}.',
            f'"I know what to do," said {other}.',
            f'"Let us go together," said {other}.',
        )
    )
    return [
        rng.choice(_WEATHER),
        f"One day, {name} wanted to {want}.",
        trouble,
        f"Then {name} met a {animal} called {other}.",
        help_,
        f"They walked together and found {find}.",
        f"{name} was very {feel}.",
        rng.choice(_ENDS).format(n=name),
    ]


def story(rng: random.Random, animal: str = "") -> list[str]:
    """Sentences of one story; some middle sentences are left out at random."""
    hero, friend = animal or rng.choice(t.ANIMALS), rng.choice(t.ANIMALS)
    name, other = rng.sample((*t.NAMES, *t.PERSONAS), 2)
    place, trait = rng.choice(_PLACES), rng.choice(_TRAITS)
    article = "an" if trait[0] in "aeio" else "a"
    form = rng.choice(
        (
            "Once upon a time, there was {a} {t} {h} called {n}. {n} lived {p}.",
            "Once upon a time, {a} {t} {h} called {n} lived {p}.",
            "There was once {a} {t} {h}. Its name was {n} and it lived {p}.",
        )
    )
    first = form.format(a=article, t=trait, h=hero, n=name, p=place)
    rest = _line(rng, name, (friend, other))
    return [first, *(s for i, s in enumerate(rest) if i in (3, 7) or rng.random() < 0.8)]


def document(rng: random.Random) -> str:
    return " ".join(story(rng))


def told(rng: random.Random) -> Dialog:
    """A story on request, about an animal or about anything, or continued from its beginning."""
    animal = rng.choice(t.ANIMALS)
    sentences = story(rng, animal)
    kind = rng.randrange(3)
    if kind == 0:
        user = rng.choice(
            (
                "Tell me a story.",
                "Tell me a short story.",
                "Write a story.",
                "Can you tell me a story?",
            )
        )
    elif kind == 1:
        user = (
            rng.choice(
                (
                    "Tell me a story about a {a}.",
                    "Write a short story about a {a}.",
                    "Tell a story about a {a}.",
                )
            )
            .format(a=animal)
            .replace(" a owl", " an owl")
        )
    else:
        cut = rng.randint(1, 3)
        begin = " ".join(sentences[:cut])
        sentences = sentences[cut:]
        user = rng.choice(_CONTINUE) + begin
    user = reword.before(rng) + user
    thought = "The user wants a story, so I tell one."
    return Dialog((Turn(user, (Step(" ".join(sentences), thought),)),))
