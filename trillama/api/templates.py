"""The template that makes a request's prompts: the request's own, or the model's.

Compiling is bounded but may take half a second, so ``prepare`` belongs in a worker thread; after
it, ``chat_template`` finds the compiled form.
"""

from __future__ import annotations

import functools
from typing import TypeAlias, TypeGuard

from ..base.errors import BadRequest, TemplateError, Unsupported
from ..base.turns import ToolMode, TurnRequest
from ..engine.base import Vocabulary
from ..models.installed import InstalledModel
from ..prompts.choice import go_template_of
from ..prompts.gotemplate.chat import GoChatTemplate, go_chat_template
from ..prompts.gotemplate.template import compile_template
from ..prompts.render import ChatTemplate

REQUEST_CAP = 16 << 10
"""Characters of a request's own template: compiled ones are kept, and strangers send them."""

AnyTemplate: TypeAlias = ChatTemplate | GoChatTemplate


@functools.lru_cache(maxsize=32)
def _jinja(source: str, bos: str, eos: str) -> ChatTemplate:
    return ChatTemplate(source, bos, eos)


def go_source(model: InstalledModel, request: TurnRequest) -> str:
    """The Go template that makes the prompts, "" where none does."""
    if request.template:
        return request.template
    return model.template if model.by_go or not model.chat_template else ""


def prepare(model: InstalledModel, request: TurnRequest) -> None:
    """Compile what the request needs; blocks.

    Raises:
        BadRequest: the request's own template is none, or too long.
        Unsupported: the prompts are made by a renderer that is not there.
        TemplateError: the model's template is broken.
    """
    if request.raw or request.raw_tokens:
        go_template_of(go_source(model, request))
        return
    if len(request.template) > REQUEST_CAP:
        raise BadRequest(f"template error: it is longer than {REQUEST_CAP} characters")
    if request.template:
        try:
            template = go_chat_template(request.template)
        except TemplateError as error:
            raise BadRequest(f"template error: {error}") from None
        if request.suffix and not template.inserts:
            raise BadRequest("template error: it has no .Suffix")
    elif model.config.renderer and not model.chat_template:
        raise Unsupported(
            f'not supported by this version of trillama: the renderer "{model.config.renderer}"'
        )
    elif source := go_source(model, request):
        compile_template(source)


def chat_template(
    vocabulary: Vocabulary, model: InstalledModel, request: TurnRequest
) -> AnyTemplate:
    """The template; the plain texts where there is none.

    Raises:
        TemplateError: see ``prepare``.
    """
    bos, eos = (
        vocabulary.text_of(token).decode("utf-8", "replace")
        for token in (vocabulary.bos, vocabulary.eos)
    )
    source = go_source(model, request)
    # A raw prompt needs the template to read the answer, and does without one that is broken.
    needed = not (request.raw or request.raw_tokens)
    if source and (needed or go_template_of(source)):
        return go_chat_template(source, bos)
    offered = request.tools and request.tool_choice.mode is not ToolMode.NONE
    own = model.tool_template if offered else ""
    return _jinja(own or model.chat_template, bos, eos)


def fills_gaps(template: AnyTemplate) -> TypeGuard[GoChatTemplate]:
    """Whether the template has a place for a suffix."""
    return isinstance(template, GoChatTemplate) and template.inserts


def insert(template: GoChatTemplate, request: TurnRequest, think: bool | str | None) -> str:
    """The prompt for what belongs between the last message and the suffix."""
    prompt = request.messages[-1].content if request.messages else ""
    return template.insert(prompt, request.suffix, think)
