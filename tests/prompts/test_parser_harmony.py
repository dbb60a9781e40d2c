"""gpt-oss: messages in channels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.transcripts import ADD, NESTED, NOW, TOOLS, WEATHER, Told, check, cut, told
from trillama.prompts.parsers.contract import Tools
from trillama.prompts.parsers.harmony import HARMONY

FINAL = "<|channel|>final<|message|>"
ANALYSIS = "<|channel|>analysis<|message|>"
NEXT = "<|end|><|start|>assistant"
NESTED_JSON = '{"data": {"x": [1, {"y": "}{]["}], "z": null}, "tags": ["a", "ß\\n"]}'


def to(name: str, arguments: str) -> str:
    header = f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>"
    return f"{header}{arguments}<|call|>"


WEATHER_CALL = to("get_weather", '{"city": "Z\\u00fcrich"}')
CASES = {
    "none": (f"{FINAL}Hi < there<|return|>", Told("Hi < there")),
    "no end": (f"{FINAL}Hi <|en", Told("Hi <|en")),
    "reasoning": (f"{ANALYSIS}hm{NEXT}{FINAL}Hi", Told("Hi", thinking="hm")),
    "one": (WEATHER_CALL, Told("", (WEATHER,))),
    "reasoning and a call": (
        f"{ANALYSIS}hm{NEXT}{WEATHER_CALL}",
        Told("", (WEATHER,), False, "hm"),
    ),
    "two": (
        f'{WEATHER_CALL}<|start|>assistant{to("add", """{"a": 1, "b": 2.5}""")}',
        Told("", (WEATHER, ADD)),
    ),
    "text around": (
        f"<|channel|>commentary<|message|>Let me see.{NEXT}{to('now', '{}')}"
        f"<|start|>assistant{FINAL}Done.",
        Told("Let me see.Done.", (NOW,)),
    ),
    "nested": (to("save", NESTED_JSON), Told("", (NESTED,))),
    "recipient in the role": (
        ' to=functions.add<|channel|>commentary json<|message|>{"a": 1, "b": 2.5}',
        Told("", (ADD,)),
    ),
    "no arguments": (to("now", ""), Told("", (NOW,))),
    "truncated": (to("now", '{"a')[:-8], Told('{"a', malformed=True)),
    "truncated in the header": ("<|channel|>comm", Told("")),
    "malformed": (f"{ANALYSIS}a{NEXT}{to('now', '[1]')}", Told("[1]", (), True, "a")),
    "no header": ("Just text", Told("Just text")),
    "no header, long": ("y" * 500, Told("y" * 500)),
    "analysis twice": (f"{ANALYSIS}a{NEXT}{ANALYSIS}b{NEXT}{FINAL}c", Told("c", thinking="ab")),
    "start without end": (f"{ANALYSIS}a<|start|>assistant{FINAL}c", Told("c", thinking="a")),
    "nothing": ("", Told("")),
}


@pytest.mark.parametrize("case", CASES)
def test_transcripts(case: str) -> None:
    """Each reads as written here, at every split."""
    text, wanted = CASES[case]
    if len(text) < 300:
        check(HARMONY, text, wanted)
    assert told(HARMONY.parser(TOOLS), list(text)) == wanted


def test_without_tools_a_call_is_text() -> None:
    """Nobody could answer it."""
    assert told(HARMONY.parser(Tools()), [WEATHER_CALL]) == Told('{"city": "Z\\u00fcrich"}')


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        (f"<|start|>user<|message|>x<|end|><|start|>assistant{FINAL}Once", Told(" upon")),
        (f"<|start|>assistant{ANALYSIS}Hm", Told(thinking=" upon")),
        ("<|start|>user<|message|>x<|end|>", Told(" upon")),
    ],
)
def test_a_message_that_the_prompt_begins_is_continued(prompt: str, wanted: Told) -> None:
    """At once, in its channel."""
    assert told(HARMONY.parser(TOOLS, prompt), [" upon"]) == wanted


def test_content_streams() -> None:
    """Nothing is held back but what may be a mark."""
    parser = HARMONY.parser(TOOLS)
    assert parser.push(f"{FINAL}Hello").content == "Hello"
    assert parser.push(" you <").content == " you "
    assert parser.push("b>").content == "<b>"


BITS = (FINAL, ANALYSIS, NEXT, WEATHER_CALL, WEATHER_CALL[:60], WEATHER_CALL[60:], *HARMONY.marks)
bits = st.sampled_from([*BITS, "assistant", " to=f", "{}", "x", " "])


@given(texts=st.lists(bits, max_size=10), cuts=st.lists(st.integers(0, 400), max_size=12))
def test_streamed_and_whole_are_the_same(texts: list[str], cuts: list[int]) -> None:
    """Any mixture of marks, cut anywhere."""
    text = "".join(texts)
    assert told(HARMONY.parser(TOOLS), cut(text, cuts)) == told(HARMONY.parser(TOOLS), [text])
