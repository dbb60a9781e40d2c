"""Which family a model's answers belong to.

By the name of a built-in parser in the model's config (PARSER of a Modelfile), else by what the
text of its template shows: the marks of a family stand in the template because it writes earlier
calls with them.
"""

from __future__ import annotations

import functools

from .command_r import COMMAND_R, COMMAND_R7B
from .deepseek import DEEPSEEK, DEEPSEEK_DSML
from .family import Family
from .gemma import FUNCTION_GEMMA, GEMMA4
from .generic import generic
from .glm import GLM
from .granite import APERTUS, FIREFUNCTION, GIGACHAT, GRANITE, NEMOTRON, TOOL_CALLS
from .harmony import HARMONY
from .hermes import HERMES
from .kimi import KIMI, SOLAR
from .llama3 import FUNCTIONARY, LLAMA3
from .minimax import MINICPM, MINIMAX
from .mistral import MISTRAL
from .olmo import LFM2, OLMO
from .qwen_coder import QWEN_CODER, SEED

_NAMED: dict[str, Family] = {
    "cogito": DEEPSEEK,
    "cohere": COMMAND_R7B,
    "deepseek3": DEEPSEEK,
    "functiongemma": FUNCTION_GEMMA,
    "gemma4": GEMMA4,
    "gemma4-no-thinking": GEMMA4,
    "glm-4.7": GLM,
    "glm-ocr": GLM,
    "harmony": HARMONY,
    "laguna": GLM,
    "lfm2": LFM2,
    "lfm2-thinking": LFM2,
    "ministral": MISTRAL,
    "nemotron-3-nano": QWEN_CODER,
    "nemotron-3.5-nano": QWEN_CODER,
    "olmo3": OLMO,
    "ornith": QWEN_CODER,
    "poolside-v1": GLM,
    "qwen3": HERMES,
    "qwen3-coder": QWEN_CODER,
    "qwen3-thinking": HERMES,
    "qwen3-vl-instruct": HERMES,
    "qwen3-vl-thinking": HERMES,
    "qwen3.5": QWEN_CODER,
}
THINKING_PARSERS = {
    "cogito", "cohere", "deepseek3", "gemma4", "glm-4.7", "harmony", "laguna", "lfm2-thinking",
    "nemotron-3-nano", "nemotron-3.5-nano", "ornith", "poolside-v1", "qwen3-thinking",
    "qwen3-vl-thinking", "qwen3.5",
}  # fmt: skip
"""Names of built-in parsers that read reasoning too."""

_SHOWN: tuple[tuple[tuple[str, ...], Family], ...] = (
    (("]<]minimax[>[",), Family("MiniMax M3", unread=True)),
    (("<|open|>", "<|close|>"), Family("Kimi K3", unread=True)),
    (("<atem:function_calls>",), Family("Glimmer", unread=True)),
    (("<tool_calls{}>",), Family("Hunyuan 3", unread=True)),
    ((">>>all",), Family("Functionary 3.2", unread=True)),
    (("function call", "role_sep", "'function call'"), Family("GigaChat 3", unread=True)),
    (("<|channel|>analysis",), HARMONY),
    (("<|tool_call>call:",), GEMMA4),
    (("<start_function_call>",), FUNCTION_GEMMA),
    (("｜DSML｜",), DEEPSEEK_DSML),
    (("<｜tool▁calls▁begin｜>",), DEEPSEEK),
    (("<｜tool▁call▁begin｜>",), DEEPSEEK),
    (("<|tool_calls_section_begin|>",), KIMI),
    (("<|tool_call:begin|>",), SOLAR),
    (("<|START_ACTION|>",), COMMAND_R7B),
    (("Action:", "```json", "tool_name"), COMMAND_R),
    (("[TOOL_CALLS]",), MISTRAL),
    (("<|tool_call|>",), GRANITE),
    (("<|tool_call_start|>",), LFM2),
    (("<|tool_list_start|>",), LFM2),
    (("List of tools: [",), LFM2),
    (("<function_calls>",), OLMO),
    (("<minimax:tool_call>",), MINIMAX),
    (("<seed:tool_call>",), SEED),
    (("<TOOLCALL>",), NEMOTRON),
    (("<|tools_prefix|>",), APERTUS),
    (("<tool_calls>",), TOOL_CALLS),
    (("functools[",), FIREFUNCTION),
    (("<arg_key>",), GLM),
    (("<tool_call>", "<function="), QWEN_CODER),
    (("<function name=",), MINICPM),
    (("<|function_call|>",), GIGACHAT),
    (("<function=",), FUNCTIONARY),
    (("<tool_call>",), HERMES),
    (("<|python_tag|>",), LLAMA3),
    (("<|start_header_id|>",), LLAMA3),
)
"""Texts that a template holds all of, to the family; the first row that fits counts."""


def family_named(name: str) -> Family | None:
    """The family of a built-in parser, None for an unknown name."""
    return _NAMED.get(name)


@functools.lru_cache(maxsize=64)
def family_of_template(source: str, tag: str = "{") -> Family:
    """The family whose marks a template shows; JSON behind ``tag`` where it shows none."""
    shown = (family for marks, family in _SHOWN if all(mark in source for mark in marks))
    return next(shown, generic(tag))
