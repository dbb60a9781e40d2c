"""Start and stop the servers under test: same model file, same threads, same cells, same caches.

Each server is a child process on a free loopback port, with its output in a log file, and is gone
when its `with` block ends. A server that does not get ready in time is an error with its log.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench.equal_build import cache_dir, equal_server
from bench.load import Target
from bench.streams import DIALECTS

READY_LIMIT = 120.0
STOP_LIMIT = 20.0
SERVERS = ("trillama", "equal", "xllamacpp", "llama_cpp")
MODEL_NAME = "bench"


class NotReady(Exception):
    """A server died or stayed silent while starting; the text ends with its log."""


@dataclass(frozen=True)
class Setup:
    """What every server of a comparison gets alike.

    Attributes:
        context: cells of the whole pool, shared by `parallel` sequences.
        longest: positions one request needs; 0 for an equal part of the pool.
        unified: rivals keep one pool too; else they cut it into `parallel` equal parts.
        embedding: rivals are started to embed, which they cannot do beside generating.
        step_budget: only trillama has it: auto, off, or prompt tokens per step.
        kv_layout: only trillama has it: auto, streams or unified.
        queue: only trillama's: requests that may wait; 0 for its default.
        rival_flags: more arguments for llama-server.
    """

    model: Path
    parallel: int
    context: int
    threads: int
    longest: int = 0
    unified: bool = True
    embedding: bool = False
    step_budget: str = "auto"
    kv_layout: str = "auto"
    queue: int = 0
    rival_flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """How to run one server and what it then speaks; `ready` is a path that answers 200."""

    argv: list[str]
    api: str
    ready: str
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """A server that answers. `pid` is None for one that somebody else started."""

    target: Target
    pid: int | None
    started_in: float


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def trillama_command(setup: Setup, port: int, store: Path) -> Command:
    """`trillama serve` on a store that already holds the model."""
    env = {
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": str(store),
        "OLLAMA_NUM_PARALLEL": str(setup.parallel),
        "OLLAMA_CONTEXT_LENGTH": str(setup.longest or setup.context // setup.parallel),
        "OLLAMA_KEEP_ALIVE": "-1",
        "TRILLAMA_NUM_THREAD": str(setup.threads),
        "TRILLAMA_STEP_BUDGET": setup.step_budget,
        "TRILLAMA_KV_LAYOUT": setup.kv_layout,
    }
    if setup.queue:
        env["OLLAMA_MAX_QUEUE"] = str(setup.queue)
    return Command([sys.executable, "-m", "trillama", "serve"], "ollama", "/api/version", env)


def llama_server_command(binary: Path, setup: Setup, port: int) -> Command:
    """llama-server with the flags Ollama gives it, the quietest log and no web pages."""
    threads, cells = str(setup.threads), str(setup.context)
    argv = [str(binary), "--model", str(setup.model), "--host", "127.0.0.1", "--port", str(port)]
    argv += ["-c", cells, "-np", str(setup.parallel), "-t", threads, "-tb", threads]
    argv += ["--kv-unified" if setup.unified else "--no-kv-unified"]
    argv += ["--flash-attn", "auto", "--cache-type-k", "f16", "--cache-type-v", "f16"]
    if setup.embedding:
        argv += ["--embedding", "-b", "2048", "-ub", "2048"]
    argv += ["--no-webui", "--offline", "--log-verbosity", "1", *setup.rival_flags]
    return Command(argv, "llama", "/health")


def xllamacpp_command(setup: Setup, port: int) -> Command:
    """The llama-server inside the xllamacpp wheel, in its own environment."""
    script = Path(__file__).with_name("xllamacpp_child.py")
    sizes = [port, setup.context, setup.parallel, setup.threads, int(setup.unified)]
    sizes += [int(setup.embedding)]
    argv = [str(xllamacpp_python()), str(script), str(setup.model), *map(str, sizes)]
    return Command(argv, "llama", "/health")


def xllamacpp_python() -> Path:
    """Interpreter of a cached environment with xllamacpp in it, made on first use."""
    folder = cache_dir() / "xllamacpp"
    python = folder / "bin" / "python"
    if not (folder / ".complete").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "xllamacpp"], check=True)
        (folder / ".complete").touch()
    return python


def llama_cpp_command(setup: Setup, port: int) -> Command:
    """llama-cpp-python's own server, on the very library that we use."""
    argv = [sys.executable, "-m", "llama_cpp.server", "--model", str(setup.model)]
    argv += ["--host", "127.0.0.1", "--port", str(port), "--model_alias", MODEL_NAME]
    argv += ["--n_threads", str(setup.threads), "--n_threads_batch", str(setup.threads)]
    argv += ["--n_ctx", str(setup.context), "--verbose", "false"]
    if setup.embedding:
        argv += ["--embedding", "true", "--n_batch", "2048", "--n_ubatch", "2048"]
    path = os.pathsep.join(filter(None, [str(llama_cpp_extras()), os.environ.get("PYTHONPATH")]))
    return Command(argv, "openai", "/v1/models", {"PYTHONPATH": path})


