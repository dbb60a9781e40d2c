"""A probe in a child process tells facts, or how the child ended."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trillama.base.errors import ModelLoadError
from trillama.engine.probe import probe_in_child


def test_a_working_model_is_described(tiny_random_path):
    """Architecture, sizes and times come back through one line of JSON."""
    report = probe_in_child(str(tiny_random_path))
    assert (report["architecture"], report["memory"]) == ("llama", "attention")
    assert report["vocabulary"] == 273
    assert report["prompt_tokens"] > 10
    assert min(report["load_ms"], report["context_ms"], report["token_ms"]) > 0
    assert "llama.cpp" in report["library"]


def test_a_broken_model_is_an_error_with_its_cause(tmp_path):
    """The child's error comes back as ours."""
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"junk" * 100)
    with pytest.raises(ModelLoadError, match="invalid magic"):
        probe_in_child(str(path))


def run_instead(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let the child run ``program`` in place of the probe."""
    real = subprocess.run

    def run(command, **options):
        return real([sys.executable, "-c", program], **options)

    monkeypatch.setattr(subprocess, "run", run)


def test_a_child_that_dies_is_an_error_that_names_the_signal(monkeypatch):
    """An abort of the library is told, with the last thing it wrote."""
    run_instead(
        monkeypatch,
        "import os, sys; print('assert failed', file=sys.stderr, flush=True); os.abort()",
    )
    with pytest.raises(ModelLoadError, match="SIGABRT: assert failed"):
        probe_in_child("any.gguf")


def test_a_child_that_says_nothing_is_an_error(monkeypatch):
    """No report is no success."""
    run_instead(monkeypatch, "raise SystemExit('out of luck')")
    with pytest.raises(ModelLoadError, match="ended with 1: out of luck"):
        probe_in_child("any.gguf")


def test_a_child_that_hangs_is_given_up(monkeypatch):
    """The wait has an end."""
    run_instead(monkeypatch, "import signal; signal.pause()")
    with pytest.raises(ModelLoadError, match="no result after"):
        probe_in_child("any.gguf", timeout=0.3)
