"""The ed25519 key that registries know this machine by, in Ollama's place and form.

``~/.ollama/id_ed25519`` as an OpenSSH private key, mode 0600, its public half beside it in
``.pub``. Made when it is first needed. Functions block and belong on a worker thread.
"""

from __future__ import annotations

import base64
import contextlib
import os
from pathlib import Path

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .errors import KeyTrouble

log = structlog.get_logger(__name__)


class Key:
    """A key pair that can sign.

    Attributes:
        line: the public key as a line of ``authorized_keys``, without a comment.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        public = private.public_key()
        self.line = public.public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        ).decode()

    def authorization(self, text: str) -> str:
        """Value of an Authorization header that signs ``text``: public key, colon, signature."""
        signature = base64.b64encode(self._private.sign(text.encode())).decode()
        return f"{self.line.split()[1]}:{signature}"


def load_key(path: Path) -> Key:
    """The key of this machine; makes one where there is none.

    Raises:
        KeyTrouble: it cannot be read, is no unencrypted ed25519 key, or cannot be made.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            return _read(path)
        with contextlib.suppress(FileExistsError):
            _make(path)
        return _read(path)
    except OSError as error:
        raise KeyTrouble(f"{path}: {error.strerror or error}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyTrouble(f"{path} is no usable private key: {error}") from None


def _read(path: Path) -> Key:
    private = serialization.load_ssh_private_key(path.read_bytes(), password=None)
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError("it is not of the kind ed25519")
    return Key(private)


def _make(path: Path) -> None:
    private = Ed25519PrivateKey.generate()
    data = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    line = Key(private).line + "\n"
    # Whole or not at all, and never over a key that another process has just made.
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        _write(temporary, data, 0o600)
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        _write(path.with_name(path.name + ".pub"), line.encode(), 0o644)
    log.info("key made", path=str(path), public_key=line.strip())


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        os.fsync(descriptor)
