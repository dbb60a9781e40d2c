"""Text leaves a stream whole, early, and never past a stop string, however tokens split it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from trillama.engine.fake import FakeVocabulary
from trillama.engine.text import TextStream


class Pieces:
    """A vocabulary whose tokens are the given byte strings, in order."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = list(pieces)
        self.controls: dict[str, int] = {}


def stream(pieces: Iterable[bytes], stop: tuple[str, ...] = ()) -> tuple[list[str], TextStream]:
    """What each push returned, and finish() last."""
    vocabulary = Pieces(pieces)
    answer = TextStream(vocabulary, stop)
    shown = [answer.push(token) for token in range(len(vocabulary.pieces))]
    return [*shown, answer.finish()], answer


def cut(text: str, stop: tuple[str, ...]) -> tuple[str, bool]:
    """The promise in its plainest form: stop at the first character that completes a stop."""
    for end in range(1, len(text) + 1):
        done = [word for word in stop if word and text[:end].endswith(word)]
        if done:
            return text[: end - max(map(len, done))], True
    return text, False


few = st.text(alphabet="ab", max_size=24)
stops = st.lists(st.text(alphabet="ab", min_size=1, max_size=5), max_size=4).map(tuple)
wide = st.text(alphabet="aé€🦙", max_size=16)


def split(data: bytes, borders: list[int]) -> list[bytes]:
    """``data`` cut at ``borders``; empty pieces are like control tokens."""
    places = [0, *sorted(min(border, len(data)) for border in borders), len(data)]
    return [data[begin:end] for begin, end in pairwise(places)]


borders = st.lists(st.integers(0, 64), max_size=12)


@given(few, stops, borders)
def test_any_split_gives_the_same_cut(text: str, stop: tuple[str, ...], at: list[int]) -> None:
    """All returned text together is the text before the stop that is completed first."""
    shown, answer = stream(split(text.encode(), at), stop)
    assert ("".join(shown), answer.stopped) == cut(text, stop)


@given(wide, st.lists(st.text("aé€🦙", min_size=1, max_size=3), max_size=3).map(tuple), borders)
def test_characters_split_over_tokens_are_joined(
    text: str, stop: tuple[str, ...], at: list[int]
) -> None:
    """Bytes of one character may come in several tokens, inside stop strings too."""
    shown, answer = stream(split(text.encode(), at), stop)
    assert ("".join(shown), answer.stopped) == cut(text, stop)


@given(st.binary(max_size=40), borders)
def test_broken_bytes_are_replaced_as_python_replaces_them(data: bytes, at: list[int]) -> None:
    """Invalid UTF-8 becomes U+FFFD exactly as when decoded at once."""
    shown, _ = stream(split(data, at))
    assert "".join(shown) == data.decode("utf-8", "replace")


@given(few, stops)
def test_nothing_is_held_without_need(text: str, stop: tuple[str, ...]) -> None:
    """After each token all text is out but the longest part that still begins a stop string."""
    answer = TextStream(Pieces(letter.encode() for letter in text), stop)
    shown = ""
    for token in range(len(text)):
        shown += answer.push(token)
        if answer.stopped:
            break
        so_far = text[: token + 1]
        assert shown + answer.held == so_far
        needed = max(
            (n for word in stop for n in range(len(word)) if so_far.endswith(word[:n])), default=0
        )
        assert len(answer.held) == needed


def test_plain_text_passes_at_once() -> None:
    """Without stop strings every token's text is returned by its own push."""
    assert stream([b"Hel", b"lo", b" \xf0\x9f", b"\xa6\x99!"])[0] == ["Hel", "lo", " ", "🦙!", ""]


def test_a_false_start_is_released_as_soon_as_it_is_one() -> None:
    """``<|im`` is held until ``<|imp`` shows that it is no stop."""
    shown, answer = stream([b"a<|", b"im", b"possible", b"."], ("<|im_end|>",))
    assert shown == ["a", "", "<|impossible", ".", ""]
    assert not answer.stopped


def test_what_is_held_at_the_end_is_shown() -> None:
    """finish() returns the beginning of a stop that never came."""
    assert stream([b"so <|im"], ("<|im_end|>",))[0] == ["so ", "<|im"]


def test_a_stop_inside_held_text_is_found() -> None:
    """``bc`` ends the text though ``abc`` was held as a beginning of ``abcd``."""
    shown, answer = stream([b"xab", b"c", b"d"], ("abcd", "bc"))
    assert ("".join(shown), answer.stopped) == ("xa", True)


def test_of_two_stops_completed_together_the_longer_is_cut() -> None:
    """``abc`` and ``bc`` end at the same character: nothing of either is shown."""
    assert "".join(stream([b"xabcd"], ("bc", "abc"))[0]) == "x"


def test_a_stop_that_begins_another_wins() -> None:
    """The shorter of two with one beginning is complete first, whatever their order."""
    for stop in (("END", "ENDING"), ("ENDING", "END")):
        assert "".join(stream([b"the ENDI", b"NG"], stop)[0]) == "the "


def test_nothing_comes_after_the_stop() -> None:
    """Tokens pushed too late and finish() return nothing, and it stays stopped."""
    shown, answer = stream([b"a#b", b"c", b"\xf0\x9f"], ("#",))
    assert shown == ["a", "", "", ""]
    assert (answer.stopped, answer.held) == (True, "")


def test_empty_stop_strings_mean_nothing() -> None:
    """An empty stop string does not end the answer before its first character."""
    assert stream([b"ab"], ("", ""))[0] == ["ab", ""]


def test_an_unfinished_character_at_the_end_is_marked() -> None:
    """A generation that ends inside a character shows U+FFFD for it, after what was held."""
    assert stream([b"ab", b"\xf0\x9f"], ("bc",))[0] == ["a", "", "b\ufffd"]


def test_control_tokens_are_silent() -> None:
    """A control token has no bytes: nothing is shown and nothing held is given up."""
    vocabulary = FakeVocabulary()
    answer = TextStream(vocabulary, ("ab",))
    assert [answer.push(token) for token in (ord("a"), vocabulary.bos, ord("b"))] == ["", "", ""]
    assert answer.stopped


def test_a_long_stop_string_costs_no_more_than_its_length() -> None:
    """Sixteen thousand letters take some megabytes to search for, not the square of that."""
    word = "ab" * 8192
    tracemalloc.start()
    text = TextStream(Pieces([b"a", b"b", b"x"]), (word,))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert size < 16 << 20
    assert "".join(text.push("abx".index(letter)) for letter in "x" + word) == "x"
    assert text.stopped


def test_the_stop_string_that_ended_the_text_is_told() -> None:
    """Of several completed at once the longest; "" where none was."""
    assert stream([b"one ST", b"OP two"], ("OP", "STOP"))[1].stop == "STOP"
    assert stream([b"one"], ("STOP",))[1].stop == ""


def test_a_stop_string_may_be_a_control_token() -> None:
    """It has no text to be found in; what was held back before it is text after all."""
    stream = TextStream(FakeVocabulary(), ("<|im_start|>", "abc"))
    shown = "".join(map(stream.push, (*b"xab", 258, *b"c")))

    assert (shown, stream.stopped, stream.stop) == ("xab", True, "<|im_start|>")
