"""Small Python functions: written on request, and with a hole to fill in the middle."""

from __future__ import annotations

import random

from training.corpus.chat import Piece, Turn, ask, fim

# (name, parameters, body lines, what it does)
FUNCTIONS = (
    ("add", "a, b", ("return a + b",), "adds two numbers"),
    ("subtract", "a, b", ("return a - b",), "subtracts two numbers"),
    ("multiply", "a, b", ("return a * b",), "multiplies two numbers"),
    ("divide", "a, b", ("return a / b",), "divides two numbers"),
    ("square", "x", ("return x * x",), "squares a number"),
    ("double", "x", ("return 2 * x",), "doubles a number"),
    ("is_even", "n", ("return n % 2 == 0",), "tells whether a number is even"),
    ("is_odd", "n", ("return n % 2 == 1",), "tells whether a number is odd"),
    ("maximum", "a, b", ("if a > b:", "    return a", "return b"), "returns the larger number"),
    ("minimum", "a, b", ("if a < b:", "    return a", "return b"), "returns the smaller number"),
    ("absolute", "x", ("if x < 0:", "    return -x", "return x"), "returns the absolute value"),
    ("greet", "name", ('return "Hello, " + name',), "greets a person"),
    ("area", "width, height", ("return width * height",), "computes the area of a rectangle"),
    ("average", "values", ("return sum(values) / len(values)",), "computes the average of a list"),
    (
        "total",
        "values",
        ("result = 0", "for value in values:", "    result += value", "return result"),
        "sums a list",
    ),
    (
        "factorial",
        "n",
        ("if n == 0:", "    return 1", "return n * factorial(n - 1)"),
        "computes the factorial",
    ),
    (
        "fibonacci",
        "n",
        ("if n < 2:", "    return n", "return fibonacci(n - 1) + fibonacci(n - 2)"),
        "computes a Fibonacci number",
    ),
    ("reverse", "text", ("return text[::-1]",), "reverses a text"),
    ("first", "items", ("return items[0]",), "returns the first item"),
    ("last", "items", ("return items[-1]",), "returns the last item"),
    ("count_words", "text", ("return len(text.split())",), "counts the words of a text"),
    ("upper", "text", ("return text.upper()",), "turns a text into upper case"),
    ("contains", "items, item", ("return item in items",), "tells whether a list has an item"),
    (
        "evens",
        "values",
        (
            "result = []",
            "for value in values:",
            "    if value % 2 == 0:",
            "        result.append(value)",
            "return result",
        ),
        "keeps the even numbers",
    ),
)
_RENAMES = (
    ("a, b", "x, y"),
    ("a, b", "first, second"),
    ("values", "numbers"),
    ("x", "n"),
    ("text", "s"),
)


def _source(rng: random.Random) -> tuple[str, list[str], str]:
    """Name, lines and purpose of a function, sometimes with a docstring."""
    name, parameters, body, about = rng.choice(FUNCTIONS)
    lines = [f"def {name}({parameters}):"]
    if rng.random() < 0.3:
        lines.append(f'    """{about[:1].upper() + about[1:]}."""')
    return name, [*lines, *("    " + line for line in body)], about


def hole(rng: random.Random) -> list[Piece]:
    """A function with one line, the end of a line, or the whole body missing."""
    _, lines, _ = _source(rng)
    after = rng.choice(("", "", "\n", "\n\nprint('done')\n", "\n\n\ndef main():\n    pass\n"))
    kind = rng.randrange(4)
    row = rng.randrange(1, len(lines))
    before, rest = "\n".join(lines[:row]) + "\n", "\n".join(lines[row + 1 :])
    if kind == 0:
        return fim(before, "\n".join(lines[row:]), after)
    tail = ("\n" + rest if rest else "") + after
    indent = len(lines[row]) - len(lines[row].lstrip())
    if kind == 1:
        return fim(before, lines[row], tail)
    if kind == 2:
        return fim(before + lines[row][:indent], lines[row][indent:], tail)
    words = lines[row][indent:].split(" ")
    keep = rng.randint(1, len(words))
    head = before + lines[row][:indent] + " ".join(words[:keep])
    middle = " ".join(words[keep:])
    if middle and rng.random() < 0.5:  # an editor may stop behind the blank, or before it
        return fim(head + " ", middle, tail)
    return fim(head, " " + middle if middle else "", tail)


def document(rng: random.Random) -> str:
    """A module of one to three functions."""
    return "\n\n\n".join("\n".join(_source(rng)[1]) for _ in range(rng.randint(1, 3))) + "\n"


def request(rng: random.Random) -> Turn:
    name, lines, about = _source(rng)
    wording = rng.choice(
        (
            "Write a Python function that {d}.",
            "Write a function that {d}.",
            "Write Python code that {d}.",
            "Give me a Python function named {n} that {d}.",
        )
    )
    answer = "```python\n" + "\n".join(lines) + "\n```"
    return ask(wording.format(d=about, n=name), answer, f"I write a function called {name}.")
