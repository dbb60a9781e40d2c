"""A server of one's own for the length of one command, when nobody listens yet.

Used by ``run``, so that a single command gives an answer on a fresh machine. It binds loopback on
a free port, never the configured one: other programs should not find a server that soon goes.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from trillama.base.address import Address
from trillama.base.errors import TrillamaError

from .client import Client

START_LIMIT = 30.0
STOP_LIMIT = 10.0
POLL = 0.05


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _unwound_by_signals() -> Iterator[None]:
    """Let what ends this process, such as a closed terminal, run the code that tidies up."""

    def leave(number: int, _: object) -> None:
        for one in handled:
            signal.signal(one, signal.SIG_IGN)
        raise SystemExit(128 + number)

    ends = (signal.SIGTERM, signal.SIGHUP)
    handled = [one for one in ends if signal.getsignal(one) is not signal.SIG_IGN]  # nohup
    before = {one: signal.signal(one, leave) for one in handled}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def private_server() -> Iterator[Client]:
    """Start a server, yield a client for it, and stop it on the way out.

    Raises:
        TrillamaError: it did not come up; the end of its log is in the message.
    """
    address = Address("http", "127.0.0.1", _free_port())
    with tempfile.TemporaryFile() as log, _unwound_by_signals():
        command = [sys.executable, "-m", "trillama", "serve", "--host", address.netloc]
        # A session of its own: Ctrl-C in the terminal ends the answer, not the server under it.
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            client = Client(address)
            _await_start(process, client, log)
            yield client
        finally:
            _stop(process)


def _await_start(process: subprocess.Popen[bytes], client: Client, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.check()
        except TrillamaError:
            time.sleep(POLL)
        else:
            return
    log.seek(0)
    tail = log.read().decode("utf-8", "replace")[-2000:].strip()
    raise TrillamaError(f"the server did not start:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
