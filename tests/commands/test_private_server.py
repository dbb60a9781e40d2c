"""A server for the length of one command."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trillama.base.address import parse_host
from trillama.commands.client import Client, ServerDown

COMMAND = """
import sys, time
from trillama.commands.private_server import private_server
with private_server() as client:
    print(client.address.netloc, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    "number", [signal.SIGHUP, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_it_ends_with_its_command(tmp_path: Path, number: signal.Signals) -> None:
    """However that is ended: a closed terminal leaves no server behind."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        stdout=subprocess.PIPE,
        text=True,
        env={"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
    )
    with process:
        assert process.stdout
        client = Client(parse_host(process.stdout.readline().strip()))
        client.check()
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    with pytest.raises(ServerDown):
        client.check()
