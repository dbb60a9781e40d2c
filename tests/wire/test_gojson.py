"""Go's JSON, read and written."""

from __future__ import annotations

import contextlib
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trillama.base.errors import BadRequest
from trillama.wire import gojson

REFUSED = {
    b"": "missing request body",
    b" \r\n\t": "missing request body",
    b"{": "unexpected EOF",
    b'{"model":"x"': "unexpected EOF",
    b'{"model":': "unexpected EOF",
    b'"abc': "unexpected EOF",
    b"[1,": "unexpected EOF",
    b"1.": "unexpected EOF",
    b"tru": "unexpected EOF",
    b'{model:"x"}': "invalid character 'm' looking for beginning of object key string",
    b"{'a':1}": "invalid character '\\'' looking for beginning of object key string",
    b'{"model":"x",}': "invalid character '}' looking for beginning of object key string",
    b'{"a" 1}': "invalid character '1' after object key",
    b'{"a":1 "b":2}': "invalid character '\"' after object key:value pair",
    b"[1 2]": "invalid character '2' after array element",
    b"[1,]": "invalid character ']' looking for beginning of value",
    b"nope": "invalid character 'o' in literal null (expecting 'u')",
    b"NaN": "invalid character 'N' looking for beginning of value",
    b'"a\nb"': "invalid character '\\n' in string literal",
    b'"a\x01b"': "invalid character '\\x01' in string literal",
    b'"\\x"': "invalid character 'x' in string escape code",
    b'"\\u00g0"': "invalid character 'g' in \\u hexadecimal character escape",
    b"-x": "invalid character 'x' in numeric literal",
    b"1.x": "invalid character 'x' after decimal point in numeric literal",
    b"1ex": "invalid character 'x' in exponent of numeric literal",
    b'{"a":01}': "invalid character '1' after object key:value pair",
    b"\x1f\x8b\x08": "invalid character '\\x1f' looking for beginning of value",
    b"\xc3\xa9": "invalid character 'Ã' looking for beginning of value",
    b"[" * 10_001 + b"1": "exceeded max depth",
}


@pytest.mark.parametrize(("body", "message"), REFUSED.items(), ids=range(len(REFUSED)))
def test_what_is_no_json_is_refused_in_gos_words(body: bytes, message: str) -> None:
    """Every way a body can be broken has the text a Go server gives."""
    with pytest.raises(BadRequest) as refused:
        gojson.decode(body)

    assert message == refused.value.message


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"model":"x"}garbage', {"model": "x"}),
        (b'{"a":[1,{"b":2}]} {', {"a": [1, {"b": 2}]}),
        (b" null ", None),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'"\xff\xfe"', "\ufffd\ufffd"),
        (b'"\\ud800x"', "\ufffdx"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'{"\\ud800":["\\udfff"]}', {"\ufffd": ["\ufffd"]}),
        (b"1.5x", 1.5),
        (b"{}[", {}),
    ],
)
def test_only_the_first_value_counts(body: bytes, value: object) -> None:
    """What follows the first value is ignored, and broken text is mended."""
    assert value == gojson.decode(body)


def test_deep_nesting_is_no_crash() -> None:
    """More levels than Python's decoders take are refused, not crashed on."""
    with pytest.raises(BadRequest, match="exceeded max depth"):
        gojson.decode(b"[" * 100_000 + b"]" * 100_000)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """No body raises anything but BadRequest."""
    with contextlib.suppress(BadRequest):
        gojson.encode(gojson.decode(body))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_VALUES)
def test_what_is_written_reads_back(value: object) -> None:
    """Encoding keeps every value, with lone surrogates replaced."""
    mended = gojson._without_surrogates(value)

    assert mended == gojson.decode(gojson.encode(value))


def test_html_and_line_separators_are_escaped() -> None:
    """The five characters Go escapes are escaped; DEL and other text are raw."""
    text = "<a href='x'>&\u2028\u2029é\x7f\x01\b\f\n\r\t\"\\"
    wanted = (
        '"\\u003ca href=\'x\'\\u003e\\u0026\\u2028\\u2029é\x7f\\u0001\\b\\f\\n\\r\\t\\"\\\\"'
    ).encode()

    assert wanted == gojson.encode_text(text)
    assert b'{"k":' + wanted + b"}" == gojson.encode({"k": text})
    assert '"\ufffd"'.encode() == gojson.encode_text("\ud800")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, b"0"), (1.0, b"1"), (-2.0, b"-2"), (0.1, b"0.1"), (1e-6, b"0.000001"),
        (1e-7, b"1e-7"), (-1.5e-9, b"-1.5e-9"), (1e20, b"100000000000000000000"),
        (1e21, b"1e+21"), (1.25e22, b"1.25e+22"), (5e-324, b"5e-324"), (1e16, b"10000000000000000"),
    ],
)  # fmt: skip
def test_floats_have_gos_form(value: float, text: bytes) -> None:
    """An exponent only below 1e-6 and from 1e21 on, without padding zeros."""
    assert text == bytes(gojson.number(value))
    assert text == msgspec.json.encode(gojson.number(value))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_floats_json_cannot_hold_are_refused(value: float) -> None:
    """NaN and infinities raise instead of making an unreadable document."""
    with pytest.raises(ValueError, match="unsupported value"):
        gojson.number(value)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
        (1_700_000_000_120_000_000, "2023-11-14T22:13:20.12Z"),
        (1_700_000_000_000_000_001, "2023-11-14T22:13:20.000000001Z"),
        (1_700_000_000_000_000_000, "2023-11-14T22:13:20Z"),
    ],
)
def test_created_at_trims_its_fraction(ns: int, text: str) -> None:
    """Up to nine digits, trailing zeros dropped, always UTC."""
    clock = gojson.Clock(lambda: ns)

    assert text == clock.utc()
    assert text == clock.utc()


def test_local_times_carry_the_servers_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """``modified_at`` and ``expires_at`` show the local offset, and Z only where it is UTC."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        shown = gojson.local_time(1_700_000_000_500_000_000)
        patched.setenv("TZ", "UTC")
        time.tzset()
        in_utc = gojson.local_time(1_700_000_000_000_000_000)
    time.tzset()

    assert shown == "2023-11-15T03:43:20.5+05:30"
    assert in_utc == "2023-11-14T22:13:20Z"
