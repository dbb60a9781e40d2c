"""How a family writes the calls that it is made to write."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Envelope:
    """Texts around the arguments of a call, and around all calls of an answer.

    ``{name}`` stands for the function's name, ``{key}`` for a parameter's, ``{at}`` for digits.

    Attributes:
        before, after: around the arguments.
        joint: between calls; None where an answer has one call only.
        lead, trail: around all calls.
        key, value_end: around the value of a parameter, where arguments are tags; "" for JSON.
        thought: around reasoning that may come first, where it has no tags.
    """

    before: str
    after: str = ""
    joint: str | None = ""
    lead: str = ""
    trail: str = ""
    key: str = ""
    value_end: str = ""
    thought: tuple[str, str] | None = None


def json_calls(lead: str, trail: str = "", joint: str | None = ", ") -> Envelope:
    """JSON objects with a name and arguments, in an array whose brackets are in the texts."""
    return Envelope('{"name": "{name}", "arguments": ', "}", joint, lead, trail)
