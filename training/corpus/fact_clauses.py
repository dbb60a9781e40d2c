"""The questions about facts as indirect clauses, to stand after "Do you know" and the like."""

from __future__ import annotations

CLAUSES: dict[str, tuple[str, ...]] = {
    "capital": (
        "what the capital of {x} is",
        "which city is {x}'s capital",
        "how the capital of {x} is called",
        "{x}'s capital",
        "the name of the capital of {x}",
        "the capital city of {x}",
    ),
    "country": ("which country {x} is the capital of", "the country with the capital {x}"),
    "continent": (
        "which continent {x} is on",
        "on what continent {x} lies",
        "the continent of {x}",
    ),
    "colour": (
        "what colour {x} is",
        "which colour {x} has",
        "the colour of {x}",
        "what color {x} has",
    ),
    "opposite": (
        "what the opposite of {x} is",
        "the opposite of the word {x}",
        "which word means the contrary of {x}",
        "a word that means the opposite of {x}",
    ),
    "day after": ("the day that comes after {x}", "which day is right after {x}"),
    "day before": ("the day that comes before {x}", "which day is right before {x}"),
    "month after": ("the month that comes after {x}", "which month is right after {x}"),
    "month before": ("the month that comes before {x}", "which month is right before {x}"),
    "month rank": ("which month is the {x} of the year", "the {x} month of the year"),
    "sound": ("what sound a {x} makes", "the sound that a {x} makes", "the sound of a {x}"),
    "young": ("how a young {x} is called", "what we call a young {x}", "the name of a baby {x}"),
    "legs": ("how many legs a {x} has", "the number of legs of a {x}"),
    "home": ("where a {x} lives", "the home of a {x}"),
    "language": ("which language they speak in {x}", "the language people speak in {x}"),
    "symbol": ("the chemical symbol for {x}", "which symbol {x} has", "the chemical symbol of {x}"),
    "sides": ("how many sides a {x} has", "the number of sides of a {x}"),
    "material": ("what {x} is made of", "the material of {x}"),
    "work": ("where a {x} works", "the place where a {x} works"),
    "letter after": ("which letter follows {x}", "the letter that comes after {x}"),
    "number word": ("what {x} is in words", "the word for {x}"),
    "planet": ("which planet is the {x} from the sun", "the {x} planet from the sun"),
}