def llama_cpp_extras() -> Path:
    """Cached folder with what that server imports beside the library, made on first use."""
    folder = cache_dir() / "llama_cpp_server"
    if not (folder / ".complete").exists():
        wanted = ["fastapi", "starlette-context", "sse-starlette", "uvicorn", "pydantic-settings"]
        pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder)]
        subprocess.run([*pip, *wanted, "PyYAML"], check=True)
        (folder / ".complete").touch()
    return folder


@contextmanager
def trillama_server(setup: Setup) -> Iterator[Running]:
    """Our server, with the model imported into a store of its own."""
    with tempfile.TemporaryDirectory(prefix="trillama-bench-") as folder:
        store = Path(folder)
        import_model(setup.model, store)
        with started(lambda port: trillama_command(setup, port, store)) as running:
            yield running


def import_model(model: Path, store: Path) -> None:
    """Put a GGUF file into a models folder under MODEL_NAME."""
    from trillama.models.store import Extras, ModelStore

    ModelStore(store).import_gguf(model, MODEL_NAME, Extras(link=True))


def open_server(who: str, setup: Setup) -> AbstractContextManager[Running]:
    """A server by name, one of SERVERS, or by address, `API:MODEL@URL`: that one is running already
    and set up by whoever started it. Raises ValueError for anything else."""
    if who == "trillama":
        return trillama_server(setup)
    if who == "equal":
        binary = equal_server()
        return started(lambda port: llama_server_command(binary, setup, port))
    if who == "xllamacpp":
        return started(lambda port: xllamacpp_command(setup, port))
    if who == "llama_cpp":
        return started(lambda port: llama_cpp_command(setup, port))
    return nullcontext(Running(parse_address(who), None, 0.0))


def parse_address(text: str) -> Target:
    """Read `API:MODEL@URL`; `URL` alone means ollama and MODEL_NAME. Raises ValueError."""
    how, _, url = text.rpartition("@")
    api, _, model = (how or f"ollama:{MODEL_NAME}").partition(":")
    if api not in DIALECTS or not model or not url.startswith("http://"):
        raise ValueError(f"{text!r} is none of {', '.join(SERVERS)} and no API:MODEL@http://...")
    return Target(url, api, model)


def leave_on_sigterm() -> None:
    """Make SIGTERM act as Ctrl-C, which trio knows how to deliver: no server outlives us. Shells
    start background jobs with Ctrl-C ignored, so it is set up as well."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


@contextmanager
def started(make: Callable[[int], Command]) -> Iterator[Running]:
    """Run a command on a free port until the block ends. Raises NotReady."""
    leave_on_sigterm()
    port = free_port()
    command = make(port)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OLLAMA_", "TRILLAMA_"))}
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command.argv, env=env | command.env, stdout=log, stderr=log)
        try:
            seconds = wait_ready(process, url + command.ready)
            yield Running(Target(url, command.api, MODEL_NAME), process.pid, seconds)
        except NotReady as error:
            log.seek(0)
            raise NotReady(f"{command.argv[0]}: {error}\n{log.read()[-3000:]}") from None
        finally:
            stop(process)


def wait_ready(process: subprocess.Popen[bytes], url: str) -> float:
    """Seconds until `url` answers 200. Raises NotReady."""
    begin = time.perf_counter()
    with httpx.Client(timeout=5, trust_env=False) as client:
        while time.perf_counter() - begin < READY_LIMIT:
            if process.poll() is not None:
                raise NotReady(f"ended with status {process.returncode}")
            try:
                if client.get(url).status_code == 200:
                    return time.perf_counter() - begin
            except httpx.TransportError:
                pass
            time.sleep(0.01)
    raise NotReady(f"no answer in {READY_LIMIT:.0f} s")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask, then insist."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def resident_bytes(pid: int | None, peak: bool = False) -> int:
    """Resident memory of a process, now or at its highest; 0 where it cannot be read (Linux only).

    Weights are mapped from the model file and count as soon as they were touched.
    """
    field_name = "VmHWM:" if peak else "VmRSS:"
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(x.split()[1]) << 10 for x in lines if x.startswith(field_name)), 0)
