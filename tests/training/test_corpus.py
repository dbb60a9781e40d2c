"""The synthetic corpus of the bundled model: repeatable, honest about what is held out."""

from __future__ import annotations

import itertools
import json
import random
import re
from pathlib import Path

import jinja2
import pytest

from training.corpus import chat, copying, facts, mixture, numbers, talk, tools
from training.corpus.chat import Dialog
from training.corpus.fact_families import FAMILIES

TEMPLATE = Path(chat.__file__).parents[1] / "chat_template.jinja"


def _text(sample: list[chat.Piece]) -> str:
    return "".join(piece.text for piece in sample)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [_text(sample) for sample in itertools.islice(mixture.stream(11), 4000)]


def test_same_seed_gives_the_same_samples() -> None:
    """Training data can be made again from its seed alone."""
    first, second, other = (list(itertools.islice(mixture.stream(s), 300)) for s in (5, 5, 6))
    assert first == second
    assert first != other


def test_every_kind_learns_something_but_never_a_question() -> None:
    """Loss falls on answers and plain documents, never on what the user or system says."""
    for name, _, make in mixture.KINDS:
        for seed in range(20):
            sample = make(random.Random(seed))
            assert any(piece.learn and piece.text for piece in sample), name
            assert not any(piece.learn and "<|im_start|>" in piece.text for piece in sample), name


def test_held_out_wordings_never_occur_in_training(texts: list[str]) -> None:
    """The evaluation asks in words that training has not shown."""
    fixed = [*copying.REPEAT_HELD_OUT, *numbers.SUM_HELD_OUT, *numbers.DIFFERENCE_HELD_OUT]
    patterns = [w for family in FAMILIES for w in family.held_out] + fixed
    patterns += [*talk.IDENTITY_HELD_OUT, *talk.SYSTEM_HELD_OUT]
    blob = "\n".join(texts)
    for pattern in patterns:
        known = re.split(r"\{\w\}", pattern)
        assert not re.search(r"[^\n]{1,40}?".join(map(re.escape, known)), blob), pattern


def test_held_out_pairs_never_occur_in_training(texts: list[str]) -> None:
    """No held-out sum or difference is ever written out, not even inside a thought."""
    found = 0
    for text in texts:
        for a, sign, b, c in re.findall(r"(?<!\d)(\d+) ([+-]) (\d+) = (\d+)", text):
            found += 1
            x, y = int(a), int(b)
            assert int(c) == (x + y if sign == "+" else x - y)
            assert not numbers.held_out(x, y), (text, a, b)
    assert found > 1000


def test_held_out_pairs_are_a_fair_share() -> None:
    """Enough pairs are held out to measure with, and few enough to learn from the rest."""
    held = sum(numbers.held_out(a, b) for a in range(100) for b in range(100))
    assert 500 < held < 1200


def test_tool_calls_are_json_that_fits_the_schema() -> None:
    """Every call names an offered tool and gives its arguments by their names."""
    for seed in range(300):
        dialog = tools.dialog(random.Random(seed))
        offered = [tool.get("function", tool) for tool in dialog.tools]
        by_name = {tool["name"]: tool for tool in offered}
        name, arguments = dialog.turns[0].steps[0].calls[0]
        assert set(arguments) == set(by_name[name]["parameters"]["properties"])
        assert json.loads(json.dumps(arguments)) == arguments


def _render(dialog: Dialog, thinking: bool) -> str:
    environment = jinja2.Environment()
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = environment.from_string(TEMPLATE.read_text().rstrip("\n"))
    return template.render(
        messages=chat.messages(dialog),
        tools=list(dialog.tools),
        add_generation_prompt=True,
        enable_thinking=thinking,
    )


@pytest.mark.parametrize("make", [talk.dialog, talk.memory, talk.persona, tools.dialog])
@pytest.mark.parametrize("thinking", [False, True])
def test_template_writes_what_training_showed(make, thinking: bool) -> None:
    """The chat template in the GGUF and the training text agree to the last byte."""
    for seed in range(60):
        dialog = make(random.Random(seed))
        trained = _text(chat.pieces(dialog, thinking)[:-1])
        assert _render(dialog, thinking) == trained


def test_template_drops_old_thoughts_and_joins_tool_answers() -> None:
    """History shows answers only, and answers of parallel calls stand in one message."""
    calls = [{"function": {"name": n, "arguments": '{"x": 1}'}} for n in ("f", "g")]
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "<think>\nwell\n</think>\n\nHello", "tool_calls": calls},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
    ]
    template = jinja2.Environment().from_string(TEMPLATE.read_text().rstrip("\n"))
    assert template.render(messages=messages, add_generation_prompt=True) == (
        "<|im_start|>user\nHi<|im_end|>\n"
        '<|im_start|>assistant\nHello\n<tool_call>\n{"name": "f", "arguments": {"x": 1}}'
        "\n</tool_call>\n"
        '<tool_call>\n{"name": "g", "arguments": {"x": 1}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>"
        "<|im_end|>\n<|im_start|>assistant\n"
    )


def test_held_out_questions_name_their_answer() -> None:
    """Each evaluation question comes with the word a right answer must hold."""
    questions = facts.held_out_questions(random.Random(0), lambda family: 2)
    assert len(questions) >= 2 * len(FAMILIES) - 2
    assert all(asked and expected for asked, expected in questions)
