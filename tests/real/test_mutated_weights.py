"""Damaged weights that pass our checks must not end the process inside llama.cpp."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from pathlib import Path

from trillama.base.errors import ModelLoadError
from trillama.models.gguf import read_gguf
from trillama.models.validation import validate_weights

LOAD_EACH = """
import sys
from trillama.base.errors import TrillamaError
from trillama.engine.base import ContextParams, LoadParams
from trillama.engine.llama import LlamaBackend
backend = LlamaBackend()
for path in sys.argv[1:]:
    print(path, flush=True)
    try:
        model = backend.load(path, LoadParams())
    except TrillamaError:
        continue
    try:
        model.open_context(ContextParams(cells=256, sequences=2, batch=64, micro_batch=64)).close()
    except TrillamaError:
        pass
    finally:
        model.close()
"""
MUTANTS = 60


def mutate(data: bytes, header: int, rng: random.Random) -> bytes:
    """One value overwritten, near the hyper-parameters, near the tensors or anywhere."""
    at = rng.choice(
        [rng.randrange(1500), rng.randrange(header - 2500, header), rng.randrange(header)]
    )
    patch = rng.choice(
        [
            rng.randbytes(1),
            b"\xff" * 4,
            bytes(4),
            struct.pack("<I", rng.randrange(600)),
            struct.pack("<f", rng.choice([-1.0, float("nan"), float("inf"), 1e30])),
        ]
    )
    return data[:at] + patch + data[at + len(patch) :]


def test_what_passes_the_checks_does_not_kill(tiny_random_path: Path, tmp_path: Path) -> None:
    """Mutated files that validate_weights lets through load, or fail as errors."""
    sound = tiny_random_path.read_bytes()
    header = read_gguf(tiny_random_path).data_offset
    rng = random.Random(20)
    passed: list[str] = []
    for number in range(MUTANTS * 4):
        path = tmp_path / f"{number}.gguf"
        path.write_bytes(mutate(sound, header, rng))
        try:
            validate_weights(path)
        except ModelLoadError:
            continue
        passed.append(str(path))
    assert len(passed) >= MUTANTS
    run = subprocess.run(
        [sys.executable, "-c", LOAD_EACH, *passed[:MUTANTS]],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    last = run.stdout.splitlines()[-1:]
    assert run.returncode == 0, f"{last} ended the process: {run.stderr[-500:]}"
    assert last == passed[MUTANTS - 1 : MUTANTS]
