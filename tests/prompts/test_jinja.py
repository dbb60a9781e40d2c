"""Chat templates are strangers' programs: they get what transformers offers, and get no further."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from trillama.base.errors import BadRequest, TemplateError, TrillamaError
from trillama.prompts import budget, jinja
from trillama.prompts.jinja import render_template

DIALECT = [
    ("blocks are trimmed", "a\n  {% if true %}\nb\n  {% endif %}\nc", "a\nb\nc"),
    ("break", "{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
     "012"),
    ("continue", "{% for i in range(4) %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}"
     "{% endfor %}", "023"),
    ("generation", "{% generation %}x{{ 1 }}{% endgeneration %}y", "x1y"),
    ("json", "{{ {'b': '<ü&\\'>', 'a': [1.0, none, true]} | tojson }}",
     '{"b": "<ü&\'>", "a": [1.0, null, true]}'),
    ("json options", "{{ {'b': 1, 'a': 'ü'} | tojson(sort_keys=true, ensure_ascii=true, "
     "separators=(',', ':')) }}", '{"a":"\\u00fc","b":1}'),
    ("json indent", "{{ {'a': [1]} | tojson(indent=2) }}", '{\n  "a": [\n    1\n  ]\n}'),
    ("namespace", "{% set ns = namespace(n=0) %}{% for i in range(4) %}"
     "{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "6"),
    ("macro", "{% macro f(a, b='x') %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}{{ f(1, b=2) }}",
     "1x12"),
    ("set block", "{% set x %}a{{ 1 }}{% endset %}{{ x ~ x }}", "a1a1"),
    ("methods", "{{ ' Ab '.strip().lower().split('b') }}", "['a', '']"),
    ("replace", "{{ 'aXbX'.replace('X', '--') }}{{ 'aXbX' | replace('X', '', 1) }}", "a--b--abX"),
    ("joins", "{{ ','.join(['a', 'b']) }}{{ [1, 2] | join('-') }}", "a,b1-2"),
    ("formats", "{{ '%s|%5d' % ('a', 7) }}{{ '{}:{b:>3}'.format(1, b=2) }}", "a|    71:  2"),
    ("indent", "{{ 'a\nb' | indent(2) }}", "a\n  b"),
    ("items", "{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}", "a1"),
    ("slices", "{{ [1, 2, 3][1:] }}{{ 'abc'[::-1] }}", "[2, 3]cba"),
    ("tuples", "{% set a, b = 1, 2 %}{{ (a, b) }}", "(1, 2)"),
    ("filters", "{{ [3, 1] | sort | map('string') | join }}{{ [1, 2] | sum }}"
     "{{ [{'r': 1}] | selectattr('r', 'equalto', 1) | list | length }}", "1331"),
    ("undefined", "{{ nothing }}{{ nothing is defined }}{{ nothing | default('d') }}", "Falsed"),
    ("numbers", "{{ 2 ** 10 }}{{ 7 // 2 }}{{ 7 % 4 }}{{ 1.25 | round(1) }}", "1024331.2"),
    ("recursive", "{% for x in [{'c': [{'c': []}]}] recursive %}<{{ loop(x.c) }}>{% endfor %}",
     "<<>>"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "source", "expected"), DIALECT, ids=[row[0] for row in DIALECT])
def test_the_dialect(name: str, source: str, expected: str) -> None:
    """What transformers' templates may do works, and gives the same text."""
    assert render_template(source, {}) == expected


def test_time_of_day() -> None:
    """Templates may know the date."""
    assert render_template("{{ strftime_now('%Y') }}", {}) == time.strftime("%Y")


