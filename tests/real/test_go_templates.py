"""The bundled model under a Go template of its own format: prompts, reasoning, tools, gaps."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.served import Process, said

GO = """{{- if or .System .Tools }}<|im_start|>system
{{ .System }}
{{- if .Tools }}{{ if .System }}

{{ end }}# Tools

You can call these functions:
<tools>
{{- range .Tools }}
{{ . }}
{{- end }}
</tools>

To call a function, answer with its name and arguments as JSON:
<tool_call>
{"name": <name>, "arguments": <arguments>}
</tool_call>
{{- end }}<|im_end|>
{{ end }}
{{- $before := "" }}
{{- range .Messages }}
{{- if and (eq $before "tool") (ne .Role "tool") }}<|im_end|>
{{ end }}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if and .Thinking false }}<think>
{{ .Thinking }}
</think>
{{ end }}{{ .Content }}
{{- if .ToolCalls }}
{{- range $at, $call := .ToolCalls }}{{ if $at }}
{{ end }}<tool_call>
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
</tool_call>
{{- end }}
{{- end }}<|im_end|>
{{ else if eq .Role "tool" }}{{ if ne $before "tool" }}<|im_start|>user{{ end }}
<tool_response>
{{ .Content }}
</tool_response>
{{- end }}
{{- $before = .Role }}
{{- end }}
{{- if eq $before "tool" }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ if and .IsThinkSet (not .Think) }}<think>

</think>

{{ end }}"""
FIM = (
    "{{ if .Suffix }}<|fim_prefix|>{{ .Prompt }}<|fim_suffix|>{{ .Suffix }}<|fim_middle|>"
    "{{ else }}{{ .Prompt }}{{ end }}"
)
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Name of the city"}},
            "required": ["city"],
        },
    },
}
HISTORY = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the weather in Bern?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Bern"}}}],
    },
    {"role": "tool", "content": "sunny, 21 degrees", "tool_name": "get_weather"},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model_path: Path) -> Iterator[Process]:
    """A server with the bundled model under three names."""
    running = Process(tmp_path_factory.mktemp("go") / "models", TRILLAMA_GO_TEMPLATE="true")
    running.ask("POST", "/api/create", model="go", **{"from": "tiny"}, template=GO)
    running.ask("POST", "/api/create", model="fim", **{"from": "tiny"}, template=FIM)
    yield running
    running.close()


def test_weights_without_jinja_answer_by_their_go_template(
    server: Process, tiny_model_path: Path
) -> None:
    """A file of old, created with a template, chats and calls as the bundled model does."""
    data = tiny_model_path.read_bytes().replace(
        b"tokenizer.chat_template", b"tokenizer.chat_nothing_"
    )
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", f"/api/blobs/{digest}", data)
    assert connection.getresponse().status == 201
    connection.close()
    server.ask("POST", "/api/create", model="old", files={"w.gguf": digest}, template=GO)
    (shown,) = server.ask("POST", "/api/show", model="old")
    assert shown["template"] == GO
    assert {"completion", "tools"} <= set(shown["capabilities"])
    fields: dict[str, Any] = {"messages": HISTORY[1:2], "tools": [TOOL], "stream": False}
    (reply,) = server.ask("POST", "/api/chat", model="old", **fields, options={"temperature": 0})
    (call,) = reply["message"]["tool_calls"]
    assert call["function"]["arguments"] == {"city": "Bern"}


def rendered(server: Process, path: str, **fields: Any) -> str:
    """The prompt, and nothing of an answer."""
    (reply,) = server.ask("POST", path, **fields, _debug_render_only=True)
    return str(reply["_debug_info"]["rendered_template"])


@pytest.mark.parametrize("think", [None, True, False])
@pytest.mark.parametrize("length", [1, 2, 4])
def test_both_templates_make_one_prompt(server: Process, length: int, think: bool | None) -> None:
    """The Go template prints what the weights' Jinja template prints, blanks in JSON apart."""
    fields = {"messages": HISTORY[:length], "tools": [TOOL], "think": think}
    go, jinja = (rendered(server, "/api/chat", model=name, **fields) for name in ("go", "tiny"))
    assert "Bern" in go or length == 1
    assert sorted(go.replace(" ", "")) == sorted(jinja.replace(" ", ""))
    plain = {"messages": [HISTORY[0], HISTORY[1]], "think": think}
    go, jinja = (rendered(server, "/api/chat", model=name, **plain) for name in ("go", "tiny"))
    assert go == jinja


def test_both_templates_get_one_answer(server: Process) -> None:
    """Greedy answers are equal, reasoning apart from content in both."""

    def answer(name: str, think: bool) -> tuple[str, str]:
        messages = [{"role": "user", "content": "What is the capital of France?"}]
        fields = {"messages": messages, "think": think, "options": {"temperature": 0}}
        return said(server.ask("POST", "/api/chat", model=name, **fields))

    for think in (True, False):
        assert answer("go", think) == answer("tiny", think)
    assert answer("go", True)[0]


def test_a_tool_is_called_through_a_go_template(server: Process) -> None:
    """The call is read from the stream, and its result answered."""
    fields: dict[str, Any] = {"tools": [TOOL], "think": False, "options": {"temperature": 0}}
    lines = server.ask("POST", "/api/chat", model="go", messages=HISTORY[1:2], **fields)
    calls = [call for line in lines for call in line["message"].get("tool_calls", ())]
    assert [call["function"]["name"] for call in calls] == ["get_weather"]
    assert calls[0]["function"]["arguments"] == {"city": "Bern"}
    content = said(server.ask("POST", "/api/chat", model="go", messages=HISTORY, **fields))[1]
    assert "21" in content


def test_a_gap_is_filled_through_a_go_template(server: Process) -> None:
    """The prompt holds both sides; without a suffix the same template is a plain one."""
    sides = {"prompt": "def add(a, b):\n", "suffix": "\nprint(add(1, 2))"}
    text = rendered(server, "/api/generate", model="fim", **sides)
    assert text == ("<|fim_prefix|>def add(a, b):\n<|fim_suffix|>\nprint(add(1, 2))<|fim_middle|>")
    assert rendered(server, "/api/generate", model="fim", prompt="x") == "x"
    (reply,) = server.ask("POST", "/api/generate", model="fim", stream=False, **sides)
    assert reply["done_reason"] in ("stop", "length")
