"""Each measurement of the GPU tables, as a plain function that starts what it needs and stops it.

Every function returns what goes into the JSON of results and raises when there is nothing to tell.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import msgspec

from bench.gpu import nvidia
from bench.load import Load, measure
from bench.servers import (
    Command,
    Running,
    Setup,
    import_model,
    llama_server_command,
    resident_bytes,
    started,
    trillama_command,
)
from bench.stall import Question, ask_running
from bench.steps import read_steps, share_of_steps

RIVAL_FLAGS = ("-ngl", "999", "--fit", "off")
"""Everything on the GPU, and no search for what fits: it costs seconds of every start."""
CELL_PADDING = 256


@dataclass(frozen=True)
class Tools:
    """Where the programs of llama.cpp lie; `threads` is for the CPU's part of the work."""

    binaries: Path
    threads: int

    def program(self, name: str) -> Path:
        """Path of a program. Raises FileNotFoundError."""
        path = self.binaries / name
        if not path.exists():
            raise FileNotFoundError(f"no {name} in this build")
        return path


@dataclass(frozen=True)
class Case:
    """One model under closed-loop loads, all of the same lengths."""

    model: Path
    prompt_tokens: int
    new_tokens: int

    @property
    def cells(self) -> int:
        """Cells of one client, as llama.cpp rounds them up."""
        return -(-(self.prompt_tokens + self.new_tokens + 1) // CELL_PADDING) * CELL_PADDING

    def setup(self, parallel: int, tools: Tools) -> Setup:
        """Room for `parallel` clients, one part of the rival's cache for each."""
        context = parallel * self.cells
        flags = RIVAL_FLAGS
        return Setup(self.model, parallel, context, tools.threads, unified=False, rival_flags=flags)

    def load(self, clients: int, waves: int, seed: int) -> Load:
        return Load(
            clients, self.prompt_tokens, self.new_tokens, clients * waves, seconds=60, seed=seed
        )


@contextmanager
def ours(setup: Setup, program: Sequence[str] = ("trillama", "serve")) -> Iterator[Running]:
    """Our server on the model; `program` is what `python -m` runs, with its arguments."""
    store = store_of(setup.model)

    def command(port: int) -> Command:
        made = trillama_command(setup, port, store)
        return replace(made, argv=[sys.executable, "-m", *program])

    with started(command) as running:
        yield running


def store_of(model: Path) -> Path:
    """A models folder beside the file, made once: an import reads all of it for its digest."""
    store = model.with_name(f"{model.stem}-store")
    if not store.exists():
        half = store.with_name(f"{store.name}.part")
        import_model(model, half)
        half.rename(store)
    return store


@contextmanager
def rival(setup: Setup, tools: Tools) -> Iterator[Running]:
    """llama-server of the same build on the model."""
    binary = tools.program("llama-server")
    with started(lambda port: llama_server_command(binary, setup, port)) as running:
        yield running


def run_loads(server: Running, loads: Sequence[Load]) -> list[dict[str, Any]]:
    """Figures of one load after another on one server, each with the number of its clients."""
    found = []
    for load in loads:
        summary, replies = measure(server.target, load)
        errors = sorted({reply.error for reply in replies if reply.error})[:3]
        figures = msgspec.to_builtins(summary) | {"clients": load.clients}
        found.append(figures | {"said": errors})
    return found


def ours_under(setup: Setup, loads: Sequence[Load]) -> dict[str, Any]:
    """One server of ours for all loads: it has no slots to tune."""
    with ours(setup) as server:
        return {
            "started_in": server.started_in,
            "loads": run_loads(server, loads),
            "vram_mib": nvidia.memory_used(),
            "peak_memory": resident_bytes(server.pid, peak=True),
        }


def rival_under(setup: Setup, loads: Sequence[Load], tools: Tools) -> dict[str, Any]:
    """A rival with as many slots as `setup.parallel` says."""
    with rival(setup, tools) as server:
        return {
            "started_in": server.started_in,
            "loads": run_loads(server, loads),
            "vram_mib": nvidia.memory_used(),
            "peak_memory": resident_bytes(server.pid, peak=True),
        }


def one_at_a_time(setup: Setup, load: Load, tools: Tools) -> dict[str, Any]:
    """The rival with one slot and a crowd before it: the rate while it lasts. Requests that the
    time limit cuts off count nothing, nor does the time after the last that ended."""
    with rival(replace(setup, parallel=1), tools) as server:
        _, replies = measure(server.target, load, warm_up=False)
    done = [reply for reply in replies if reply.error is None]
    if not done:
        raise RuntimeError("no request ended in time")
    seconds = max(r.ended for r in done) - min(r.sent for r in replies)
    tokens = sum(reply.output_tokens for reply in done)
    return {"clients": load.clients, "ended": len(done), "output_rate": tokens / seconds}


def batched_bench(case: Case, clients: Sequence[int], unified: bool, tools: Tools) -> list[Any]:
    """llama-batched-bench's own rows: the rate without sampling, serving or anything else."""
    npl = ",".join(map(str, clients))
    cells = max(clients) * case.cells
    command = [str(tools.program("llama-batched-bench")), "-m", str(case.model), "-ngl", "999"]
    command += ["-c", str(cells), "-b", "2048", "-ub", "512", "-npp", str(case.prompt_tokens)]
    command += ["-ntg", str(case.new_tokens), "-npl", npl, "-t", str(tools.threads)]
    command += ["--output-format", "jsonl", "--fit", "off"] + ["-kvu"] * unified
    return _json_lines(_output(command, 120))


def weights(
    setup: Setup, case: Case, loads: Sequence[Load], clients: Sequence[int], tools: Tools
) -> dict[str, Any]:
    """The same shape in other weights: llama-batched-bench's rows, and our server under loads."""
    ceiling = batched_bench(case, clients, False, tools)
    return {"ceiling": ceiling, "bytes": case.model.stat().st_size} | ours_under(setup, loads)


def ranks(model: Path, rows: int) -> dict[str, Any]:
    """A step with whole rows of logits against one with the best ranked on the device."""
    command = [sys.executable, "-m", "bench.ranks", str(model), "--rows", str(rows)]
    found: dict[str, Any] = _json_lines(_output(command, 120))[0]
    return found


def prompt_rates(
    model: Path, prompt: int, micro_batches: Sequence[int], tools: Tools
) -> list[dict[str, Any]]:
    """Prompt tokens a second for each size of a graph execution, by llama-bench."""
    sizes = ",".join(map(str, micro_batches))
    command = [str(tools.program("llama-bench")), "-m", str(model), "-p", str(prompt), "-n", "0"]
    command += ["-b", str(max(micro_batches)), "-ub", sizes, "-fa", "1", "-r", "3", "-o", "jsonl"]
    rows = _json_lines(_output(command, 120))
    return [{"n_ubatch": row["n_ubatch"], "prompt_rate": row["avg_ts"]} for row in rows]


def stall(setup: Setup, question: Question, who: str, tools: Tools) -> dict[str, Any]:
    """A long prompt among streams; `who` is trillama or equal."""
    parallel, longest = question.streams + 1, question.prompt_tokens + 512
    room = replace(setup, parallel=parallel, context=question.cells, longest=longest, unified=True)
    server = ours(room) if who == "trillama" else rival(room, tools)
    with server as running:
        answer = ask_running(who, running.target, question)
    found: dict[str, Any] = msgspec.to_builtins(answer)
    return found


def step_shares(setup: Setup, load: Load) -> dict[str, Any]:
    """Where the time of full steps goes on our server under a load, in medians and sums."""
    with tempfile.TemporaryDirectory(prefix="trillama-bench-") as folder:
        times = Path(folder) / "times.json"
        with ours(setup, ("bench.timed_serve", str(times))) as server:
            summary, _ = measure(server.target, load)
        steps = read_steps(times)
    return share_of_steps(steps, load.clients) | {"output_rate": summary.output_rate}


def load_cycles(setup: Setup, cycles: int) -> dict[str, Any]:
    """Load and unload again and again over the API; memory after each unload, in MiB: VRAM, or
    the server's own where there is no GPU. Times in seconds."""
    with ours(setup) as server:
        url = f"{server.target.url}/api/generate"
        memory, loads, unloads = [], [], []
        with httpx.Client(timeout=120, trust_env=False) as client:
            for _ in range(cycles):
                loads.append(_post(client, url, {"model": "bench"}))
                unloads.append(_post(client, url, {"model": "bench", "keep_alive": 0}))
                memory.append(_settled_memory(server.pid))
    return {"loads": loads, "unloads": unloads, "memory_mib": memory}


def _post(client: httpx.Client, url: str, body: dict[str, Any]) -> float:
    begin = time.perf_counter()
    client.post(url, json=body | {"stream": False}).raise_for_status()
    return time.perf_counter() - begin


def _settled_memory(pid: int | None) -> float:
    """Memory in use once two readings agree: an unload answers before everything is given back."""
    before = -1.0
    for _ in range(40):
        used = nvidia.memory_used()
        now = used if used is not None else resident_bytes(pid) / 2**20
        if now == before:
            break
        before = now
        time.sleep(0.1)
    return now


def read_against_load(setup: Setup) -> dict[str, Any]:
    """Seconds to read the file once and to load it, from a warm page cache and, where we may empty
    it, from the disk; and what the library alone needs, without server, context and first decode:
    for weights and words, and for words alone.
    """
    found: dict[str, Any] = {"bytes": setup.model.stat().st_size}
    if _drop_caches():
        found["read_cold"] = _read(setup.model)
    found["read_warm"] = min(_read(setup.model) for _ in range(2))
    for name, how in LIBRARY_LOADS.items():
        found[name] = _library_load(setup.model, how)
    with ours(setup) as server, httpx.Client(timeout=120, trust_env=False) as client:
        url = f"{server.target.url}/api/generate"
        found["load_first"] = _post(client, url, {"model": "bench"})
        _post(client, url, {"model": "bench", "keep_alive": 0})
        found["load_warm"] = _post(client, url, {"model": "bench"})
        _post(client, url, {"model": "bench", "keep_alive": 0})
        if _drop_caches():
            found["load_cold"] = _post(client, url, {"model": "bench"})
    return found


def _read(path: Path) -> float:
    begin = time.perf_counter()
    buffer = bytearray(1 << 24)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.perf_counter() - begin


def _drop_caches() -> bool:
    """Empty the page cache; False where that is not allowed or asked for."""
    if os.environ.get("BENCH_DROP_CACHES") != "1":
        return False
    try:
        ctypes.CDLL(None).sync()
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError:
        return False
    return True


LIBRARY_LOADS = {
    "library_mapped": "use_mmap=True",
    "library_read": "use_mmap=False",
    "library_words": "vocab_only=True",
}
LIBRARY_LOAD = """
import sys, time
from trillama.engine.base import LoadParams
from trillama.engine.llama import LlamaBackend
backend, times = LlamaBackend(), []
for _ in range(2):
    begin = time.perf_counter()
    model = backend.load(sys.argv[1], LoadParams({how}))
    times.append(time.perf_counter() - begin)
    model.close()
print(times[-1])
"""
"""The second of two loads: the first one of a process also wakes the GPU."""


def _library_load(model: Path, how: str) -> float:
    command = [sys.executable, "-c", LIBRARY_LOAD.format(how=how), str(model)]
    return float(_output(command, 120).split()[-1])


def _output(command: Sequence[str], limit: float) -> str:
    """Standard output of a program. Raises RuntimeError with the end of its words."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{command[0]}: no end in {limit:.0f} s") from None
    if done.returncode:
        raise RuntimeError(f"{command[0]}: status {done.returncode}: {done.stderr[-800:]}")
    return done.stdout


def _json_lines(text: str) -> list[Any]:
    lines = [line.strip() for line in text.splitlines()]
    rows = [msgspec.json.decode(line) for line in lines if line.startswith("{")]
    if not rows:
        raise RuntimeError(f"no results in: {text[-500:]}")
    return rows


def rate(run: dict[str, Any], clients: int) -> float:
    """Output tokens a second of a run at a number of clients. Raises StopIteration."""
    return float(next(x for x in run["loads"] if x["clients"] == clients)["output_rate"])
