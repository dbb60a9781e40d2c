"""Well-known chat formats by name: a Go template each, the strings that end a turn in it, and Jinja
templates it stands for.

A Jinja template is recognised by its edit distance to these, as Ollama does when it creates a
model, so that the model gets the stop strings and a Go template that Ollama can use too. It must
also hold the marks of the format: two short templates are near each other however they differ.
Formats with tools have no Jinja texts here: theirs are long, and a distance says little about them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import msgspec

from .distance import distance

LIMIT = 100
"""Edits from which a Jinja template is another one."""

_TEXTS = Path(__file__).parent / "texts"
_STOP: dict[str, tuple[str, ...]] = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "qwen": ("<|im_start|>", "<|im_end|>"),
    "qwen2.5-instruct": ("<|im_start|>", "<|im_end|>"),
    "qwen3": ("<|im_start|>", "<|im_end|>"),
    "llama2-chat": ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
    "llama3-instruct": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "llama3.1-instruct": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"),
    "mistral-instruct": ("[INST]", "[/INST]"),
    "mistral-tools": ("[INST]", "[/INST]"),
    "gemma-instruct": ("<start_of_turn>", "<end_of_turn>"),
    "gemma3-instruct": ("<end_of_turn>",),
    "phi-3": ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>"),
    "phi-4": ("<|im_start|>", "<|im_end|>", "<|im_sep|>"),
    "zephyr": ("<|system|>", "</s>", "<|user|>", "<|assistant|>"),
    "vicuna": ("USER:", "ASSISTANT:"),
    "alpaca": ("### Instruction:", "### Response"),
    "orca": ("### System:", "### User:", "### Response:"),
    "solar-instruct": ("### System:", "### User:", "### Assistant"),
    "openchat": ("<|end_of_turn|>",),
    "command-r": ("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
    "granite-instruct": ("System:", "Question:", "Answer:"),
    "granite3-instruct": ("<|start_of_role|>", "<|end_of_text|>"),
    "deepseek-coder": ("### Instruction:", "### Response:", "<|EOT|>"),
    "deepseek-r1": ("<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
    "falcon-instruct": ("User:", "Assistant:"),
    "starcoder2-instruct": ("### Instruction", "### Response", "<|endoftext|>"),
    "magicoder": ("@@ Instruction", "@@ Response"),
    "chatqa": ("System:", "User:", "Assistant:", "<|begin_of_text|>"),
    "codellama-70b-instruct": ("Source:", "Destination:", "<step>"),
    "alfred": ("<start_system>", "<end_message>", "<start_user>", "<start_assistant>"),
}


class KnownTemplate(msgspec.Struct, frozen=True):
    """A format that goes by a name.

    Attributes:
        source: the Go template.
        stop: strings that end a turn.
        jinja: templates of Hugging Face that mean the same.
    """

    name: str
    source: str
    stop: tuple[str, ...]
    jinja: tuple[str, ...] = ()


def _read(name: str) -> KnownTemplate:
    """Read the files of ``name``; they end where their text does."""

    def text(path: Path) -> str:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()

    jinja = sorted(_TEXTS.glob(f"{name}.[0-9].jinja"))
    source = text(_TEXTS / f"{name}.gotmpl")
    return KnownTemplate(name, source, _STOP[name], tuple(map(text, jinja)))


@functools.cache
def known_templates() -> dict[str, KnownTemplate]:
    """All of them by name; read once."""
    return {name: _read(name) for name in _STOP}


@functools.cache
def _sources() -> frozenset[str]:
    return frozenset(known.source for known in known_templates().values())


def is_known(source: str) -> bool:
    """True for a Go template out of this table."""
    return source in _sources()


def _has_marks(chat_template: str, known: KnownTemplate) -> bool:
    """Half of the strings that end a turn stand in it; the others may come as variables."""
    return 2 * sum(mark in chat_template for mark in known.stop) >= len(known.stop)


def _distances(chat_template: str) -> Iterator[tuple[int, KnownTemplate]]:
    for known in known_templates().values():
        if not _has_marks(chat_template, known):
            continue
        for text in known.jinja:
            if abs(len(text) - len(chat_template)) < LIMIT:
                yield distance(text, chat_template, LIMIT), known


def detect_template(chat_template: str) -> KnownTemplate | None:
    """The known template a Jinja template stands for: the nearest, if it is near."""
    if not chat_template:
        return None
    found = min(_distances(chat_template), key=lambda pair: pair[0], default=None)
    return found[1] if found and found[0] < LIMIT else None
