"""The door to llama.cpp: its import, its version, its log, its start.

Every room that needs the library takes ``lib`` from here, so that three things are always done
first: a failed assertion no longer forks a debugger, the Python log callback that the binding
installs is gone (it would take the GIL for every line, from any thread), and the structures of the
binding were compared with the ones the library really uses.

Called by the other rooms of ``engine/``; nobody else may. It never loads a model and never prints.
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Mapping
from importlib import metadata
from types import TracebackType
from typing import Any

from trillama.base.errors import ModelLoadError

from .heaps import libc
from .huge_pages import HugePages, announced

# Read by ggml when an assertion fails; a value the user has set stays.
libc.setenv(b"GGML_NO_BACKTRACE", b"1", 0)

from llama_cpp import llama_cpp as lib  # noqa: E402

__all__ = ["LogTail", "lib", "library_version", "quick", "start"]

_SILENT = ctypes.cast(lib._lib.llama_time_us, lib.llama_log_callback)
"""A C function that ignores its arguments: logging into the void without touching Python."""
lib.llama_log_set(_SILENT, ctypes.c_void_p(None))

quick = ctypes.PyDLL(lib._lib._name)
"""The same library called without dropping the GIL: only for calls of a microsecond."""

BINDING, LIBRARY = "0.3.36", "0.5.0-dev"
_CONTEXT_DEFAULTS = {
    "n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "n_outputs_max_per_seq": 1,
    "flash_attn_type": -1, "yarn_beta_slow": -1.0, "type_k": 1, "type_v": 1, "offload_kqv": True,
    "no_perf": True, "swa_full": True, "kv_unified": False, "n_samplers": 0, "ctx_other": None,
}  # fmt: skip
_MODEL_DEFAULTS = {
    "devices": None, "n_gpu_layers": -1, "split_mode": 1, "load_mode": -1, "lazy_mode": 1,
    "main_gpu": 0, "vocab_only": False, "use_extra_bufts": True, "load_mtp": False,
}  # fmt: skip

_start_lock = threading.Lock()
_started = False


def library_version() -> str:
    """Version of the library and of the binding."""
    version = lib.llama_version().decode()
    return f"llama.cpp {version} (llama-cpp-python {metadata.version('llama_cpp_python')})"


def start() -> None:
    """Start llama.cpp once per process; further calls do nothing.

    Raises:
        ModelLoadError: the library is not the one whose structures this package knows.
    """
    global _started
    with _start_lock:
        if not _started:
            check_library()
            lib.llama_backend_init()
            _started = True


def check_library() -> None:
    """Compare versions and default parameters with the known ones.

    A structure that has moved by one field would be filled with nonsense in silence.

    Raises:
        ModelLoadError: something differs; the message names it.
    """
    found = metadata.version("llama_cpp_python"), lib.llama_version().decode()
    if found != (BINDING, LIBRARY):
        raise ModelLoadError(
            f"llama-cpp-python {found[0]} with llama.cpp {found[1]} is not supported; "
            f"install llama-cpp-python {BINDING}"
        )
    _check_defaults(lib.llama_context_default_params(), _CONTEXT_DEFAULTS)
    _check_defaults(lib.llama_model_default_params(), _MODEL_DEFAULTS)


def _check_defaults(struct: Any, expected: Mapping[str, object]) -> None:
    for field, value in expected.items():
        if getattr(struct, field) != value:
            raise ModelLoadError(
                f"llama.cpp does not match its binding: {type(struct).__name__}.{field} is "
                f"{getattr(struct, field)!r}, not {value!r}"
            )


_CONTINUED, _ERROR = 5, 4
"""enum ggml_log_level of ggml.h; the binding's own comment names older numbers."""
_tails: dict[int, LogTail] = {}
_tails_lock = threading.Lock()


class LogTail:
    """What the library wrote from this thread while the ``with`` block ran.

    The library has one log callback for the process. Loads on other threads keep their own tails,
    and outside such blocks nothing of Python runs for a log line. A line that tells of a buffer is
    the moment to see about its pages.
    """

    def __init__(self) -> None:
        self._lines: deque[tuple[int, str]] = deque(maxlen=256)
        self._pages = HugePages()

    def __enter__(self) -> LogTail:
        with _tails_lock:
            _tails[threading.get_ident()] = self
            lib.llama_log_set(_collect, ctypes.c_void_p(None))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        with _tails_lock:
            _tails.pop(threading.get_ident(), None)
            if not _tails:
                lib.llama_log_set(_SILENT, ctypes.c_void_p(None))

    def add(self, level: int, text: bytes) -> None:
        """Take one piece of log; a continuation is joined to the line before it."""
        line = text.decode("utf-8", "replace").rstrip("\n")
        if level == _CONTINUED and self._lines:
            level, begun = self._lines.pop()
            line = begun + line
        self._lines.append((level, line))
        if announced(line):
            self._pages.ask()

    @property
    def lines(self) -> list[str]:
        """All lines kept, oldest first."""
        return [line for _, line in self._lines]

    def failure(self, what: str) -> ModelLoadError:
        """An error for the failed call: its first cause in the message, the rest as a note.

        The first error line names the cause, those after it only who passed it on.
        """
        errors = [line for level, line in self._lines if level == _ERROR] or self.lines[-2:]
        cause = _without_function(errors[0]) if errors else "llama.cpp gave no reason"
        error = ModelLoadError(f"{what}: {cause}")
        if errors:
            error.add_note("llama.cpp: " + " | ".join(errors))
        return error


def _without_function(line: str) -> str:
    """Drop the name of the C function in front of a line."""
    name, colon, rest = line.partition(":")
    return rest.strip() if colon and name.strip().isidentifier() else line.strip()


def _take(level: int, text: bytes | None, _data: object) -> None:
    tail = _tails.get(threading.get_ident())
    if tail is not None and text:
        tail.add(level, text)


_collect = lib.llama_log_callback(_take)
