"""A grammar lets through exactly what it describes, from the byte where the reasoning ends."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import Any

import numpy as np
import pytest

from trillama.base.constraints import Constraint, ConstraintKind
from trillama.base.errors import BadRequest
from trillama.engine.fake import FakeVocabulary
from trillama.engine.grammar import GrammarCompiler, Matcher, Reasoning
from trillama.engine.grammar.resample import allowed
from trillama.engine.grammar.sources import nesting

VOCABULARY = FakeVocabulary()
EOS, IM_START = 257, 258
COMPILER = GrammarCompiler(VOCABULARY)
NAME = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
THINK = Reasoning("<think>", "</think>")
INSIDE = Reasoning("<think>", "</think>", inside=True)


def schema(found: Any) -> Constraint:
    return Constraint(ConstraintKind.SCHEMA, json.dumps(found))


def regex(source: str) -> Constraint:
    return Constraint(ConstraintKind.REGEX, source)


def gbnf(source: str) -> Constraint:
    return Constraint(ConstraintKind.GBNF, source)


def matcher(constraint: Constraint, reasoning: Reasoning | None = None, **more: bool) -> Matcher:
    return COMPILER.matcher(constraint, reasoning, **more)


def taken(found: Matcher, text: bytes) -> int:
    """How many bytes are taken."""
    for at, byte in enumerate(text):
        if found.take(byte) != byte:
            return at
    return len(text)


def refusal(constraint: Constraint) -> str:
    with pytest.raises(BadRequest) as caught:
        matcher(constraint)
    return str(caught.value)


# -- what may come ---------------------------------------------------------------------------------


def test_only_what_fits_is_taken() -> None:
    """A refusal changes nothing: the right token can still come."""
    found = matcher(schema(NAME))

    assert found.take(ord("x")) == -1
    assert found.take(EOS) == -1
    assert taken(found, b'{"name":"a') == 10
    assert found.take(EOS) == -1
    assert taken(found, b'"}') == 2
    assert found.done


def test_the_mask_is_what_would_be_taken() -> None:
    """Bit for bit, and it follows each token."""
    found = matcher(schema(NAME))
    for byte in b'{ "name": "':
        ids = allowed(found.mask(), VOCABULARY.size).tolist()
        assert byte in ids
        refused = [token for token in range(VOCABULARY.size) if token not in ids]
        assert all(found.take(token) == -1 for token in refused)
        assert found.take(byte) == byte


def test_any_end_token_ends_a_complete_answer() -> None:
    """Where the answer could still go on; where it cannot, it is done without one."""
    for end in (EOS, 259):
        found = matcher(regex("a+"))
        assert taken(found, b"aa") == 2
        assert not found.done
        assert found.take(end) == end
    done = matcher(regex("ab"))
    assert taken(done, b"ab") == 2
    assert done.done


def test_json_is_an_object() -> None:
    """``json`` without a schema means what it means to Ollama."""
    assert taken(matcher(Constraint(ConstraintKind.JSON)), b"[") == 0
    assert taken(matcher(Constraint(ConstraintKind.JSON)), b'{"a": [1, {"b": null}]}') == 23


def test_blanks_cannot_go_on_for_ever() -> None:
    """A model that would pad its JSON has to say something in the end."""
    assert taken(matcher(schema(NAME)), b"{" + b" " * 9) == 2
    assert taken(matcher(schema(NAME)), b"{\n" + b" " * 99) == 66


def test_a_grammar_of_llama_cpp_is_followed() -> None:
    """GBNF: rules, alternatives, classes, repetition."""
    source = 'root ::= item (", " item)*\nitem ::= [a-z]{2,3} | "\\"q\\""'
    assert taken(matcher(gbnf(source)), b'ab, "q", xyz') == 12
    assert taken(matcher(gbnf(source)), b"abcd") == 3


def test_control_tokens_never_fit() -> None:
    """A string of any text is no place for the marks of a conversation."""
    found = matcher(regex("(?s:.*)"))
    assert found.take(IM_START) == -1
    assert IM_START not in allowed(found.mask(), VOCABULARY.size)


# -- reasoning -------------------------------------------------------------------------------------


def test_the_rule_begins_where_the_reasoning_ends() -> None:
    """Anything goes before, blanks may stand between, and then every byte counts."""
    found = matcher(schema(NAME), INSIDE)
    assert taken(found, b'so {"name": </think) hm</think>\n\n{"name":"x"}') == 45
    assert found.done
    assert taken(matcher(schema(NAME), INSIDE), b"a</think>b") == 9


def test_reasoning_is_the_models_choice_unless_the_prompt_began_it() -> None:
    """It may open it, or answer at once; nothing else."""
    assert taken(matcher(schema(NAME), THINK), b'\n<think>x</think>{"name":"x"}') == 29
    assert taken(matcher(schema(NAME), THINK), b'{"name":"x"}') == 12
    assert taken(matcher(schema(NAME), THINK), b"hello") == 0


@pytest.mark.parametrize("reasoning", [THINK, INSIDE])
def test_a_model_that_would_end_in_its_reasoning_answers_instead(reasoning: Reasoning) -> None:
    """The end is exchanged for the closing tag, the rest of which is forced."""
    found = matcher(schema(NAME), reasoning)
    assert taken(found, b"<think>hm") == 9
    first = found.take(EOS)
    rest = found.forced(99)

    assert bytes([first, *rest]) == b"</think>"
    assert taken(found, b'{"name":"x"}') == 12
    assert found.take(EOS) == -1


def test_a_tag_that_is_forced_opens_the_reasoning_too() -> None:
    """Where its first letter leaves no choice."""
    found = matcher(schema(NAME), THINK)
    assert found.take(ord("<")) == ord("<")
    assert bytes(found.forced(99)) == b"think>"
    assert found.take(EOS) == ord("<")
    assert bytes(found.forced(99)) == b"/think>"


def test_forced_tokens_come_in_parts_where_asked() -> None:
    """Nothing is lost at the limit of a step."""
    found = matcher(schema(NAME), INSIDE)
    assert found.take(EOS) == ord("<")
    parts = [found.forced(3), [found.take(ord("x"))], found.forced(3)]

    assert bytes(token for part in parts for token in part) == b"/think>"
    assert taken(found, b'{"name":"x"}') == 12


def test_tags_may_be_control_tokens() -> None:
    """Then the token counts, not its spelling."""
    found = matcher(schema(NAME), Reasoning("<|im_start|>", "<s>"))
    assert found.take(IM_START) == IM_START
    assert taken(found, b"hm <s>") == 6
    assert found.take(256) == 256
    assert taken(found, b'{"name":"x"}') == 12


CHANNELS = Reasoning("<s>thought<s>", "<|im_start|>you<s>say<s>", lead="<s>say<s>")


def spelled(text: str) -> list[int]:
    return VOCABULARY.tokenize(text).tolist()


@pytest.mark.parametrize(
    "answer",
    ['<s>thought<s>so <im> it is<|im_start|>you<s>say<s>{"name":"x"}', '<s>say<s>{"name":"x"}'],
)
def test_reasoning_may_be_a_channel(answer: str) -> None:
    """Marks of control tokens and words: one of two frames is a must."""
    found = matcher(schema(NAME), CHANNELS)
    assert [found.take(token) for token in spelled(answer)] == spelled(answer)
    assert found.done
    assert taken(matcher(schema(NAME), CHANNELS), b"{") == 0


def test_a_channel_is_left_where_the_model_would_end() -> None:
    """By the whole frame of the answer."""
    found = matcher(schema(NAME), CHANNELS)
    for token in spelled("<s>thought<s>hm"):
        assert found.take(token) == token
    assert [found.take(EOS), *found.forced(99)] == spelled(CHANNELS.close)
    assert taken(found, b'{"name":"x"}') == 12


def test_without_reasoning_the_frame_of_the_answer_remains() -> None:
    """Where thinking was declined."""
    plain = Reasoning("", CHANNELS.close, lead=CHANNELS.lead)
    found = matcher(schema(NAME), plain)
    assert found.take(256) == 256
    assert bytes(token for token in found.forced(99) if token < 256) == b"say"
    assert taken(found, b'{"name":"x"}') == 12


# -- forced tokens ---------------------------------------------------------------------------------


def test_what_must_come_is_known_at_once() -> None:
    """And counts as taken."""
    found = matcher(schema(NAME))
    assert taken(found, b'{"') == 2
    assert bytes(found.forced(99)) == b'name"'
    assert taken(found, b':"') == 2


def test_the_patient_are_forced_to_nothing() -> None:
    """Who wants to see the probabilities of each token has each sampled."""
    found = matcher(schema(NAME), patient=True)
    assert taken(found, b'{"') == 2
    assert found.forced(99) == []
    assert taken(found, b'name"') == 5


def test_a_constant_is_one_run() -> None:
    """However long; the step loop says how much it takes at once."""
    found = matcher(regex("x" * 600))
    assert len(found.forced(400)) == 400
    assert len(found.forced(400)) == 200
    assert found.done


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "keyword"),
    [
        ({"not": {"type": "string"}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "array", "contains": {"type": "string"}}, "contains"),
        ({"if": {"type": "string"}, "then": {"minLength": 2}}, "if"),
        ({"type": "object", "propertyNames": {"pattern": "a"}}, "propertyNames"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"type": "object", "unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"type": "object", "properties": {"a": {"dependentSchemas": {}}}}, "dependentSchemas"),
        ({"$recursiveRef": "#"}, "$recursiveRef"),
        ({"type": "string", "format": "nonsense"}, "format"),
        ({"type": "whatever"}, "type"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "minLength"),
        ({"type": "object", "properties": 5}, "properties"),
        ({"type": "integer", "multipleOf": 999_983}, "multipleOf"),
    ],
)
def test_a_schema_that_cannot_be_kept_is_refused_by_its_keyword(
    found: dict[str, Any], keyword: str
) -> None:
    """Never ignored: what is accepted is enforced."""
    message = refusal(schema(found))
    assert message.startswith("format: ")
    assert keyword in message


def test_a_schema_cannot_switch_its_enforcement_off() -> None:
    """llguidance's own switches are ours."""
    assert "not" in refusal(schema({"not": {}, "x-guidance": {"lenient": True}}))


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        (regex("(?=a)b"), "regex: "),
        (regex("["), "regex: "),
        (regex("("*500 + "a" + ")"*500), "regex: "),
        (regex("a" * 20_000), "regex: the expression has more than"),
        (gbnf('root ::= "a'), "grammar: "),
        (gbnf("root ::= missing"), "grammar: Rule 'missing' not found"),
        (gbnf('other ::= "a"'), "grammar: No 'root' rule found"),
        (gbnf("root ::= " + "(" * 200 + '"a"' + ")" * 200), "grammar: the grammar nests more"),
        (gbnf("x" * 40_000), "grammar: the grammar has more than"),
        (Constraint(ConstraintKind.SCHEMA, "[1"), "format: "),
        (Constraint(ConstraintKind.SCHEMA, "[" * 5000 + "]" * 5000), "format: "),
    ],
)  # fmt: skip
def test_a_source_that_is_none_is_refused(constraint: Constraint, words: str) -> None:
    """With the name of the option, in one line."""
    message = refusal(constraint)
    assert message.startswith(words)
    assert "\n" not in message


