"""Formats that people and their scripts read, byte for byte."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest

from trillama.commands.console import Wrapper, display_width, human_bytes, human_time, table
from trillama.commands.ps import processor

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 KB"),
        (1024, "1.0 KB"),
        (999_999, "999 KB"),
        (274_302_450, "274 MB"),
        (4_661_224_676, "4.7 GB"),
        (9_999_999_999, "10.0 GB"),
        (10**12, "1 TB"),
    ],
)
def test_sizes_are_decimal_and_short(count: int, text: str) -> None:
    """Below ten one decimal, above none, as Ollama prints them."""
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "Less than a second ago"),
        (-1, "1 second ago"),
        (-59, "59 seconds ago"),
        (-60, "About a minute ago"),
        (-119, "About a minute ago"),
        (-120, "2 minutes ago"),
        (-3600, "About an hour ago"),
        (-2 * 3600 + 60, "2 hours ago"),
        (-47 * 3600, "47 hours ago"),
        (-48 * 3600, "2 days ago"),
        (-14 * 86400, "2 weeks ago"),
        (-60 * 86400, "2 months ago"),
        (-3 * 365 * 86400, "3 years ago"),
        (240, "4 minutes from now"),
        (290 * 365 * 86400, "Forever"),
    ],
)
def test_ages_are_words(seconds: int, text: str) -> None:
    """Seconds and minutes are cut, hours rounded, decades are for ever."""
    assert human_time(NOW + timedelta(seconds=seconds), NOW) == text


def test_table_pads_every_cell_but_the_last_header() -> None:
    """Scripts cut these columns: four spaces after each cell, one after the last header."""
    text = table(("NAME", "SIZE"), [("tiny:latest", "4 MB"), ("x", "1.0 GB")])
    assert text.split("\n") == [
        "NAME           SIZE   ",
        "tiny:latest    4 MB      ",
        "x              1.0 GB    ",
        "",
    ]


def test_an_empty_table_is_its_header() -> None:
    """No models still tell what would be listed."""
    assert table(("NAME", "ID"), []) == "NAME    ID \n"


def test_wide_characters_take_two_columns() -> None:
    """Columns stay aligned behind Chinese names."""
    assert display_width("模型a") == 5
    assert table(("N", "S"), [("模型", "1")]).splitlines()[0] == "N       S "


@pytest.mark.parametrize(
    ("size", "vram", "text"),
    [
        (100, 0, "100% CPU"),
        (100, 100, "100% GPU"),
        (0, 5, "Unknown"),
        (10, 20, "Unknown"),
        (100, 52, "48%/52% CPU/GPU"),
    ],
)
def test_processor_tells_the_split(size: int, vram: int, text: str) -> None:
    """Where a model lives is told in Ollama's words."""
    assert processor(size, vram) == text


def shown(out: str) -> str:
    """What a terminal shows: a cursor-left with erase takes characters back."""
    lines = [""]
    at = 0
    while at < len(out):
        if out.startswith("\x1b[", at):
            end = out.index("D" if "D" in out[at : at + 5] else "K", at)
            if out[end] == "D":
                lines[-1] = lines[-1][: -int(out[at + 2 : end])]
            at = end + 1
            continue
        if out[at] == "\n":
            lines.append("")
        else:
            lines[-1] += out[at]
        at += 1
    return "\n".join(line.rstrip() for line in lines)


@pytest.mark.parametrize("pieces", [1, 3, 1000])
def test_words_move_whole_to_the_next_line(pieces: int) -> None:
    """However the text arrives, no word is cut at the edge."""
    out = io.StringIO()
    wrapper = Wrapper(out, 25)
    text = "the quick brown fox jumps over the lazy dog"
    for at in range(0, len(text), pieces):
        wrapper.write(text[at : at + pieces])
    lines = shown(out.getvalue()).split("\n")
    assert " ".join(lines).split() == text.split()
    assert max(map(len, lines)) <= 20


def test_narrow_or_unknown_terminals_are_not_wrapped() -> None:
    """Piped output holds the text and nothing else."""
    out = io.StringIO()
    Wrapper(out, 0).write("a long line without any breaks at all, whatever the width")
    assert out.getvalue() == "a long line without any breaks at all, whatever the width"


def test_a_word_moved_by_the_space_behind_it_takes_room() -> None:
    """What follows on its new line wraps where the line really ends."""
    out = io.StringIO()
    Wrapper(out, 20).write("aaaa bbbbbbbbbb cccc dddd")
    assert (
        out.getvalue() == "aaaa bbbbbbbbbb\x1b[10D\x1b[K\nbbbbbbbbbb cccc\x1b[4D\x1b[K\ncccc dddd"
    )
