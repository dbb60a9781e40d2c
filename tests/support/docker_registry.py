"""A real registry: Debian's ``docker-registry`` on loopback, with a folder for its storage."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAM = "docker-registry"
CONFIG = """version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http:
  addr: 127.0.0.1:{port}
  secret: not-a-secret
"""


def missing() -> str:
    """Why there is none, or ""."""
    found = shutil.which(PROGRAM)
    return "" if found else f"{PROGRAM} is not installed (apt-get install {PROGRAM})"


class DockerRegistry:
    """The registry in a process of its own.

    Attributes:
        host: ``127.0.0.1:port``, as the host of a name.
        root: its storage.
    """

    def __init__(self, folder: Path, extra: str = "") -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self.root = folder / "registry"
        config = folder / "registry.yml"
        config.write_text(CONFIG.format(root=self.root, port=self.port) + extra)
        self.log = (folder / "registry.log").open("wb")
        environment = {key: value for key, value in os.environ.items() if "REGISTRY" not in key}
        self.process = subprocess.Popen(
            [PROGRAM, "serve", str(config)], stdout=self.log, stderr=self.log, env=environment
        )
        self._await_start()

    def _await_start(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.ask("GET", "/v2/")
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError("the registry did not start")

    def ask(self, method: str, path: str) -> tuple[int, bytes]:
        """One request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def close(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait()
        self.log.close()