def test_brackets_are_counted() -> None:
    """Depth, not number."""
    assert [nesting(text) for text in ("", "()()", "([{}])", "))((")] == [0, 1, 3, 2]


DEEP = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"type": "null"}]} for i in range(2000)}
BOMBS = {
    "a regex of a million": regex("(a{1000}){1000}"),
    "optional and required": regex("(a?){500}a{500}"),
    "large numbers": schema({"type": "integer", "multipleOf": 9_973}),
    "references": schema({"$defs": DEEP | {"d2000": {"type": "string"}}, "$ref": "#/$defs/d0"}),
    "products": schema(
        {
            "allOf": [
                {"anyOf": [{"properties": {f"k{i}{j}": {"type": "string"}}} for j in range(5)]}
                for i in range(9)
            ]
        }
    ),
    "a doubling grammar": gbnf(
        "root ::= r1\n"
        + "\n".join(f"r{i} ::= r{i + 1} r{i + 1}" for i in range(1, 30))
        + '\nr30 ::= "a"'
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_source_takes_longer_than_the_deadline(name: str) -> None:
    """It compiles, or is refused in time; the thread that computes it gives way to others."""
    started = time.monotonic()
    compiler = GrammarCompiler(VOCABULARY, deadline=1)
    with contextlib.suppress(BadRequest):
        compiler.matcher(BOMBS[name])
    assert time.monotonic() - started < 2


def test_a_loop_of_references_ends_its_own_answer() -> None:
    """It describes nothing: no token fits, and the matcher says so."""
    try:
        found = matcher(schema({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}))
    except BadRequest:
        return
    assert not len(allowed(found.mask(), VOCABULARY.size)) or found.take(ord("{")) == -1


# -- keeping ---------------------------------------------------------------------------------------


def test_each_constraint_is_compiled_once() -> None:
    """Answers have places of their own in it; the oldest is forgotten."""
    compiler = GrammarCompiler(VOCABULARY, entries=2)
    first, second = compiler.matcher(regex("ab")), compiler.matcher(regex("ab"))
    assert taken(first, b"ab") == 2
    assert taken(second, b"ab") == 2
    compiler.matcher(regex("b"))
    compiler.matcher(regex("c"))
    assert len(compiler._kept) == 2


def test_what_was_refused_once_is_refused_at_once() -> None:
    """A costly source that is sent again and again costs nobody anything."""
    compiler = GrammarCompiler(VOCABULARY, deadline=0.3)
    for _ in range(2):
        with pytest.raises(BadRequest) as caught:
            compiler.matcher(regex("(?=a)b"))
        assert str(caught.value).startswith("regex: ")
    assert len(compiler._kept) == 1


def test_many_threads_compile_at_once() -> None:
    """Nobody gets another's grammar."""
    compiler = GrammarCompiler(VOCABULARY)
    found: dict[str, int] = {}

    def work(letter: str) -> None:
        found[letter] = taken(compiler.matcher(regex(letter * 3)), letter.encode() * 3)

    threads = [threading.Thread(target=work, args=(letter,)) for letter in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys("abcdefgh", 3)


def test_allowed_ids_are_in_order_and_in_the_vocabulary() -> None:
    """Bits past the end are padding."""
    mask = np.array([0, 1 << 31 | 1, 0xFFFF_FFFF], np.uint32)
    assert allowed(mask, 66).tolist() == [32, 63, 64, 65]
