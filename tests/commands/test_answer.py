"""What one answer looks like, and what its flags say on the wire."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trillama.base.errors import BadRequest
from trillama.commands.answer import GREY, PLAIN, RunOptions, Shower, show_answer, statistics


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_colours_take_no_room_and_are_always_taken_back() -> None:
    """Words wrap at the width of what is seen; an interrupted thought leaves no grey behind."""
    out = Terminal()
    shower = Shower(out, RunOptions())
    for word in ["The", " user", " asks", " me", " for", " a", " fact"]:
        shower.thinking(word)
    shower.close()

    assert "The user asks me for a fact" in out.getvalue()
    assert out.getvalue().endswith(PLAIN)
    assert GREY in out.getvalue()


def test_thinking_can_be_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the thought nor its labels are shown; the answer is, unwrapped off a terminal."""
    long = "word " * 60
    records = iter([{"t": "Hm.", "c": ""}, {"t": "", "c": long}])
    text, last = show_answer(records, lambda r: (r["t"], r["c"]), RunOptions(hidethinking=True))
    assert (text, last["c"]) == (long, long)
    assert capsys.readouterr().out == long


def broken_off() -> Iterator[dict[str, str]]:
    yield {"c": "The capital"}
    raise BadRequest("no more")


@pytest.mark.parametrize(("out", "end"), [(Terminal, "capital\n"), (io.StringIO, "capital")])
def test_trouble_begins_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch, out: type[io.StringIO], end: str
) -> None:
    """On a terminal, below what was said; what goes into a file gets nothing added."""
    shown = out()
    monkeypatch.setattr("sys.stdout", shown)
    with pytest.raises(BadRequest):
        show_answer(broken_off(), lambda record: ("", record["c"]), RunOptions())
    assert shown.getvalue().endswith(end)


def test_timings_are_a_table() -> None:
    """Labels padded to one column; what is zero has no line."""
    record = {
        "total_duration": 1_234_567_891,
        "load_duration": 45_600_000,
        "prompt_eval_count": 10,
        "prompt_eval_duration": 0,
        "eval_count": 50,
        "eval_duration": 2_000_000_000,
    }
    assert statistics(record).splitlines() == [
        "total duration:       1.234567891s",
        "load duration:        45.6ms",
        "prompt eval count:    10 token(s)",
        "eval count:           50 token(s)",
        "eval duration:        2s",
        "eval rate:            25.00 tokens/s",
    ]
    assert statistics({}) == ""


@pytest.mark.parametrize(
    ("flags", "fields"),
    [
        ({}, {}),
        ({"keepalive": "5m"}, {"keep_alive": "5m"}),
        ({"keepalive": "-1m"}, {"keep_alive": -1}),
        ({"think": "true"}, {"think": True}),
        ({"think": "false"}, {"think": False}),
        ({"think": "low"}, {"think": "low"}),
        ({"format": "json"}, {"format": "json"}),
        ({"format": ' {"type": "object"}'}, {"format": {"type": "object"}}),
    ],
)
def test_flags_become_fields(flags: dict[str, Any], fields: dict[str, Any]) -> None:
    """Only what was said is sent."""
    assert RunOptions(**flags).request() == fields


def test_a_schema_may_be_a_file(tmp_path: Path) -> None:
    """Its content is what is sent; one that is missing, torn or no object is named."""
    file = tmp_path / "schema.json"
    file.write_text('{"type": "array"}')
    assert RunOptions(format=str(file)).request() == {"format": {"type": "array"}}
    for text in ("{", "[]"):
        file.write_text(text)
        with pytest.raises(BadRequest, match=r"schema\.json"):
            RunOptions(format=str(file)).request()
    with pytest.raises(BadRequest, match="No such file"):
        RunOptions(format="nowhere.json").request()
