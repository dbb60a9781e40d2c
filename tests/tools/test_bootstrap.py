"""Setting up is repeated only when something it depends on has changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import bootstrap
from tools.bootstrap import Stamp, Stop, choices, digest


def test_a_stamp_survives_its_file(tmp_path: Path) -> None:
    """What is written is what is read; a broken or missing file is no stamp."""
    path = tmp_path / "stamp"
    assert Stamp.read(path) is None
    stamp = Stamp("abc", {"CUDA": "1"})
    stamp.write(path)
    assert Stamp.read(path) == stamp
    for broken in ("{", "[]", '{"digest": "x"}'):
        path.write_text(broken)
        assert Stamp.read(path) is None


def test_a_choice_holds_until_it_is_made_anew() -> None:
    """``make test`` after ``make CUDA=1 run`` does not compile for the CPU again."""
    last = Stamp("", {"CUDA": "1", "CC": "clang"})
    assert choices({}, last) == {"CUDA": "1", "CC": "clang"}
    assert choices({"CUDA": "0"}, last) == {"CC": "clang"}
    assert choices({"CC": ""}, last) == {"CUDA": "1"}
    assert choices({"HOME": "x"}, None) == {}


def test_a_malformed_choice_is_refused_by_name() -> None:
    """CUDA=yes is a mistake, not a no."""
    with pytest.raises(Stop, match="CUDA is 'yes'"):
        choices({"CUDA": "yes"}, None)


def test_the_digest_follows_every_input(tmp_path: Path) -> None:
    """A changed lock, another build key: another environment."""
    lock = tmp_path / "a.lock"
    lock.write_text("one")
    before = digest("key", (lock,))
    assert digest("key", (lock,)) == before
    assert digest("other", (lock,)) != before
    lock.write_text("two")
    assert digest("key", (lock,)) != before


def test_an_old_python_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message carries the command that works."""
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    with pytest.raises(Stop, match=r"3\.10\.1 is too old.*PYTHON=python3\.11"):
        bootstrap.bootstrap()


def test_missing_system_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root the one command to type is shown, and nothing is run."""
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(bootstrap.os, "geteuid", lambda: 1000)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    with pytest.raises(Stop, match=rf"sudo apt-get install .*{version}"):
        bootstrap.ensure_system_packages()


@pytest.mark.parametrize(("code", "how"), [(-4, "SIGILL"), (1, "exit status 1")])
def test_a_build_that_does_not_run_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, how: str
) -> None:
    """The wheel is thrown away, the cause is named, and another way is shown."""
    wheel = tmp_path / "x.whl"
    wheel.touch()
    died = subprocess.CompletedProcess([], code)
    monkeypatch.setattr(bootstrap.subprocess, "run", lambda *_, **__: died)
    with pytest.raises(Stop, match=rf"{how}[\s\S]*CC=clang"):
        bootstrap.smoke(wheel)
    assert not wheel.exists()
