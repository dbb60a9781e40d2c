"""Kinds of facts with the wordings of their questions; some are held out for the evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from training.corpus import tables as t


@dataclass(frozen=True)
class Family:
    """One kind of fact: rows of fields, wordings of the question, one answer and one thought."""

    name: str
    rows: tuple[tuple[str, str], ...]
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    answer: str
    statement: str = ""
    weight: float = 1.0


def cap(text: str) -> str:
    return text[:1].upper() + text[1:]


def _rows(table: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(table.items())


def _next(names: tuple[str, ...], step: int, wrap: bool = True) -> tuple[tuple[str, str], ...]:
    pairs = [(a, names[(i + step) % len(names)]) for i, a in enumerate(names)]
    return tuple(pairs if wrap else pairs[:-1] if step > 0 else pairs[1:])


_COUNTRY_OF = tuple(
    (b, a) for a, b in t.CAPITALS.items() if a not in ("England", "the United Kingdom")
)
_BOTH_WAYS = _rows(t.OPPOSITES) + tuple((b, a) for a, b in t.OPPOSITES.items())
_LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_RANK = tuple(zip(t.ORDINALS, t.MONTHS, strict=True))

FAMILIES: tuple[Family, ...] = (
    Family(
        "capital",
        _rows(t.CAPITALS),
        (
            "What is the capital of {x}?",
            "What's the capital of {x}?",
            "Capital of {x}?",
            "Name the capital of {x}.",
            "Which city is the capital of {x}?",
            "Tell me the capital of {x}.",
            "what is the capital of {x}",
            "Do you know the capital of {x}?",
            "I need the capital of {x}.",
            "What is the capital city of {x}?",
            "Which city is the seat of government of {x}?",
            "The capital of {x} is called what?",
            "Give me the capital of {x}.",
            "{X}: what is its capital?",
            "In {x}, which city is the capital?",
            "What city do we call the capital of {x}?",
        ),
        (
            "Could you name the capital city of {x}?",
            "What is {x}'s capital called?",
            "Please say which city is the capital of {x}.",
        ),
        "The capital of {x} is {y}.",
        "The capital of {x} is {y}.",
        4.0,
    ),
    Family(
        "country",
        _COUNTRY_OF,
        (
            "Which country has the capital {x}?",
            "{x} is the capital of which country?",
            "What country is {x} the capital of?",
            "Of which country is {x} the capital?",
            "Name the country whose capital is {x}.",
        ),
        ("Tell me which country {x} is the capital of.",),
        "{x} is the capital of {y}.",
        "{x} is the capital of {y}.",
        1.5,
    ),
    Family(
        "continent",
        _rows(t.CONTINENTS),
        (
            "On which continent is {x}?",
            "Which continent is {x} in?",
            "What continent does {x} belong to?",
            "Where is {x}, on which continent?",
            "Name the continent of {x}.",
        ),
        ("Tell me which continent {x} is on.",),
        "{X} is in {y}.",
        "{X} is in {y}.",
    ),
    Family(
        "colour",
        _rows(t.COLOURS),
        (
            "What colour is {x}?",
            "What color is {x}?",
            "Which colour is {x}?",
            "Tell me the colour of {x}.",
            "what colour is {x}",
            "What is the colour of {x}?",
            "Name the colour of {x}.",
            "Which color does {x} have?",
        ),
        ("Can you tell me what colour {x} is?", "{X} has which colour?"),
        "{X} is {y}.",
        "{X} is {y}.",
        1.5,
    ),
    Family(
        "opposite",
        _BOTH_WAYS,
        (
            "What is the opposite of {x}?",
            "What's the opposite of {x}?",
            "Opposite of {x}?",
            "Give me the opposite of {x}.",
            "Which word is the opposite of {x}?",
            "What is the antonym of {x}?",
            "Name the opposite of '{x}'.",
            "{X} is the opposite of what?",
        ),
        ("Please tell me the opposite of the word {x}.", "Which word means the opposite of {x}?"),
        "The opposite of {x} is {y}.",
        "The opposite of {x} is {y}.",
        2.0,
    ),
    Family(
        "day after",
        _next(t.DAYS, 1),
        (
            "What day comes after {x}?",
            "Which day follows {x}?",
            "What is the day after {x}?",
            "Today is {x}. What day is tomorrow?",
            "Which day comes after {x}?",
        ),
        ("Name the day that comes right after {x}.",),
        "The day after {x} is {y}.",
        "After {x} comes {y}.",
        1.0,
    ),
    Family(
        "day before",
        _next(t.DAYS, -1),
        (
            "What day comes before {x}?",
            "What is the day before {x}?",
            "Today is {x}. What day was yesterday?",
            "Which day comes before {x}?",
        ),
        ("Name the day that comes right before {x}.",),
        "The day before {x} is {y}.",
        "Before {x} comes {y}.",
        1.0,
    ),
    Family(
        "month after",
        _next(t.MONTHS, 1),
        (
            "What month comes after {x}?",
            "Which month follows {x}?",
            "What is the month after {x}?",
            "Which month comes after {x}?",
        ),
        ("Name the month that comes right after {x}.",),
        "The month after {x} is {y}.",
        "After {x} comes {y}.",
        1.0,
    ),
    Family(
        "month before",
        _next(t.MONTHS, -1),
        (
            "What month comes before {x}?",
            "What is the month before {x}?",
            "Which month comes before {x}?",
        ),
        ("Name the month that comes right before {x}.",),
        "The month before {x} is {y}.",
        "Before {x} comes {y}.",
        1.0,
    ),
    Family(
        "month rank",
        _RANK,
        (
            "What is the {x} month of the year?",
            "Which month is the {x} month?",
            "Name the {x} month of the year.",
            "Which month is the {x} of the year?",
        ),
        ("Tell me the {x} month of the year.",),
        "The {x} month of the year is {y}.",
        "The {x} month of the year is {y}.",
        0.6,
    ),
    Family(
        "sound",
        _rows(t.SOUNDS),
        (
            "What sound does a {x} make?",
            "Which sound does a {x} make?",
            "What does a {x} say?",
            "What noise does a {x} make?",
        ),
        ("Tell me the sound that a {x} makes.",),
        "A {x} says {y}.",
        "A {x} says {y}.",
        0.7,
    ),
    Family(
        "young",
        _rows(t.YOUNG),
        (
            "What is a young {x} called?",
            "What is a baby {x} called?",
            "What do you call a baby {x}?",
            "What is the name for a young {x}?",
        ),
        ("How do we call a young {x}?",),
        "A young {x} is called a {y}.",
        "A young {x} is called a {y}.",
        0.7,
    ),
    Family(
        "legs",
        _rows(t.LEGS),
        (
            "How many legs does a {x} have?",
            "How many legs has a {x}?",
            "A {x} has how many legs?",
            "Tell me how many legs a {x} has.",
        ),
        ("What is the number of legs of a {x}?",),
        "A {x} has {y} legs.",
        "A {x} has {y} legs.",
        1.0,
    ),
    Family(
        "home",
        _rows(t.HOMES),
        ("Where does a {x} live?", "What is the home of a {x}?", "In what does a {x} live?"),
        ("Tell me where a {x} lives.",),
        "A {x} lives in a {y}.",
        "A {x} lives in a {y}.",
        0.5,
    ),
    Family(
        "language",
        _rows(t.LANGUAGES),
        (
            "What language do people speak in {x}?",
            "Which language is spoken in {x}?",
            "What is the language of {x}?",
            "Name the language of {x}.",
        ),
        ("Tell me which language they speak in {x}.",),
        "People in {x} speak {y}.",
        "People in {x} speak {y}.",
        0.8,
    ),
    Family(
        "symbol",
        _rows(t.SYMBOLS),
        (
            "What is the chemical symbol for {x}?",
            "What is the symbol of {x}?",
            "Give me the chemical symbol of {x}.",
            "Which chemical symbol has {x}?",
        ),
        ("Tell me the chemical symbol for {x}.",),
        "The chemical symbol for {x} is {y}.",
        "The chemical symbol for {x} is {y}.",
        0.6,
    ),
    Family(
        "sides",
        _rows(t.SHAPES),
        (
            "How many sides does a {x} have?",
            "How many sides has a {x}?",
            "A {x} has how many sides?",
        ),
        ("Tell me how many sides a {x} has.",),
        "A {x} has {y} sides.",
        "A {x} has {y} sides.",
        0.4,
    ),
    Family(
        "material",
        _rows(t.MADE_OF),
        ("What is {x} made of?", "What is {x} made from?", "Which material is {x} made of?"),
        ("Tell me what {x} is made of.",),
        "{X} is made of {y}.",
        "{X} is made of {y}.",
        0.5,
    ),
    Family(
        "work",
        _rows(t.WORKS),
        (
            "Where does a {x} work?",
            "What is the workplace of a {x}?",
            "In which place does a {x} work?",
        ),
        ("Tell me where a {x} works.",),
        "A {x} works in a {y}.",
        "A {x} works in a {y}.",
        0.5,
    ),
    Family(
        "letter after",
        _next(_LETTERS, 1, wrap=False),
        (
            "Which letter comes after {x}?",
            "What letter comes after {x}?",
            "What is the letter after {x}?",
        ),
        ("Name the letter that follows {x}.",),
        "The letter after {x} is {y}.",
        "After {x} comes {y}.",
        0.5,
    ),
    Family(
        "number word",
        tuple((str(i), w) for i, w in enumerate(t.NUMBER_WORDS)),
        ("Write {x} as a word.", "How do you write {x} in words?", "Spell the number {x}."),
        ("What is {x} in words?",),
        "{x} in words is {y}.",
        "",
        0.4,
    ),
    Family(
        "planet",
        tuple(zip(t.ORDINALS, t.PLANETS, strict=False)),
        (
            "What is the {x} planet from the sun?",
            "Which planet is the {x} from the sun?",
            "Name the {x} planet.",
        ),
        ("Tell me the {x} planet from the sun.",),
        "The {x} planet from the sun is {y}.",
        "The {x} planet from the sun is {y}.",
        0.4,
    ),
)