GROW = "{% set ns = namespace(x='aaaa', l=[1], d={}, t=(1,)) %}{% for i in range(60) %}"
GROWTHS = {
    "concatenation": "{% set ns.x = ns.x ~ ns.x %}",
    "addition": "{% set ns.x = ns.x + ns.x %}",
    "list addition": "{% set ns.l = ns.l + ns.l %}",
    "multiplication": "{% set ns.x = ns.x * 9 %}",
    "block": "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}",
    "macro": "{% macro f() %}{{ ns.x }}{{ ns.x }}{% endmacro %}{% set ns.x = f() %}",
    "replace": "{% set ns.x = ns.x.replace('a', 'aa') %}",
    "replace filter": "{% set ns.x = ns.x | replace('a', new='aa') %}",
    "join": "{% set ns.x = ns.x.join(['', '', '', '']) %}",
    "join filter": "{% set ns.x = [ns.x, ns.x] | join %}",
    "percent": "{% set ns.x = '%s%s' % (ns.x, ns.x) %}",
    "format": "{% set ns.x = '{0}{0}'.format(ns.x) %}",
    "indent": "{% set ns.x = ('b\n' ~ ns.x) | indent(ns.x) %}",
    "nested lists": "{% set ns.l = [ns.l, ns.l] %}",
    "nested dicts": "{% set ns.d = {'a': ns.d, 'b': ns.d} %}",
    "nested dict calls": "{% set ns.d = dict(a=ns.d, b=ns.d) %}",
    "nested tuples": "{% set ns.t = (ns.t, ns.t) %}",
    "nested views": "{% set ns.d = {'a': ns.d.items(), 'b': ns.d.items()} %}",
    "numbers": "{% set i = i * i %}{% set ns.x = ((i + 9) ** 999) ** 999 %}",
}


@pytest.mark.parametrize("name", GROWTHS)
def test_values_that_double_are_stopped(name: str) -> None:
    """Each way of building a value twice as large each turn ends before it costs anything."""
    start = time.thread_time()
    with pytest.raises(TemplateError):
        render_template(GROW + GROWTHS[name] + "{% endfor %}", {})
    assert time.thread_time() - start < 2


BLOWS = [
    "{{ 'a' * 10 ** 9 }}",
    "{% set n = 10 ** 9 %}{{ n * 'a' }}",
    "{{ ([1] * 10 ** 9) | length }}",
    "{{ 10 ** (10 ** 8) }}",
    "{{ 'a'.center(10 ** 9) }}",
    "{{ 'a'.zfill(10 ** 9) }}",
    "{{ 'a' | center(10 ** 9) }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ '{:{}}'.format(1, 999999999) }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '%*d' % (999999999, 1) }}",
    "{{ '%999999999d' | format(1) }}",
    "{{ ('%9999d' * 9999) % ((1,) * 9999) }}",
    "{{ 'a\nb' | indent(10 ** 9) }}",
    "{{ [[1]] | tojson(indent=10 ** 8) }}",
    "{{ 1.5 | round(10 ** 9, 'floor') }}",
    "{{ [1] | batch(10 ** 9, 'x') | list }}",
    "{{ [1] | slice(10 ** 9) | list }}",
    "{{ [[1]] | sum(start=[]) }}",
    "{{ lipsum(10 ** 6) }}",
    "{{ (5).to_bytes(10 ** 9, 'big') }}",
    "{{ 'a'.translate({97: 'b' * 99}) }}",
    "{{ strftime_now('%1000000000d') }}",
    "{{ range(10 ** 9) | list }}",
    "{{ namespace(a=1) }}",
    "{{ " + "9" * 5000 + " }}",
    "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}",
    "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "{% for a in [1] %}" * 150 + "{% endfor %}" * 150,
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{% block a %}{{ self.a() }}{% endblock %}",
    "x" * (jinja.SOURCE_CAP + 1),
]


@pytest.mark.parametrize("source", BLOWS, ids=lambda source: source[:40])
def test_single_blows_are_stopped(source: str) -> None:
    """One expression cannot ask for more than a prompt may cost, nor nest without end."""
    start = time.thread_time()
    with pytest.raises(TemplateError):
        render_template(source, {})
    assert time.thread_time() - start < 2


def test_namespaces_in_namespaces_print_shortly() -> None:
    """Namespaces that hold each other twice print one word, not two to the sixtieth."""
    source = (
        "{% set ns = namespace(x=1) %}{% for i in range(60) %}"
        "{% set ns.x = namespace(a=ns.x, b=ns.x) %}{% endfor %}{{ [ns.x] }}{{ ns.x | string }}"
    )
    assert render_template(source, {}) == "[<namespace>]<namespace>"


ENDLESS = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) if j < 0 %}{% endfor %}{% endfor %}",
    "{% macro f(n) %}{% if n %}{% set a = f(n - 1) %}{% set b = f(n - 1) %}{% endif %}"
    "{% endmacro %}{{ f(60) }}",
    "{% set a = 'a' * 999999 %}{% for i in range(99999) %}{{ a.count('ab') }}{% endfor %}",
    "{% for i in range(9999) %}{% set x = range(99999) | sort(reverse=true) %}{% endfor %}",
]


