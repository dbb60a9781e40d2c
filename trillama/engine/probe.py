"""One short decode in a process of its own: does this model work with this library, here?

``python -m trillama.engine.probe PATH`` loads the model, decodes a prompt and a few tokens, and
prints one JSON object of facts and times. A model that aborts llama.cpp ends only this child;
``probe_in_child`` starts it and turns its death into an error. ``trillama doctor`` is the caller.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np

from trillama.base.errors import EngineDied, EngineError, ModelLoadError, TrillamaError

from .base import Context, ContextParams, DecodeStatus, LoadParams, Model

_TEXT = "A short text that every model can read, to see that it computes something at all."
_STEPS = 8
_CONTEXT = ContextParams(cells=512, sequences=1, batch=256, micro_batch=256, outputs=1)


def probe(path: str) -> dict[str, Any]:
    """Load the model, decode with it, and tell what was seen; times in milliseconds.

    Raises:
        TrillamaError: the model cannot be loaded or does not compute.
    """
    from .llama import LlamaBackend

    backend = LlamaBackend()
    begin = time.perf_counter()
    model = backend.load(path, LoadParams())
    loaded = time.perf_counter()
    try:
        context = model.open_context(_CONTEXT)
        opened = time.perf_counter()
        report = _facts(model) | _decode(context)
    finally:
        model.close()
    report |= {"library": backend.version(), "devices": [one.name for one in backend.devices()]}
    return report | {"load_ms": _ms(loaded - begin), "context_ms": _ms(opened - loaded)}


def probe_in_child(path: str, timeout: float = 300) -> dict[str, Any]:
    """What ``probe`` tells, from a child process that may die of it.

    Args:
        timeout: seconds to wait for the child.

    Raises:
        EngineDied: a signal ended the child: the library or its build does not work here.
        ModelLoadError: the model does not work; the message says how it failed.
    """
    command = [sys.executable, "-m", __spec__.name, path]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise ModelLoadError(f"no result after {timeout:g} s") from None
    if child.returncode < 0:
        raise EngineDied(f"llama.cpp died of {_signal_name(-child.returncode)}{_end(child)}")
    try:
        report: dict[str, Any] = json.loads(child.stdout)
    except ValueError:
        raise ModelLoadError(f"the probe ended with {child.returncode}{_end(child)}") from None
    if "error" in report:
        raise ModelLoadError(report["error"])
    return report


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(child: subprocess.CompletedProcess[str]) -> str:
    last = child.stderr.strip().splitlines()[-1:]
    return f": {last[0]}" if last else ""


def _facts(model: Model) -> dict[str, Any]:
    facts = model.facts
    return {
        "architecture": facts.architecture,
        "description": facts.description,
        "parameters": facts.parameters,
        "size": facts.size,
        "memory": facts.memory.value,
        "train_context": facts.train_context,
        "vocabulary": model.vocabulary.size,
    }


def _decode(context: Context) -> dict[str, Any]:
    """Decode a prompt, then some tokens greedily."""
    tokens = context.vocabulary.tokenize(_TEXT)[: context.limits.batch]
    batch = context.new_batch()
    begin = time.perf_counter()
    batch.add_run(0, 0, tokens)
    batch.want_last()
    token = _step(context, batch)
    prompted = time.perf_counter()
    for position in range(len(tokens), len(tokens) + _STEPS):
        batch.clear()
        batch.add_heads([token], [position], [0])
        token = _step(context, batch)
    ended = time.perf_counter()
    return {
        "prompt_tokens": len(tokens),
        "prompt_ms": _ms(prompted - begin),
        "token_ms": _ms((ended - prompted) / _STEPS),
    }


def _step(context: Context, batch: Any) -> int:
    status = context.decode(batch)
    if status is not DecodeStatus.OK:
        raise EngineError(f"the decode failed: {status.name}")
    row = context.logits()[0]
    if not np.isfinite(row.max()):
        raise EngineError("the model computes logits that are not finite")
    return int(row.argmax())


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def main(arguments: list[str]) -> int:
    """Probe the one path given and write the report to standard output."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m trillama.engine.probe PATH\n")
        return 2
    try:
        report = probe(arguments[0])
    except TrillamaError as error:
        report = {"error": error.message}
    sys.stdout.write(json.dumps(report) + "\n")
    return 1 if "error" in report else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
