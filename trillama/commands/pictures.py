"""Pictures and sounds in a prompt: files whose paths stand in it.

Which words are paths, and what is sent, is as in Ollama; facts: its cmd/interactive.go.
"""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path

from trillama.base.errors import BadRequest

MOST_BYTES = 100 << 20
_PATH = re.compile(
    r"(?:[a-zA-Z]:)?(?:\./|/|\\)[\S\\ ]+?\.(?:jpg|jpeg|png|webp|wav)\b", re.IGNORECASE
)
_ESCAPED = re.compile(r"\\([ ()\[\]{}$&;'\\*?~])")
_KINDS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"RIFF": "",  # the word after the length says which
}
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wave"}


def pictures_in(text: str) -> tuple[str, list[str]]:
    """A prompt without the paths of files that are there, and those files in base64.

    Raises:
        BadRequest: a file is too large or neither picture nor sound.
    """
    found: list[str] = []
    for spelled in dict.fromkeys(_PATH.findall(text)):
        path = Path(_ESCAPED.sub(r"\1", spelled))
        if not path.is_file():
            continue
        found.append(base64.b64encode(_read(path)).decode())
        text = text.replace(f"'{spelled}'", "").replace(spelled, "")
    return (text.strip() if found else text), found


def _read(path: Path) -> bytes:
    if path.stat().st_size > MOST_BYTES:
        raise BadRequest(f'Couldn\'t process file: "{path}": larger than 100 MB')
    data = path.read_bytes()
    kind = kind_of(data)
    if not kind:
        raise BadRequest(f'Couldn\'t process file: "{path}": neither picture nor sound')
    what = "audio" if kind.startswith("audio") else "image"
    print(f"Added {what} '{path}'", file=sys.stderr)
    return data


def kind_of(data: bytes) -> str:
    """The media type of a file by its first bytes, "" for one that is not sent."""
    begins = next((kind for start, kind in _KINDS.items() if data.startswith(start)), None)
    return _RIFF.get(data[8:12], "") if begins == "" else begins or ""
