"""Which of a model's templates makes its prompts: the Go template of its layers, or the Jinja
template in its weights.

The order is Ollama's, with two differences. Its built-in renderers are named after the families
whose own Jinja template they imitate, so where one is named, that Jinja template is used. And a Go
template out of the table of known ones says the same as the Jinja template it was found by, which
is the text the model was trained with.
"""

from __future__ import annotations

import re

import msgspec

from trillama.base.errors import TemplateError

from .detect import jinja_thinks, jinja_uses_tools
from .gotemplate.chat import GoChatTemplate, go_chat_template
from .known import is_known

_HARMONY_FAMILIES = ("gptoss", "gpt-oss")
_GO_RESULTS = ('eq .Role "tool"', "tool_response", "TOOL_RESULTS")
_JINJA_CALLS = ("tool_calls", "assistant_tool_call")
_JINJA_RESULTS = re.compile(
    r"tool_response|tool_results|ipython"
    r"|(?:role|\[['\"]role['\"]\]|\.get\(['\"]role['\"]\))\s*==\s*['\"]tool['\"]"
)


class Templates(msgspec.Struct, frozen=True, kw_only=True):
    """What a model brings; "" for what it lacks.

    Attributes:
        go: the template layer.
        jinja: the text in the weights.
        renderer, parser: names of built-in ones, from the config.
        family: the model's.
    """

    go: str = ""
    jinja: str = ""
    renderer: str = ""
    parser: str = ""
    family: str = ""


def go_template_of(source: str) -> GoChatTemplate | None:
    """The Go template of ``source``; None where there is none or it is broken."""
    try:
        return go_chat_template(source) if source else None
    except TemplateError:
        return None


def uses_go(templates: Templates, wanted: bool | None = None) -> bool:
    """True where the Go template makes the prompts.

    Args:
        wanted: the setting; None leaves it to what the templates can do.
    """
    if not templates.go or not templates.jinja:
        return bool(templates.go)
    go = go_template_of(templates.go)
    if templates.renderer or go is None:
        return False
    if templates.parser or is_harmony(templates):
        return True
    if wanted is not None:
        return wanted
    return not is_known(templates.go) and not _prefers_jinja(go, templates.jinja)


def is_harmony(templates: Templates) -> bool:
    """True for gpt-oss with a Go template in its own format."""
    marked = "<|start|>" in templates.go and "<|end|>" in templates.go
    return templates.family in _HARMONY_FAMILIES and marked


def _prefers_jinja(go: GoChatTemplate, jinja: str) -> bool:
    """True where the Jinja template can do more."""
    tools, thinks = jinja_uses_tools(jinja), jinja_thinks(jinja)
    whole_go = _shows_results_go(go)
    whole_jinja = tools and _shows_results_jinja(jinja)
    if tools + thinks > go.uses_tools + go.thinks + go.inserts:
        return whole_jinja or not whole_go
    same = (tools, thinks, False) == (go.uses_tools, go.thinks, go.inserts)
    return same and tools and whole_jinja and not whole_go


def _shows_results_go(go: GoChatTemplate) -> bool:
    """True where calls and results of tools go back into the prompt."""
    named = {"tools", "toolcalls"} <= go.variables
    return named and any(mark in go.source for mark in _GO_RESULTS)


def _shows_results_jinja(jinja: str) -> bool:
    called = any(mark in jinja for mark in _JINJA_CALLS)
    return called and _JINJA_RESULTS.search(jinja) is not None
