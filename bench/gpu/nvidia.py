"""What nvidia-smi says: the card, the memory in use. Nothing of ours asks the driver itself."""

from __future__ import annotations

import subprocess

FIELDS = ("name", "driver_version", "memory.total", "power.limit", "clocks.max.sm")


def query(*fields: str) -> list[str] | None:
    """Values of the first GPU, None where there is none."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return None
    return [word.strip() for word in lines[0].split(",")]


def describe() -> dict[str, str]:
    """The card, for the facts of a result."""
    return dict(zip(FIELDS, query(*FIELDS) or (), strict=False))


def memory_used() -> float | None:
    """MiB in use on the first GPU, by everybody."""
    values = query("memory.used")
    return float(values[0]) if values else None
