"""Which of two templates makes the prompts follows Ollama's order."""

from __future__ import annotations

import pytest

from trillama.prompts.choice import Templates, uses_go
from trillama.prompts.known import known_templates

GO = "{{ range .Messages }}{{ .Content }}{{ end }}"
GO_TOOLS = GO + "{{ .Tools }}"
GO_ROUND = (
    GO_TOOLS + '{{ range .Messages }}{{ .ToolCalls }}{{ if eq .Role "tool" }}{{ end }}{{ end }}'
)
GO_FIM = GO + "{{ .Suffix }}"
JINJA = "{{ messages }}"
JINJA_TOOLS = "{{ tools }}"
JINJA_ROUND = "{{ tools }}{{ m.tool_calls }}{% if m['role'] == 'tool' %}"
JINJA_THINKS = "{{ tools }}<think></think>"
KNOWN = known_templates()["chatml"].source
HARMONY = "<|start|>{{ .Prompt }}<|end|>"


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ({}, None, False),
        ({"go": GO}, None, True),
        ({"go": "{{"}, None, True),
        ({"jinja": JINJA}, None, False),
        ({"go": GO, "jinja": JINJA}, None, True),
        ({"go": GO, "jinja": JINJA}, False, False),
        ({"go": GO, "jinja": JINJA_TOOLS}, True, True),
        ({"go": "{{", "jinja": JINJA}, True, False),
        ({"go": GO, "jinja": JINJA, "renderer": "r"}, True, False),
        ({"go": GO, "jinja": JINJA_THINKS, "parser": "p"}, False, True),
        ({"go": HARMONY, "jinja": JINJA_THINKS, "family": "gptoss"}, False, True),
        ({"go": HARMONY, "jinja": JINJA_THINKS, "family": "llama"}, None, False),
        ({"go": GO, "jinja": JINJA_TOOLS}, None, False),
        ({"go": GO_TOOLS, "jinja": JINJA_TOOLS}, None, True),
        ({"go": GO_TOOLS, "jinja": JINJA_ROUND}, None, False),
        ({"go": GO_ROUND, "jinja": JINJA_ROUND}, None, True),
        ({"go": GO_TOOLS, "jinja": JINJA_THINKS}, None, False),
        ({"go": GO_ROUND, "jinja": JINJA_THINKS}, None, True),
        ({"go": GO_FIM, "jinja": JINJA_TOOLS}, None, True),
        ({"go": KNOWN, "jinja": JINJA}, None, False),
        ({"go": KNOWN, "jinja": JINJA}, True, True),
        ({"go": KNOWN}, None, True),
        ({"go": GO_FIM, "jinja": JINJA_THINKS}, None, False),
    ],
)
def test_which_template_wins(found: dict[str, str], wanted: bool | None, expected: bool) -> None:
    """The Go template, unless the Jinja one can do more or somebody said otherwise."""
    assert uses_go(Templates(**found), wanted) is expected
