"""What ``doctor`` says of the folder and the port, in places where something is wrong."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scripted import scripted_server
from trillama.base.settings import Settings
from trillama.commands import doctor


@pytest.fixture
def mute() -> Iterator[int]:
    """The port of a program that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_whose_owner_says_nothing_is_told(
    mute: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report goes on; it does not wait for ever."""
    monkeypatch.setattr(doctor, "PATIENCE", 0.01)
    finding = doctor.examine_port(Settings(host=f"127.0.0.1:{mute}").address)
    assert not finding.good
    assert finding.text.startswith(f"something else answers at http://127.0.0.1:{mute}: ")
    assert "timed out" in finding.text


def test_who_answers_at_the_port_is_told() -> None:
    """A server of ours or Ollama's is a good sign, another one is in the way."""
    with scripted_server() as script:
        address = Settings(host=f"127.0.0.1:{script.port}").address
        script.answers["/api/version"] = 200, {"version": "7.8"}
        assert doctor.examine_port(address).text.startswith("a server of version 7.8 answers")
        for reply in ({}, [1, 2], "text"):
            script.answers["/api/version"] = 200, reply
            finding = doctor.examine_port(address)
            assert not finding.good
            assert finding.text.startswith(f"something else answers at {address.url}: ")
    assert doctor.examine_port(address).text.endswith(" is free")


@pytest.mark.parametrize("host", ["192.0.2.1:0", "no.such.host.invalid"])
def test_an_address_that_is_not_ours_is_told(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers there, so nobody is said to; a server could not listen."""
    monkeypatch.setattr(doctor, "PATIENCE", 0.01)
    finding = doctor.examine_port(Settings(host=host).address)
    assert not finding.good
    assert "cannot listen at " in finding.text
    assert "answers" not in finding.text


def test_the_folder_is_one_that_can_be_used(tmp_path: Path) -> None:
    """There or yet to be made; a file in its place, or what cannot be looked at, is a trouble."""
    assert doctor.examine_store(tmp_path).good
    new = doctor.examine_store(tmp_path / "a" / "b")
    assert new.good
    assert "(new)" in new.text
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "file", tmp_path / "file" / "models", tmp_path / ("x" * 300)):
        finding = doctor.examine_store(wrong)
        assert not finding.good
        assert "set OLLAMA_MODELS to a folder" in finding.text
