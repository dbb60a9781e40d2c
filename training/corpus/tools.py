"""Function calling: tools of any name and schema, the call, and the reply to its result.

Each `Task` pairs a tool with questions about it. Half of the tools are renamed, described anew or
given other argument names, so that the model must read the schema; the evaluation uses names that
are never trained.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from training.corpus import numbers, reword
from training.corpus import tables as t
from training.corpus.chat import Dialog, Step, Turn, dumps
from training.corpus.copying import code
from training.corpus.tool_tasks import ADD, COMMON, TASKS, Task
from training.corpus.words import COMMON as WORDS
from training.corpus.words import syllables


@dataclass(frozen=True)
class Case:
    """One concrete use of a task: its schema, the question, the arguments."""

    schema: dict[str, Any]
    user: str
    arguments: dict[str, Any]
    task: Task


_RENAMED = {
    "city": ("location", "place", "town"),
    "a": ("x", "first", "left"),
    "b": ("y", "second", "right"),
    "query": ("q", "topic", "text", "term"),
    "path": ("file", "filename"),
    "time": ("at", "hour"),
    "minutes": ("duration", "length"),
    "to": ("recipient", "person"),
    "text": ("word", "content"),
    "user_id": ("id", "user"),
    "people": ("guests", "seats"),
    "order_id": ("order", "number"),
}
_TYPES = {"int": "integer", "bool": "boolean"}
_VERBS = (
    "lock open close start stop count paint clean move check fix wash sell rent feed print scan "
    "pack ship record measure heat cool fill empty sort hide show build test"
).split()
_NOUNS = (
    "door gate car engine box robot pump lamp boat garden plant machine printer truck drone "
    "camera oven tank shelf bike wall window sensor motor battery basket kettle bridge tower "
    "tent"
).split()
_EXTRA = (
    "color:color",
    "count:int",
    "mode:word",
    "label:code",
    "owner:name",
    "place:city",
    "size:int",
)
_TOPICS = (
    "black holes",
    "the moon",
    "old castles",
    "green tea",
    "solar power",
    "chess rules",
    "cat food",
    "jazz music",
    "the meeting",
    "the invoice",
    "our trip",
    "garden tools",
    "winter tyres",
    "apple pie",
    "steam engines",
    "good books",
    "the weather report",
    "bird songs",
    "running shoes",
    "electric cars",
)


def value(rng: random.Random, kind: str) -> Any:
    """A random value of a kind."""
    pools: dict[str, Any] = {
        "city": t.CITIES,
        "name": (*t.NAMES, *t.PERSONAS),
        "topic": _TOPICS,
        "language": [*t.LANGUAGES.values()],
        "room": ("kitchen", "garage", "bathroom", "hall", "office", "bedroom"),
        "color": t.COLOUR_NAMES,
        "currency": ("USD", "EUR", "GBP", "JPY", "CHF", "SEK"),
        "word": (*t.ANIMALS, *t.FRUITS, *t.OPPOSITES),
    }
    if kind in pools:
        return rng.choice(pools[kind])
    if kind == "int":
        return rng.choice((rng.randint(0, 99), rng.randint(0, 9), rng.randint(100, 9999)))
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "time":
        return f"{rng.randint(0, 23):02}:{rng.choice((0, 15, 30, 45)):02}"
    if kind == "symbol":
        return "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=rng.randint(2, 4)))
    if kind == "path":
        return (
            rng.choice(("", "data/", "docs/"))
            + rng.choice(_NOUNS)
            + rng.choice((".txt", ".csv", ".md", ".py"))
        )
    return code(rng)


def invented(rng: random.Random) -> Task:
    """A tool that no table knows: a verb, a noun and up to two further arguments."""
    verb = rng.choice(_VERBS)
    noun = rng.choice(_NOUNS) if rng.random() < 0.4 else rng.choice(WORDS).lower()
    slots, asked = [], f"{verb.title()} the {noun}"
    for extra in rng.sample(_EXTRA, rng.randint(1, 2)):
        name, kind = extra.split(":")
        slots.append((name, kind))
        asked += rng.choice(
            (" with {n} {{{n}}}", ", {n} {{{n}}}", " and set {n} to {{{n}}}")
        ).format(n=name)
    name = rng.choice(
        (
            f"{verb}_{noun}",
            f"{noun}_{verb}",
            f"{verb}{noun.title()}",
            f"{verb}-{noun}",
            f"do_{verb}_{noun}",
            f"{code(rng).lower().replace('/', '')}_{noun}",
        )
    )
    endings = (".", ", please.", "")
    return Task(
        (name,),
        f"{verb.title()} the {noun}",
        tuple(slots),
        tuple(asked + e for e in endings),
        rng.choice(("Done: {result}.", f"Done: the {noun} says {{result}}.")),
        rng.choice(("code", "text")),
    )


def any_name(rng: random.Random) -> str:
    """A function name that means nothing, so that it has to be copied."""
    parts = [syllables(rng) if rng.random() < 0.4 else rng.choice(WORDS).lower() for _ in "123"]
    parts = parts[: rng.randint(1, 3)]
    joint = rng.choice(("_", "_", "-", ""))
    if not joint:
        parts[1:] = [part.title() for part in parts[1:]]
    return joint.join(parts)


def schema(rng: random.Random, task: Task, names: dict[str, str]) -> dict[str, Any]:
    """The JSON schema of a task as clients write it, in one of several key orders."""
    properties: dict[str, Any] = {}
    described = rng.random() < 0.5
    for slot, kind in task.slots:
        entry = {"type": _TYPES.get(kind, "string")}
        if described:
            entry["description"] = rng.choice(
                (f"The {slot}", slot.replace("_", " ").title(), f"{slot} of the call")
            )
        properties[names[slot]] = entry if rng.random() < 0.7 else dict(sorted(entry.items()))
    parts: list[tuple[str, Any]] = [("type", "object"), ("properties", properties)]
    if rng.random() < 0.8:
        parts.append(("required", list(properties)))
    order = rng.randrange(3)
    if order == 1:
        parts.sort()
    elif order == 2 and len(parts) == 3:
        parts = [parts[0], parts[2], parts[1]]
    about = rng.choice((task.about, task.about + ".", task.about.lower()))
    name = any_name(rng) if rng.random() < 0.5 else rng.choice(task.names)
    whole = [("name", name), ("description", about), ("parameters", dict(parts))]
    return dict(sorted(whole, key=lambda item: item[0]) if rng.random() < 0.2 else whole)


def case(rng: random.Random, task: Task) -> Case:
    """A task with names, schema and values chosen."""
    names = {slot: slot for slot, _ in task.slots}
    if rng.random() < 0.4:
        names = {slot: rng.choice((slot, *_RENAMED.get(slot, ()))) for slot in names}
        if len(set(names.values())) < len(names):
            names = {slot: slot for slot in names}
    values = {slot: value(rng, kind) for slot, kind in task.slots}
    while task is ADD and numbers.held_out(*values.values()):
        values = {slot: value(rng, kind) for slot, kind in task.slots}
    shown = {k: ("on" if v else "off") if isinstance(v, bool) else v for k, v in values.items()}
    user = reword.before(rng) + rng.choice(task.asks).format(**shown)
    arguments = {names[slot]: v for slot, v in values.items()}
    return Case(schema(rng, task, names), user, arguments, task)


def result(rng: random.Random, kind: str, arguments: dict[str, Any]) -> str:
    """What a tool answers, as a bare text; it cannot be guessed from the question."""
    if kind == "weather":
        sky = rng.choice(("sunny", "cloudy", "rainy", "windy", "foggy", "snowy"))
        return f"{sky}, {rng.randint(-9, 38)} degrees"
    if kind == "sum":
        return str(sum(v for v in arguments.values() if isinstance(v, int)))
    if kind == "text":
        return rng.choice(
            ("ok", "done", code(rng), rng.choice(_TOPICS), rng.choice(_TOPICS) + " " + code(rng))
        )
    return str(value(rng, {"number": "int"}.get(kind, kind)))


def _wrapped(rng: random.Random, text: str) -> str:
    key = rng.choice(("result", "output", "answer", "value"))
    return rng.choice(
        (text, text, dumps({key: text}), dumps({key: int(text)}) if text.isdigit() else text)
    )


def turn(rng: random.Random, chosen: Case) -> Turn:
    """Question, call, the tool's answer, reply."""
    answer = result(rng, chosen.task.result, chosen.arguments)
    first = chosen.task.slots
    shown = dict(zip((s for s, _ in first), chosen.arguments.values(), strict=True))
    shown = {k: ("on" if v else "off") if isinstance(v, bool) else v for k, v in shown.items()}
    reply = chosen.task.reply.format(result=answer, **shown)
    name = chosen.schema["name"]
    call = Step("", f'I call the tool "{name}".', ((name, chosen.arguments),))
    done = Step(reply[:1].upper() + reply[1:], "The tool has answered, so I tell the user.")
    return Turn(chosen.user, (call, done), (_wrapped(rng, answer),))


def cases(rng: random.Random) -> list[Case]:
    """One to three different tools, each with a question."""
    found: dict[str, Case] = {}
    about: set[str] = set()
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        pool = COMMON if rng.random() < 0.4 else TASKS
        one = case(rng, invented(rng) if rng.random() < 0.35 else rng.choice(pool))
        if one.task.about not in about:
            about.add(one.task.about)
            found[one.schema["name"]] = one
    return list(found.values())


def dialog(rng: random.Random, chat: Turn | None = None) -> Dialog:
    """Tools offered and used, each at most once; `chat` is a turn that needs none of them."""
    offered = cases(rng)
    schemas = [one.schema for one in offered]
    rng.shuffle(schemas)
    if rng.random() < 0.5:
        schemas = [{"type": "function", "function": one} for one in schemas]
    system = rng.choice(("", "", "", "You are a helpful assistant.", "Use the tools."))
    turns = [turn(rng, one) for one in offered[: rng.randint(1, 3)]]
    if chat is not None:  # last, because only a last turn learns whether to call at all
        turns = [*turns[: rng.randint(0, 1)], chat]
    return Dialog(tuple(turns), system, tuple(schemas))
