"""The small layers of a model as blobs: texts, parameters, messages, in Go's bytes."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from trillama.base.errors import BadRequest, TemplateError
from trillama.base.messages import Message, ToolCall
from trillama.base.options import Options, merge_options
from trillama.prompts.gotemplate.template import compile_template
from trillama.wire import gojson

from ..manifest import go_value


def check_template(source: str) -> None:
    """See that a Go template can be parsed.

    Raises:
        BadRequest: it cannot.
    """
    try:
        compile_template(source)
    except TemplateError as error:
        raise BadRequest(f"template error: {error.message}") from None


def check_parameters(parameters: dict[str, Any]) -> None:
    """See that parameters have a meaning; unknown ones are kept for whoever knows them.

    Raises:
        BadRequest: one has the wrong type, or is out of its range.
    """
    merge_options(Options(), parameters)


def _call(call: ToolCall) -> dict[str, Any]:
    function = call.function
    said = {
        "index": function.index,
        "name": function.name,
        "arguments": go_value(function.arguments, sort=False),
    }
    return {**({"id": call.id} if call.id else {}), "function": said}


def message_fields(message: Message) -> dict[str, Any]:
    """A message as JSON has it, its optional members only where they are set."""
    optional = {
        "thinking": message.thinking,
        "images": [base64.b64encode(image).decode() for image in message.images],
        "tool_calls": [_call(call) for call in message.tool_calls],
        "tool_name": message.tool_name,
        "tool_call_id": message.tool_call_id,
    }
    kept = {name: value for name, value in optional.items() if value}
    return {"role": message.role, "content": message.content, **kept}


def messages_document(messages: Iterable[Message]) -> bytes:
    """The messages layer: an array, its members in Ollama's order."""
    return gojson.encode([message_fields(one) for one in messages]) + b"\n"
