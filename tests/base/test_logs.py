"""What the log of a server holds, whoever wrote it, and what it never holds."""

from __future__ import annotations

import errno
import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from trillama.base.logs import configure_logs
from trillama.base.names import Digest

Logged = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def logged() -> Iterator[Logged]:
    """What is logged, as JSON lines in memory."""
    stream = io.StringIO()
    before = logging.root.handlers[:]
    configure_logs("json", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.root.handlers[:] = before
    structlog.reset_defaults()


def fail(prompt: str) -> None:
    """Break with something secret at hand."""
    raise ZeroDivisionError(len(prompt))


def test_a_traceback_holds_no_values(logged: Logged) -> None:
    """A prompt or a password that a function held when it broke is not in the log."""
    console = io.StringIO()
    for form, stream in (("json", None), ("console", console)):
        if stream:
            configure_logs(form, stream=stream)
        try:
            fail(" ".join(("my", "secret")))
        except ZeroDivisionError as error:
            structlog.get_logger().error("unexpected error", exc_info=error)
        if not stream:
            (line,) = logged()
            assert line["exception"][0]["exc_type"] == "ZeroDivisionError"
            assert line["exception"][0]["frames"][-1]["name"] == "fail"
            assert "my secret" not in json.dumps(line)
    assert "ZeroDivisionError" in console.getvalue()
    assert "in fail" in console.getvalue()
    assert "my secret" not in console.getvalue()


def test_other_libraries_log_as_we_do(logged: Logged) -> None:
    """Lines of trio and others are in the same format, not prose between JSON."""
    logging.getLogger("some.library").warning("something %s", "odd")
    logging.getLogger("some.library").info("chatter")
    try:
        fail("x")
    except ZeroDivisionError:
        logging.getLogger("some.library").exception("broken")
    odd, broken = logged()

    assert (odd["event"], odd["level"], odd["logger"]) == (
        "something odd", "warning", "some.library",
    )  # fmt: skip
    assert broken["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_a_complaint_that_repeats_itself_is_told_once(logged: Logged) -> None:
    """Without file descriptors trio complains ten times a second, each time with a traceback."""
    for _ in range(100):
        try:
            raise OSError(errno.EMFILE, "Too many open files")
        except OSError:
            logging.getLogger("trio.serve_listeners").exception("accept returned EMFILE")
    (line,) = logged()

    assert line["event"] == "accept returned EMFILE"
    assert line["reason"] == "[Errno 24] Too many open files"
    assert "exception" not in line


def test_configured_twice_a_line_is_one_line(logged: Logged) -> None:
    """The last stream gets what others log, and it alone."""
    stream = io.StringIO()
    configure_logs("json", stream=stream)
    logging.getLogger("some.library").warning("something")

    assert logged() == []
    assert len(stream.getvalue().splitlines()) == 1


def test_a_digest_is_logged_as_it_is_written(logged: Logged) -> None:
    """To be found by searching for it, without quotes of its own."""
    digest = Digest("sha256:" + "0" * 64)
    structlog.get_logger().info("model imported", weights=digest)
    assert logged()[0]["weights"] == digest
