"""Modelfiles: the grammar to the letter, errors with their lines, and texts that come back."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trillama.base.messages import Message
from trillama.models.manifest import go_document
from trillama.models.modelfile import (
    Command,
    ModelfileError,
    decode,
    instructions,
    parse,
    render,
)
from trillama.models.modelfile.lexer import COMMANDS, ROLES

BAD_COMMAND = (
    'command must be one of "from", "license", "template", "system", "adapter", "draft", '
    '"renderer", "parser", "parameter", "message", or "requires"'
)
BAD_ROLE = 'message role must be one of "system", "user", or "assistant"'

VALUES = [
    ("SYSTEM plain text", "plain text"),
    ("SYSTEM \t plain # no comment \t ", "plain # no comment"),
    ("sYsTeM 'single' stays", "'single' stays"),
    ('SYSTEM ""', ""),
    ('SYSTEM """"""', ""),
    ('SYSTEM "quoted"', "quoted"),
    ('SYSTEM "a "b" c"', 'a "b" c'),
    ('SYSTEM " kept "', " kept "),
    ('SYSTEM "two\nlines"', "two\nlines"),
    ('SYSTEM """\ntwo\nlines\n"""', "\ntwo\nlines\n"),
    ('SYSTEM """a "b" c"""', 'a "b" c'),
    ('SYSTEM """a\nb""" tail\n"""', 'a\nb""" tail\n'),
    ('SYSTEM "a"  \t', "a"),
    ('SYSTEM """x""""', 'x"'),
    ('SYSTEM "a\r\nb"\r\n', "a\r\nb"),
    ("SYSTEM a\r\n", "a"),
    ("SYSTEM \u00a0wide\u3000", "wide"),
    ("SYSTEM \u2066hidden\u200d marks stay", "\u2066hidden\u200d marks stay"),
    ('SYSTEM <<"END"\n"""a"""\n"b"\nEND', '"""a"""\n"b"'),
    ('SYSTEM <<"END"\nEND', ""),
    ('SYSTEM <<"END"\r\n"a"\r\n"b\r\nEND\r\n', '"a"\r\n"b'),
    ('SYSTEM <<"END"\r\nEND\r\n', ""),
    ("SYSTEM <<END", "<<END"),
]


@pytest.mark.parametrize(("line", "value"), VALUES)
def test_values(line: str, value: str) -> None:
    """A value is the rest of its line, trimmed, or what stands between quotes, to the letter."""
    commands = [Command("from", "foo"), Command("system", value), Command("parser", "p")]
    assert parse(f"FROM foo\n{line}\nPARSER p\n") == commands
    assert parse(f"FROM foo\n{line}") == commands[:2]


def test_comments_blanks_and_order() -> None:
    """Comments stand where a command could, order is free, commands may come again."""
    text = (
        "# first\n\n  \t# second\nPARAMETER stop a\n \t FROM x\r\n\r\nparameter  stop b\nFROM y#z"
    )
    assert parse(text) == [
        Command("parameter", "a", "stop"),
        Command("from", "x"),
        Command("parameter", "b", "stop"),
        Command("from", "y#z"),
    ]


def test_an_empty_from_is_a_from() -> None:
    """What it means is for the next room to say."""
    assert parse("FROM \n") == [Command("from", "")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no FROM line"),
        ("# only\n\nSYSTEM x\n", "no FROM line"),
        ("FROM foo\nBAD\n", f"(line 3): {BAD_COMMAND}"),
        ("FROM foo\nBAD x", f"(line 2): {BAD_COMMAND}"),
        ("FROM foo\n\n# c\n  BAD-x", f"(line 4): {BAD_COMMAND}"),
        ("FROM foo\r\nBAD\r\n", f"(line 3): {BAD_COMMAND}"),
        ("FROM foo\n1 x", f"(line 2): {BAD_COMMAND}"),
        ("FROM foo\nFROM\n", f"(line 3): {BAD_COMMAND}"),
        ("FROM: foo", f"(line 1): {BAD_COMMAND}"),
        ('SYSTEM "a\nb\nc"\nBAD x', f"(line 4): {BAD_COMMAND}"),
        ("FROM foo\nMESSAGE tool hi", f"(line 2): {BAD_ROLE}"),
        ("FROM foo\nMESSAGE User hi", f"(line 2): {BAD_ROLE}"),
        ("FROM foo\nPARAMETER num-ctx 1", "unexpected EOF: num"),
        ("FROM foo\nPARAMETER num\n", "unexpected EOF: num"),
        ("FROM foo\nMESSAGE user\n", "unexpected EOF: user"),
        ("FROM", "unexpected EOF"),
        ("FROM foo\nPARAMETER stop", "unexpected EOF"),
        ("FROM foo\nMESSAGE user", "unexpected EOF"),
        ('FROM foo\nSYSTEM "open\n', "unexpected EOF"),
        ('FROM foo\nSYSTEM """', "unexpected EOF"),
        ('FROM foo\nSYSTEM """ """ more\n', "unexpected EOF"),
        ('FROM foo\nSYSTEM <<"END"\nEN\n', "unexpected EOF: no line is END"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    """Every mistake has Ollama's words, and its line where there is one."""
    with pytest.raises(ModelfileError) as caught:
        parse(text)
    assert (caught.value.message, caught.value.status) == (message, 400)


def test_encodings() -> None:
    """UTF-8 with or without a mark and UTF-16 with one are read; broken bytes are replaced."""
    for data in (
        "FROM ü".encode(),
        "\ufeffFROM ü".encode(),
        b"\xff\xfe" + "FROM ü".encode("utf-16-le"),
        b"\xfe\xff" + "FROM ü".encode("utf-16-be"),
    ):
        assert parse(decode(data)) == [Command("from", "ü")]
    assert decode(b"FROM \xff") == "FROM \ufffd"
    with pytest.raises(ModelfileError):
        decode(b" " * (64 << 20) + b" ")


def read(text: str) -> object:
    return instructions(parse(f"FROM x\n{text}"))


def test_instructions() -> None:
    """Texts are replaced by later ones; bases, licenses, messages and stops add up."""
    found = instructions(
        parse(
            "FROM ./a.gguf\nFROM b\nADAPTER one\nADAPTER two\nDRAFT d\nTEMPLATE a\nTEMPLATE b\n"
            "SYSTEM s\nRENDERER r\nPARSER p\nREQUIRES v0.14.0\nLICENSE one\nLICENSE two\n"
            "MESSAGE user hi: you\nMESSAGE assistant ho\nPARAMETER stop a\nPARAMETER stop b\n"
            "PARAMETER num_ctx 4096\nPARAMETER temperature 0.7\nPARAMETER temperature 1\n"
            "PARAMETER use_mmap F\nPARAMETER mirostat 1\nPARAMETER mirostat 2\n"
        )
    )
    assert (found.bases, found.adapters, found.drafts) == (
        ("./a.gguf", "b"),
        ("one", "two"),
        ("d",),
    )
    assert (found.template, found.system, found.renderer, found.parser) == ("b", "s", "r", "p")
    assert (found.requires, found.licenses) == ("0.14.0", ("one", "two"))
    assert found.messages == (Message("user", "hi: you"), Message("assistant", "ho"))
    assert found.deprecated == ("mirostat",)
    assert go_document(found.parameters) == (
        b'{"num_ctx":4096,"stop":["a","b"],"temperature":1,"use_mmap":false}\n'
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("PARAMETER foo 1", "unknown parameter 'foo'"),
        ("PARAMETER system 1", "unknown parameter 'system'"),
        ("PARAMETER num_ctx 1.5", "invalid int value [1.5]"),
        ("PARAMETER num_ctx 9223372036854775808", "invalid int value [9223372036854775808]"),
        ("PARAMETER seed many words", "invalid int value [many words]"),
        ("PARAMETER top_p high", "invalid float value [high]"),
        ("PARAMETER top_p 1e39", "invalid float value [1e39]"),
        ("PARAMETER top_p nan", "invalid float value [nan]"),
        ("PARAMETER use_mmap yes", "invalid bool value [yes]"),
        ("REQUIRES newest", "requires must be a valid semver (e.g. 0.14.0)"),
        ("REQUIRES 1.2.3.4", "requires must be a valid semver (e.g. 0.14.0)"),
    ],
)
def test_bad_values(line: str, message: str) -> None:
    """A parameter that is none, or has the wrong type, is named."""
    with pytest.raises(ModelfileError) as caught:
        read(line)
    assert caught.value.message == message


