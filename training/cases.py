"""The questions of the evaluation: prompts in held-out wordings, and how to tell a right answer."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from training.corpus import chat, code, copying, facts, numbers, stories, talk, tools
from training.corpus import tables as t
from training.corpus.chat import Dialog, ask
from training.corpus.tool_tasks import COMMON, TASKS, Task

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """A prompt (messages, or raw text), and the judge of its answer."""

    prompt: Messages | str
    wanted: str
    right: Callable[[str], bool]
    tools: tuple[dict[str, Any], ...] = ()
    thinking: bool = False
    sampled: bool = False
    limit: int = 160
    stops: bool = True


def _user(text: str) -> Messages:
    return [{"role": "user", "content": text}]


def after_thought(text: str) -> str:
    """The answer without its thought."""
    return text.split("</think>")[-1].strip()


def _says(wanted: str) -> Callable[[str], bool]:
    pattern = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)", re.IGNORECASE)
    return lambda text: bool(pattern.search(after_thought(text)))


def _is(wanted: str) -> Callable[[str], bool]:
    return lambda text: after_thought(text) == wanted


def fact(rng: random.Random) -> Iterator[Case]:
    for asked, wanted in facts.held_out_questions(
        rng, lambda family: 25 if family.weight > 3 else 5
    ):
        yield Case(_user(asked), wanted, _says(wanted))


def sums(rng: random.Random, thinking: bool = False) -> Iterator[Case]:
    for make, wordings in (
        (numbers.sums, numbers.SUM_HELD_OUT),
        (numbers.differences, numbers.DIFFERENCE_HELD_OUT),
    ):
        for _ in range(40 if thinking else 75):
            turn = make(rng, True, wordings)
            wanted = turn.steps[0].text.split("= ")[1].rstrip(".")
            yield Case(_user(turn.user), wanted, _ends_with_number(wanted), thinking=thinking)


def _ends_with_number(wanted: str) -> Callable[[str], bool]:
    return lambda text: re.findall(r"-?\d+", after_thought(text))[-1:] == [wanted]


def repeat(rng: random.Random) -> Iterator[Case]:
    for number in range(200):
        text = copying.code(rng)[:10]
        wording = ("Repeat: {x}", *copying.REPEAT_HELD_OUT)[number % 4]
        yield Case(_user(wording.format(x=text)), text, _is(text))


_NEW_NAMES = {
    "Get the weather in a city": ("forecast", "fetch_forecast", "weatherLookup", "meteo"),
    "Add two numbers": ("compute_total", "adder", "sum_of", "math_add"),
    "Get the current time in a city": ("tell_time", "world_clock", "timeNow", "what_time"),
    "Look up information about a topic": ("find_article", "encyclopedia", "query_web", "ask_web"),
}
_NEW_VERBS, _NEW_NOUNS = ("polish", "unlock", "charge", "deliver"), ("lantern", "tractor", "safe")


def _unseen(rng: random.Random) -> Task:
    """A tool of the four common kinds or an invented one, under a name that is never trained."""
    if rng.random() < 0.7:
        task = rng.choice(COMMON)
        return replace(task, names=_NEW_NAMES[task.about])
    verb, noun = rng.choice(_NEW_VERBS), rng.choice(_NEW_NOUNS)
    slots = (("color", "color"), ("count", "int"))
    asks = (f"{verb.title()} the {noun} with color {{color}} and set count to {{count}}.",)
    return Task((f"{verb}_{noun}",), f"{verb.title()} the {noun}", slots, asks, "Done: {result}.")


def _offer(rng: random.Random) -> tuple[tools.Case, tuple[dict[str, Any], ...]]:
    """The wanted use of a tool, and the one to three tools offered."""
    wanted = tools.case(rng, _unseen(rng))
    others = [tools.case(rng, task) for task in rng.sample(TASKS, rng.randint(0, 2))]
    offered = [wanted, *(o for o in others if o.task.about != wanted.task.about)]
    rng.shuffle(offered)
    return wanted, tuple({"type": "function", "function": one.schema} for one in offered)


def _calls(name: str, arguments: dict[str, Any]) -> Callable[[str], bool]:
    def right(text: str) -> bool:
        found = re.fullmatch(r"<tool_call>\n(.*)\n</tool_call>", after_thought(text), re.DOTALL)
        try:
            return bool(found) and json.loads(found[1]) == {"name": name, "arguments": arguments}
        except ValueError:
            return False

    return right


def tool_call(rng: random.Random, thinking: bool = False) -> Iterator[Case]:
    for _ in range(150 if thinking else 450):
        wanted, offered = _offer(rng)
        judge = _calls(wanted.schema["name"], wanted.arguments)
        text = json.dumps({"name": wanted.schema["name"], "arguments": wanted.arguments})
        yield Case(_user(wanted.user), text, judge, offered, thinking)


def tool_answer(rng: random.Random) -> Iterator[Case]:
    for _ in range(60):
        wanted, offered = _offer(rng)
        turn = tools.turn(rng, wanted)
        answer = tools.result(rng, wanted.task.result, wanted.arguments)
        turn = replace(turn, results=(answer,))
        messages = chat.messages(Dialog((turn,)))
        yield Case(messages, answer, _holds(answer), offered)


def _holds(wanted: str) -> Callable[[str], bool]:
    return lambda text: wanted in text and "<tool_call>" not in text


def no_tool(rng: random.Random) -> Iterator[Case]:
    asked = facts.held_out_questions(rng, lambda family: 2)
    for question, wanted in asked:
        yield Case(_user(question), wanted, _says(wanted), _offer(rng)[1])


def _thinks(text: str) -> bool:
    return bool(re.fullmatch(r"<think>\n.+?\n</think>\n\n\S.*", text, re.DOTALL))


def thinking(rng: random.Random) -> Iterator[Case]:
    for number in range(60):
        turn = talk.chat(rng)
        on = number % 2 == 0
        judge = _thinks if on else (lambda text: bool(text.strip()) and "think>" not in text)
        wanted = "a thought, then an answer" if on else "an answer and no thought"
        yield Case(_user(turn.user), wanted, judge, thinking=on, limit=400)


def fill_in(rng: random.Random) -> Iterator[Case]:
    for name, parameters, body, _ in code.FUNCTIONS:
        lines = ["    " + line for line in body]
        row = len(lines) - 1
        before = "\n".join([f"def {name}({parameters}):", *lines[:row]]) + "\n"
        wanted = lines[row].strip()
        prompt = f"<|fim_prefix|>{before}    <|fim_suffix|>\n<|fim_middle|>"
        yield Case(prompt, wanted, lambda text, wanted=wanted: text.strip() == wanted)


def persona(rng: random.Random) -> Iterator[Case]:
    for _ in range(60):
        name = rng.choice(t.PERSONAS)
        system = rng.choice(talk.SYSTEM_HELD_OUT).format(n=name, r="a helpful robot")
        question = rng.choice((*talk.IDENTITY_HELD_OUT, "Who are you?", "What is your name?"))
        messages = [{"role": "system", "content": system}, *_user(question)]
        yield Case(messages, name, _says(name))


def memory(rng: random.Random) -> Iterator[Case]:
    for _ in range(60):
        between = [talk.chat(rng) for _ in range(rng.randint(0, 2))]
        dialog = copying.remember(rng, between)
        wanted = dialog.turns[-1].steps[0].text.split(" is ")[1].rstrip(".")
        yield Case(chat.messages(dialog), wanted, lambda text, w=wanted: w in text)


def _plain_english() -> set[str]:
    rng = random.Random("words")
    return {w for _ in range(3000) for w in re.findall(r"[a-z]+", stories.document(rng).lower())}


def story(rng: random.Random) -> Iterator[Case]:
    known = _plain_english()

    def right(name: str, text: str) -> bool:
        words = re.findall(r"[a-z]+", text.lower())
        return len(words) > 15 and name in text and set(words) <= known

    for _ in range(40):
        begin = stories.story(rng)[0]
        name = re.findall(r"(?:called|name was) (\w+)", begin)[0]
        dialog = Dialog((ask("Please continue this tale: " + begin, "", ""),))
        judge = lambda text, name=name: right(name, text)  # noqa: E731
        yield Case(chat.messages(dialog), f"a story of {name}", judge, limit=250)


def raw_text(rng: random.Random) -> Iterator[Case]:
    for country, capital in rng.sample(list(t.CAPITALS.items()), 30):
        prompt = f"The capital of {country} is"
        yield Case(prompt, capital, _begins(capital), limit=8, stops=False)


def _begins(wanted: str) -> Callable[[str], bool]:
    return lambda text: text.strip().startswith(wanted)


def sampled(rng: random.Random) -> Iterator[Case]:
    for case in fact(rng):
        yield replace(case, sampled=True)


def long_recall(rng: random.Random) -> Iterator[Case]:
    for _ in range(20):
        filler = " ".join(stories.document(rng) for _ in range(rng.randint(6, 14)))
        turn = copying.recall(rng, filler)
        wanted = turn.steps[0].text.split(" is ")[1].rstrip(".")
        yield Case(_user(turn.user), wanted, lambda text, w=wanted: w in text)


CHECKS: dict[str, Callable[[random.Random], Iterator[Case]]] = {
    "facts": fact,
    "sums": sums,
    "sums, thinking": lambda rng: sums(rng, thinking=True),
    "repeat": repeat,
    "tool call": tool_call,
    "tool call, thinking": lambda rng: tool_call(rng, thinking=True),
    "tool answer": tool_answer,
    "no tool needed": no_tool,
    "think on and off": thinking,
    "fill in": fill_in,
    "persona": persona,
    "memory": memory,
    "story": story,
    "raw text": raw_text,
    "facts, sampled": sampled,
    "recall, long prompt": long_recall,
}