@pytest.mark.parametrize("source", ENDLESS, ids=lambda source: source[:40])
def test_endless_templates_are_stopped(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would run for hours ends soon after its processor time is spent."""
    monkeypatch.setattr(budget, "SECONDS", 0.05)
    start = time.thread_time()
    with pytest.raises(TemplateError, match=r"too long|too much work"):
        render_template(source, {})
    assert time.thread_time() - start < 1


FORBIDDEN = [
    "{{ ''.__class__.__mro__ }}",
    "{{ ''['__class__'] }}",
    "{{ '' | attr('__class__') }}",
    "{{ raise_exception.__globals__ }}",
    "{{ range.__self__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ '%(a)s' | format(a=''.__class__) }}",
    "{{ ([1] | map('string')).gi_frame }}",
    "{{ [1] | map(attribute='__class__') | list | first }}",
    "{{ environment }}",
    "{% macro a() %}{% endmacro %}{{ a._environment }}{{ a._func }}",
    "{% set x = [] %}{% set y = x.extend([1]) %}{{ x | join }}",
    "{% set x = messages.append(1) %}{% set y = messages[0]['role'] %}",
    "{{ messages[0].update({'a': 1}) }}",
    "{{ messages.pop() }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends '/etc/passwd' %}",
]


@pytest.mark.parametrize("source", FORBIDDEN)
def test_nothing_leads_out_of_the_sandbox(source: str) -> None:
    """Attributes that lead to Python are undefined or refused, and inputs are never changed."""
    messages = [{"role": "user"}]
    try:
        shown = render_template(source, {"messages": messages})
    except TemplateError:
        shown = ""
    assert shown == ""
    assert messages == [{"role": "user"}]


def test_lists_may_be_appended_to() -> None:
    """As templates of Kimi do; only what the rendering holds is changed."""
    messages = [{"role": "user", "more": [1]}]
    source = "{% set x = messages[0].more %}{% set y = x.append(2) %}{{ x | join(',') }}"
    assert render_template(source, {"messages": messages}) == "1,2"
    assert messages == [{"role": "user", "more": [1]}]


GROWING = [
    "{% set x = [] %}{% for i in range(99999) %}{% set y = x.append('a' * 9999 ~ i) %}{% endfor %}",
    "{% set x = [] %}{% set y = x.append(x) %}{{ x }}",
    "{% set x = [1] %}{% set n = namespace(a=x) %}{% for i in range(40) %}"
    "{% set n.a = [n.a, n.a] %}{% endfor %}",
    "{% set x = [] %}{% set n = namespace(a=x) %}{% for i in range(19) %}{% set n.a = [n.a, n.a] %}"
    "{% endfor %}{% set y = x.append('a' * 999999) %}{{ n.a }}",
]


@pytest.mark.parametrize("source", GROWING, ids=lambda source: source[:50])
def test_lists_cannot_grow_without_end(source: str) -> None:
    """Neither by much, nor around a circle, nor behind the back of what holds them."""
    start = time.thread_time()
    with pytest.raises(TemplateError):
        render_template(source, {})
    assert time.thread_time() - start < 2


def test_refusals_and_failures_differ() -> None:
    """raise_exception is the caller's trouble, everything else the template's."""
    with pytest.raises(BadRequest, match="no tools"):
        render_template("{{ raise_exception('no tools') }}", {})
    with pytest.raises(TemplateError, match="divi"):
        render_template("{{ 1 // 0 }}", {})


def test_large_conversations_are_no_attack() -> None:
    """A megabyte of messages renders, however often a template copies it."""
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "word " * 200} for _ in range(1000)
    ]
    source = (
        "{% macro show(m) %}{{ m.role ~ ': ' ~ m.content }}{% endmacro %}"
        "{% for m in messages %}{% set c = m.content | trim %}{{ show(m) + '\n' }}{% endfor %}"
        "{{ (messages[1:] + [{'role': 'x'}]) | tojson }}"
    )
    assert len(render_template(source, {"messages": messages})) > 2_000_000


def test_threads_do_not_share_a_budget() -> None:
    """Renderings in several threads at once each have their own limits."""
    source = "{% for i in range(20000) %}{{ i }}{% endfor %}"
    expected = "".join(map(str, range(20000)))
    results: list[object] = []

    def work() -> None:
        try:
            results.append(render_template(source, {}) == expected)
        except TrillamaError as error:
            results.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4


def test_compiled_templates_are_kept() -> None:
    """The same source is compiled once; the number kept is bounded."""
    assert jinja.compile_template("{{ 1 }}") is jinja.compile_template("{{ 1 }}")
    assert jinja.compile_template.cache_info().maxsize == 64