@pytest.mark.parametrize("version", ["0.14", "1", "v1.2.3", "1.2.3-rc.1+build"])
def test_versions(version: str) -> None:
    """Short versions count, as Go reads them; the ``v`` goes."""
    assert read(f"REQUIRES {version}").requires == version.removeprefix("v")  # type: ignore[attr-defined]


texts = st.text(
    st.one_of(
        st.sampled_from('"" \n\r\t#<END2\u00a0\ufeff\x00ab'),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=40,
)
keys = st.sampled_from(["stop", "num_ctx", "top_p"])
plain = st.sampled_from([name for name in COMMANDS if name not in ("parameter", "message")])
commands = st.one_of(
    st.builds(Command, plain, texts),
    st.builds(Command, st.just("parameter"), texts, keys),
    st.builds(Command, st.just("message"), texts, st.sampled_from(ROLES)),
)


@given(st.lists(commands, max_size=6))
@example([Command("system", 'def f():\n    """Do."""\n    return "x"\n')])
@example([Command("system", '<<"END"')])
@example([Command("system", '"""\n"\r')])
@example([Command("system", 'END"""\nEND2"\n"')])
@example([Command("template", '"""')])
def test_whatever_is_written_is_read_back(given_commands: list[Command]) -> None:
    """No text is lost or changed by being written into a Modelfile and read again."""
    whole = [Command("from", "x"), *given_commands]
    assert parse(render(whole)) == whole


@given(st.text(st.sampled_from('FROMfrom SYSTEMparameter"\n\r\t #<12'), max_size=60) | texts)
def test_random_texts_never_break_the_reader(text: str) -> None:
    """Any text is read as something or refused as a ModelfileError."""
    try:
        instructions(parse(text))
    except ModelfileError:
        return


def test_quotes_stand_only_where_they_must() -> None:
    """A Modelfile reads as a person would write it."""
    found = render(
        [
            Command("from", "/models/blobs/sha256-abc"),
            Command("template", "{{ .Prompt }}"),
            Command("system", "two\nlines"),
            Command("system", 'two\n"lines" here'),
            Command("parameter", " x", "stop"),
            Command("message", "hi", "user"),
        ]
    )
    assert found == (
        'FROM /models/blobs/sha256-abc\nTEMPLATE {{ .Prompt }}\nSYSTEM "two\nlines"\n'
        'SYSTEM """two\n"lines" here"""\nPARAMETER stop " x"\nMESSAGE user hi\n'
    )


@pytest.mark.parametrize("line", ["x\n", "\n", '"\n', " ", "\u00a0\n"])
def test_long_values_take_linear_time(line: str) -> None:
    """A long quoted text costs no more than its length: twice as long, about twice the time."""

    def seconds(lines: int) -> float:
        text = f'FROM x\nSYSTEM """{line * lines}"""'
        start = time.process_time()
        parse(text)
        return time.process_time() - start

    assert (
        min(seconds(40_000) for _ in range(3)) < 30 * min(seconds(10_000) for _ in range(3)) + 0.1
    )
