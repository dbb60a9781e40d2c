"""A template is a stranger's program: it may fail, but never by surprise, for long or at large."""

from __future__ import annotations

import contextlib
import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.prompts.gotemplate.test_conformance import CASES, DATA
from trillama.base.errors import TemplateError
from trillama.prompts import budget
from trillama.prompts.gotemplate.template import SOURCE_CAP, compile_template

SECOND = 1.0
MEMORY = 100 << 20

BOMBS = {
    "doubling": "{{ $x := `ab` }}{{ range 99 }}{{ $x = printf `%s%s` $x $x }}{{ end }}",
    "doubling wide": "{{ $x := `é😀` }}{{ range 99 }}{{ $x = print $x $x }}{{ end }}",
    "many wide values": "".join(f"{{{{ $v{n} := printf `%900000s` `😀` }}}}" for n in range(999)),
    "width": '{{ printf "%999999d%999999d%999999d%999999d%999999d" 1 2 3 4 5 }}',
    "width of each item": '{{ printf "%99999v" .many }}',
    "precision": '{{ printf "%.999999f%.999999f%.999999f%.999999f%.999999f" 1.0 1.0 1.0 1.0 1.0 }}',
    "huge width": '{{ printf "%99999999999999999999d" 1 }}',
    "loops": "{{ range 99999 }}{{ range 99999 }}{{ end }}{{ end }}",
    "loop of text": "{{ range 999999999 }}some text{{ end }}",
    "huge loop": "{{ range 9223372036854775807 }}{{ end }}",
    "recursion": '{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}',
    "wide recursion": '{{ define "a" }}{{ template "a" . }}{{ template "a" . }}{{ end }}'
    '{{ define "b" }}{{ range $.l }}{{ template "b" $ }}{{ end }}{{ end }}{{ template "b" . }}',
    "main calls itself": '{{ template "" . }}',
    "print of print": "{{ range .many }}{{ print $ }}{{ end }}",
    "json of all": "{{ range .many }}{{ json $ }}{{ end }}",
    "escapes": "{{ $x := printf `%900000s` `<` }}{{ html (js (urlquery $x $x $x $x)) }}",
    "slices": "{{ range .many }}{{ $x := slice $.many 1 }}{{ end }}",
    "parentheses": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "blocks": "{{ if 1 }}" * 3000 + "{{ end }}" * 3000,
    "else if": "{{ if 0 }}" + "{{ else if 0 }}" * 4000 + "{{ end }}",
    "definitions": '{{ define "a" }}' * 4000,
    "long source": "x" * (SOURCE_CAP + 1),
    "number": "{{ " + "9" * 50_000 + " }}",
    "hex number": "{{ 0x" + "f" * 50_000 + " }}",
    "float": "{{ 1." + "9" * 50_000 + "e-9 }}",
    "power": "{{ 1e" + "9" * 50_000 + " }}",
    "underscores": "{{ " + "1_" * 30_000 + "1 }}",
    "spaces": "{{ .s" + " " * 60_000 + "- }}",
    "spaces and dashes": "{{ .s" + " -" * 30_000 + " }}",
    "signs": "{{ " + "+-" * 30_000 + " }}",
    "quotes": '{{ "' + "\\" * 60_001 + " }}",
    "string of escapes": '{{ "' + "\\x41" * 16_000 + '" }}',
    "many actions": "{{ .s }}" * 8_000,
    "many arguments": "{{ print" + " .s" * 20_000 + " }}",
    "many variables": "".join(f"{{{{ $v{n} := 1 }}}}{{{{ $v0 }}}}" for n in range(2000)),
    "many commands": "{{ .s" + " | print" * 8_000 + " }}",
    "long chain": "{{ .nil" + ".x" * 30_000 + " }}",
    "comments": "{{/**/}}" * 8_000,
}
assert {name for name, source in BOMBS.items() if len(source) > SOURCE_CAP} == {"long source"}
GIVEN = DATA | {"many": [str(number) for number in range(5000)]}


LARGE = [
    *("doubling", "doubling wide", "many wide values", "width", "width of each item", "precision"),
    *("loop of text", "wide recursion", "print of print", "json of all", "escapes", "slices"),
]


def run(source: str) -> None:
    """Compile and execute, whatever comes of it."""
    compile_template.cache_clear()
    with contextlib.suppress(TemplateError):
        compile_template(source).execute(GIVEN)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would take too long ends with a TemplateError, or is done within its time."""
    monkeypatch.setattr(budget, "SECONDS", SECOND / 4)
    began = time.thread_time()
    run(BOMBS[name])
    assert time.thread_time() - began < 2 * SECOND


@pytest.mark.parametrize("name", LARGE)
def test_a_bomb_stays_small(name: str) -> None:
    """What would build too much ends with a TemplateError before it has."""
    tracemalloc.start()
    try:
        run(BOMBS[name])
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("depth", [10, 100, 900, 5000])
def test_deep_data_is_no_surprise(depth: int) -> None:
    """Values nested however deep print, or are refused."""
    value: object = "x"
    for _ in range(depth):
        value = [value]
    for source in ("{{ .v }}", "{{ json .v }}", '{{ printf "%#v" .v }}', "{{ eq .v .v }}"):
        with contextlib.suppress(TemplateError):
            compile_template(source).execute({"v": value})


FRAGMENTS = sorted(
    {"{{", "}}", "{{-", "-}}", " ", "|", "(", ")", ":=", "=", ",", "$x", "$", ".", ".s", ".l", ".m"}
    | {"if", "else", "end", "range", "with", "define", "template", "block", "break", "continue"}
    | {"nil", "true", '"x"', "`y`", "'z'", "1", "-2", "2.5", "3i", "0x", "1e9", "\n", "é", "\ud800"}
    | {"printf", '"%v %[2]*.[1]*f"', '"%999999s"', "index", "slice", "len", "eq", "lt", "json"}
    | {"text", "{", "}", "/*", "*/", "\x00", "\\", '"', "`", ".Get", "call", "html", "js", "not"}
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40), st.data())
def test_no_source_surprises(pieces: list[str], data: st.DataObject) -> None:
    """Any soup of fragments, and any mutation of a good template, renders or is a TemplateError."""
    if data.draw(st.booleans()):
        good = data.draw(st.sampled_from(CASES))["source"]
        at = data.draw(st.integers(0, len(good)))
        pieces = [good[:at], *pieces[:3], good[at + 1 :]]
    began = time.thread_time()
    try:
        text = compile_template("".join(pieces)).execute(DATA)
    except TemplateError:
        pass
    else:
        text.encode()  # always whole characters
    assert time.thread_time() - began < 2 * SECOND


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=9,
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(CASES), st.dictionaries(st.sampled_from(sorted(DATA)), JSON))
def test_no_data_surprises(case: dict[str, str], data: dict[str, object]) -> None:
    """Any data under any good template renders or is a TemplateError."""
    with contextlib.suppress(TemplateError):
        compile_template(case["source"]).execute(data).encode()
