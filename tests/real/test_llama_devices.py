"""Devices and CPU threads."""

from __future__ import annotations

import os

import pytest

from trillama.engine import devices


def test_the_cpu_is_among_the_devices(backend):
    """It has a name and memory."""
    found = backend.devices()
    cpu = next(one for one in found if one.kind == "cpu")
    assert cpu.name
    assert cpu.total >= cpu.free > 0
    assert devices.gpu_count() == sum(one.kind in ("gpu", "igpu") for one in found)


def test_threads_stay_within_what_the_process_may_use():
    """At least one, at most the CPUs of its affinity."""
    assert 1 <= devices.physical_cores() <= len(os.sched_getaffinity(0))


def test_twins_of_a_core_count_once(monkeypatch, tmp_path):
    """Eight CPUs in four cores are worth four threads."""
    for cpu in range(8):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    monkeypatch.setattr(devices, "_CPU_FOLDER", tmp_path)
    monkeypatch.setattr(devices, "_CPU_QUOTA", tmp_path / "none")
    monkeypatch.setattr(devices, "_allowed_cpus", lambda: set(range(8)))
    assert devices.physical_cores() == 4
    monkeypatch.setattr(devices, "_allowed_cpus", lambda: {0, 4, 5})
    assert devices.physical_cores() == 2


@pytest.mark.parametrize(
    ("text", "cores"),
    [("max 100000", 16), ("200000 100000", 2), ("250000 100000", 3), ("50000 100000", 1)],
)
def test_a_containers_quota_counts(monkeypatch, tmp_path, text, cores):
    """Threads beyond the granted CPU time would only wait for each other."""
    quota = tmp_path / "cpu.max"
    quota.write_text(text + "\n")
    monkeypatch.setattr(devices, "_CPU_QUOTA", quota)
    monkeypatch.setattr(devices, "_CPU_FOLDER", tmp_path / "none")
    monkeypatch.setattr(devices, "_allowed_cpus", lambda: set(range(16)))
    assert devices.physical_cores() == cores
