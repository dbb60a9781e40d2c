"""A server in a process of its own, as users start it, with the bundled model."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


class Process:
    """A server of its own, with a store of its own."""

    def __init__(self, store: Path, **settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-m", "trillama", "serve", "--host", f"127.0.0.1:{self.port}"]
        self.store = store
        settings |= {"TRILLAMA_MODELS": str(store), "TRILLAMA_NUM_THREAD": "1"}
        self.log = (store.parent / "log").open("wb")
        self.process = subprocess.Popen(
            command, env=os.environ | settings, stdout=self.log, stderr=self.log
        )
        self.cpu = self._wait_for_first_answer()
        self.memory = self._memory()

    def _wait_for_first_answer(self) -> float:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.ask("GET", "/api/version")
            except OSError:
                time.sleep(0.01)
            else:
                fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2]
                return sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")
        raise AssertionError("the server did not start")

    def _memory(self) -> int:
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def ask(self, method: str, path: str, **body: Any) -> list[Any]:
        """The JSON lines of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, json.dumps(body) if body else None)
            return [json.loads(line) for line in connection.getresponse().read().splitlines()]
        finally:
            connection.close()

    def chat(self, text: str, think: bool = True, **options: Any) -> list[Any]:
        """A streamed chat with the bundled model, greedy."""
        messages = [{"role": "user", "content": text}]
        fields = {"messages": messages, "options": {"temperature": 0} | options}
        return self.ask("POST", "/api/chat", model="tiny", think=think, **fields)

    def descriptors(self) -> int:
        """Open files and sockets."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def threads(self) -> list[str]:
        """Names of its threads."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        return sorted((task / "comm").read_text().strip() for task in tasks.iterdir())

    def loaded(self) -> list[str]:
        """Names of the models in memory."""
        (listed,) = self.ask("GET", "/api/ps")
        return [entry["name"] for entry in listed["models"]]

    def close(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()
        self.log.close()


def said(lines: list[Any]) -> tuple[str, str]:
    """Reasoning and content of streamed lines."""
    messages = [line["message"] for line in lines]
    thinking = "".join(message.get("thinking", "") for message in messages)
    return thinking, "".join(message["content"] for message in messages)
