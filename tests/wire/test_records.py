"""Records of the native dialect, byte for byte."""

from __future__ import annotations

from trillama.base.errors import BadRequest
from trillama.base.events import StopReason, Usage
from trillama.base.turns import Finished, Piece
from trillama.wire.gojson import Clock
from trillama.wire.records import ChatRecords, GenerateRecords

CLOCK = Clock(lambda: 1_700_000_000_500_000_000)
HEAD = b'{"model":"m\\u003c","created_at":"2023-11-14T22:13:20.5Z",'
END = Finished(
    reason=StopReason.STOP,
    usage=Usage(11, 4, 3, 1, 50, 60),
    total_ns=200,
    load_ns=7,
    tokens=(1, 2),
)
METRICS = (
    b'"total_duration":200,"load_duration":7,"prompt_eval_count":11,"prompt_eval_duration":50,'
    b'"eval_count":3,"eval_duration":60'
)


def test_chat_pieces_are_lines_with_a_message() -> None:
    """Content is always there, thinking only when there is some, and HTML is escaped."""
    records = ChatRecords("m<", CLOCK)
    said = b'"message":{"role":"assistant","content":"a\\u0026"},"done":false}\n'
    thought = b'"message":{"role":"assistant","content":"","thinking":"hm"},"done":false}\n'

    assert HEAD + said + HEAD + thought == records.write([Piece("a&"), Piece("", "hm")])


def test_the_last_chat_record_carries_the_metrics() -> None:
    """Field order: message, done, done_reason, metrics."""
    line = HEAD + b'"message":{"role":"assistant","content":""},"done":true,"done_reason":"stop",'
    end = Finished(reason=END.reason, usage=END.usage, total_ns=200, load_ns=7)

    assert line + METRICS + b"}\n" == ChatRecords("m<", CLOCK).write([end])


def test_the_last_generate_record_carries_the_context() -> None:
    """Field order: response, done, done_reason, context, metrics."""
    line = HEAD + b'"response":"","done":true,"done_reason":"stop","context":[1,2],'

    assert line + METRICS + b"}\n" == GenerateRecords("m<", CLOCK).write([END])


def test_one_object_when_not_streaming() -> None:
    """Response and thinking stand before done, and no newline follows."""
    line = HEAD + b'"response":"x","thinking":"y","done":true,"done_reason":"stop","context":[1,2],'

    whole = GenerateRecords("m<", CLOCK).whole(Piece("x", "y"), END)

    assert line + METRICS + b"}" == whole


def test_zero_metrics_are_left_out_and_truncation_is_told() -> None:
    """A zero removes the key; what was cut stands at the end of the last record."""
    end = Finished(reason=StopReason.LENGTH, usage=Usage(), dropped=5)
    tail = b'"response":"","done":true,"done_reason":"length","truncated":true,'

    assert HEAD + tail + b'"prompt_tokens_dropped":5}\n' == GenerateRecords("m<", CLOCK).write(
        [end]
    )


def test_load_unload_and_debug_objects() -> None:
    """Nothing but the name, the time and the reason; a rendered prompt has an empty role."""
    chat, generate = ChatRecords("m<", CLOCK), GenerateRecords("m<", CLOCK)

    assert (
        chat.nothing_said("load")
        == HEAD + b'"message":{"role":"assistant","content":""},"done":true,"done_reason":"load"}'
    )
    assert (
        generate.nothing_said("unload")
        == HEAD + b'"response":"","done":true,"done_reason":"unload"}'
    )
    assert (
        chat.rendered("t>") == HEAD + b'"message":{"role":"","content":""},"done":false,'
        b'"_debug_info":{"rendered_template":"t\\u003e"}}'
    )
    assert generate.error(BadRequest('no "x"')) == b'{"error":"no \\"x\\""}\n'


def test_guesses_are_told_where_there_were_any() -> None:
    """Counts of drafts stand behind the metrics."""
    usage = Usage(11, 4, 3, 1, 50, 60, drafted_tokens=9, accepted_tokens=7)
    end = Finished(reason=StopReason.STOP, usage=usage, total_ns=200)
    assert b'"eval_duration":60,"draft_count":9,"draft_accepted_count":7}' in (
        ChatRecords("m", CLOCK).write([end])
    )
