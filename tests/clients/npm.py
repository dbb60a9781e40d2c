"""Clients of npm: their versions, the folder they are installed in, the program of a session.

``npm/package.json`` names exact versions. They are installed once into a cache outside the
repository; a machine without node, npm or a registry lacks them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.clients import session as s
from tests.support.once import alone
from tests.support.source import ROOT

FOLDER = ROOT / "tests" / "clients" / "npm"
PINS = FOLDER / "package.json"
CACHE = Path.home() / ".cache" / "trillama" / "npm"
PREFIX = "npm:"
_INSTALL = ("npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund")


def pinned() -> dict[str, str]:
    """Versions of the packages, by name."""
    found: dict[str, str] = json.loads(PINS.read_text("utf-8"))["dependencies"]
    return found


def installed() -> Path:
    """The folder with the packages, installed if need be.

    Raises:
        Lacking: there is no node, no npm, or no registry that has them.
    """
    if missing := [tool for tool in ("node", "npm") if not shutil.which(tool)]:
        raise s.Lacking(f"{missing[0]} is not installed")
    folder = CACHE / hashlib.sha256(PINS.read_bytes()).hexdigest()[:16]
    with alone(CACHE):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as name:
                _install(Path(name) / "new")
                os.rename(Path(name) / "new", folder)  # whole or not at all
    return folder / "node_modules"


def _install(folder: Path) -> None:
    folder.mkdir()
    shutil.copy(PINS, folder)
    done = subprocess.run(_INSTALL, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise s.Lacking(f"npm cannot install them: {done.stderr[-300:]}")


def command(client: str, url: str, model: str) -> list[str]:
    """The program of the session of ``npm:`` and a package's name."""
    file = FOLDER / f"{client.removeprefix(PREFIX)}_session.js"
    return ["env", f"NODE_PATH={installed()}", "node", str(file), url, model, json.dumps(s.WORDS)]
