"""Paths in a prompt: which are taken for pictures and sounds, and what is sent."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from trillama.base.errors import BadRequest
from trillama.commands.pictures import kind_of, pictures_in

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
JPEG = b"\xff\xd8\xff\xe0" + bytes(8)
WAVE = b"RIFF\x00\x00\x00\x00WAVEfmt "


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (JPEG, "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (WAVE, "audio/wave"),
        (b"RIFF\x00\x00\x00\x00AVI ", ""),
        (b"hello", ""),
        (b"", ""),
    ],
)
def test_kinds_are_told_by_first_bytes(data: bytes, kind: str) -> None:
    """Not by the name."""
    assert kind_of(data) == kind


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("a.png", "{folder}/a.png"),
        ("A.JPG", "{folder}/A.JPG"),
        ("a b.png", "{folder}/a b.png"),
        ("a b.png", "{folder}/a\\ b.png"),
        ("a (1).png", "'{folder}/a (1).png'"),
        ("a.wav", "{folder}/a.wav"),
    ],
)
def test_files_that_are_there_are_taken_out_of_the_text(
    name: str, spelled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quoted, escaped or plain, with blanks too; it is told what was added."""
    data = WAVE if name.endswith("wav") else PNG
    (tmp_path / name).write_bytes(data)
    text, found = pictures_in(f"look at {spelled.format(folder=tmp_path)}")
    assert text == "look at"
    assert [base64.b64decode(one) for one in found] == [data]
    assert capsys.readouterr().err.startswith(("Added image '", "Added audio '"))


@pytest.mark.parametrize("text", ["see /nowhere/a.png", "a.png", "no path at all", " kept as is "])
def test_other_texts_stay_as_they_are(text: str) -> None:
    """What is not there, or no path, is text."""
    assert pictures_in(text) == (text, [])


def test_a_file_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    """Before anything is sent."""
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(BadRequest, match="neither picture nor sound"):
        pictures_in(f"see {tmp_path}/a.png")
