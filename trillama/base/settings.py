"""All settings, read once: defaults < config file < environment < flags.

Every variable of Ollama is honoured under its own name; trillama's own are ``TRILLAMA_*``, and
``TRILLAMA_X`` wins over ``OLLAMA_X``. A malformed value names its variable and refuses to start
(Ollama warns and goes on with a default). This is the only module that reads the environment.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from .address import Address, check_origin, parse_host
from .durations import FOREVER, HOUR, MINUTE, SECOND, parse_duration
from .errors import SettingError
from .registries import Proxies, Registry, parse_registry, parse_url


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Frozen for the life of the process; durations in nanoseconds, sizes in bytes.

    Attributes:
        host: bind address for the server, target for the client, as given (see ``address``).
        models: folder of the model store, Ollama's layout.
        keep_alive: how long an idle model stays loaded; FOREVER when negative.
        load_timeout: limit without load progress; 0 means none.
        max_loaded_models: models resident at once; 0 chooses.
        num_parallel: cap on sequences generating at once per model; 0 means the engine's limit.
        max_queue: requests waiting, for loaded and unloaded models alike.
        max_queue_tokens: prompt tokens waiting for one model; 0 means 64 times its pool.
        request_timeout: how long any request may take; 0 means no limit.
        context_length: positions a request may use and KV cells of a model's pool; 0 chooses.
        kv_layout: "streams" (each request ``context_length`` cells of its own), "unified" (one pool
            of them for all), or "auto": streams where ``num_parallel`` is set and they fit.
        memory_limit: bytes of the host's memory that all models together may take; 0 for no limit.
        gpu_overhead: bytes of each GPU that are not for models.
        sched_spread: use all GPUs even where one would do.
        preload: models to load at the start.
        kv_memory: bytes that streams may take; 0 means a share of what is free.
        origins: extra CORS origins, before the built-in ones.
        flash_attention: None lets the library decide.
        kv_cache_type: "" means f16.
        drain_timeout: how long running answers may go on after SIGTERM.
        stall_timeout: how long a client may read nothing before its answer is ended.
        step_budget: prompt tokens per step while others generate: "auto", "off" or a number.
        prefix_cache: keep finished sequences for reuse.
        speculation: guess what answers say next where that pays.
        host_cache: bytes of the host's memory, for each model, that keep what its KV cache has no
            room for.
        num_thread: CPU threads of an engine; 0 means one per physical core.
        gpu_layers: layers on GPUs where neither model nor request says; negative means all.
        log_format: "auto" (JSON unless on a terminal), "json" or "console".
        access_log: one line per request.
        registries: credentials, http registries and mirrors; see ``registries``.
        offline: no outbound connection, whatever is asked.
        max_download_rate: bytes per second of all pulls together; 0 means no limit.
        max_transfer_streams: connections of one pull or push.
        pull_patience: how long a pull that gets nothing keeps trying.
        identity: file of the ed25519 key that registries know this machine by.
        http_proxy, https_proxy, no_proxy: for requests to registries, as the usual variables.
        go_template: whether the Go template of a model makes its prompts where its weights hold a
            Jinja template too; None leaves it to what the two can do.
    """

    host: str = ""
    models: str = ""
    keep_alive: int = 5 * MINUTE
    load_timeout: int = 5 * MINUTE
    max_loaded_models: int = 0
    num_parallel: int = 0
    max_queue: int = 512
    max_queue_tokens: int = 0
    request_timeout: int = 0
    context_length: int = 0
    kv_layout: str = "auto"
    kv_memory: int = 0
    memory_limit: int = 0
    gpu_overhead: int = 0
    sched_spread: bool = False
    preload: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    flash_attention: bool | None = None
    kv_cache_type: str = ""
    noprune: bool = False
    debug: int = 0
    no_history: bool = False
    editor: str = ""
    drain_timeout: int = 30 * SECOND
    stall_timeout: int = 60 * SECOND
    step_budget: str = "auto"
    prefix_cache: bool = True
    speculation: bool = True
    host_cache: int = 512 << 20
    num_thread: int = 0
    gpu_layers: int = -1
    log_format: str = "auto"
    access_log: bool = True
    registries: tuple[Registry, ...] = ()
    offline: bool = False
    max_download_rate: int = 0
    max_transfer_streams: int = 8
    pull_patience: int = 4 * HOUR
    identity: str = ""
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: tuple[str, ...] = ()
    go_template: bool | None = None

    @property
    def proxies(self) -> Proxies:
        """The proxies together."""
        return Proxies(self.http_proxy, self.https_proxy, self.no_proxy)

    @property
    def address(self) -> Address:
        """Scheme, host, port and base path of ``host``."""
        return parse_host(self.host)


_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def _bool(text: str) -> bool:
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError("expected true or false")


def _uint(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError("expected a whole number >= 0")
    return int(text)


def _duration(text: str) -> int:
    plain = text.removeprefix("-")
    ns = int(text) * SECOND if plain.isascii() and plain.isdigit() else parse_duration(text)
    return FOREVER if ns < 0 else ns


def _limit(text: str) -> int:
    """A duration; 0 for no limit."""
    ns = _duration(text)
    return 0 if ns == FOREVER else ns


def _debug(text: str) -> int:
    if text in _TRUE:
        return 1
    return 0 if text in _FALSE else int(text)


def _list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"expected one of {', '.join(filter(None, allowed))}")
        return text.lower()

    return parse


def _host(text: str) -> str:
    parse_host(text)
    return text


def _origins(text: str) -> tuple[str, ...]:
    entries = _list(text)
    for entry in entries:
        check_origin(entry)
    return entries


def _proxy(text: str) -> str:
    parts = parse_url(text if "://" in text else f"http://{text}")
    if not parts.hostname:
        raise ValueError("expected http[s]://[NAME:PASSWORD@]HOST[:PORT]")
    return parts.geturl()  # of other schemes too: who never pulls may have them set


_BYTE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def _bytes(text: str) -> int:
    plain = text.lower().removesuffix("b").strip()
    number, unit = (plain[:-1], plain[-1]) if plain[-1:] in ("k", "m", "g") else (plain, "")
    try:
        amount = float(number) * _BYTE_UNITS[unit]
    except ValueError:
        amount = -1.0
    if not 0 <= amount < 1e15:
        raise ValueError("expected bytes, such as 500k or 10MB")
    return int(amount)


def _rate(text: str) -> int:
    try:
        return _bytes(text.lower().removesuffix("/s"))
    except ValueError:
        raise ValueError("expected bytes per second, such as 500k or 10MB") from None


def _budget(text: str) -> str:
    if text not in ("auto", "off") and not _uint(text):
        raise ValueError("expected auto, off or a number of tokens above 0")
    return text


CACHE_TYPES = ("", "f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")

_PARSERS: dict[str, Callable[[str], Any]] = {
    "host": _host,
    "models": str,
    "keep_alive": _duration,
    "load_timeout": _limit,
    "max_loaded_models": _uint,
    "num_parallel": _uint,
    "max_queue": _uint,
    "max_queue_tokens": _uint,
    "request_timeout": _limit,
    "context_length": _uint,
    "kv_layout": _one_of("auto", "streams", "unified"),
    "kv_memory": _bytes,
    "memory_limit": _bytes,
    "gpu_overhead": _bytes,
    "sched_spread": _bool,
    "preload": _list,
    "origins": _origins,
    "flash_attention": _bool,
    "kv_cache_type": _one_of(*CACHE_TYPES),
    "noprune": _bool,
    "debug": _debug,
    "no_history": _bool,
    "editor": str,
    "drain_timeout": _duration,
    "stall_timeout": _duration,
    "step_budget": _budget,
    "prefix_cache": _bool,
    "speculation": _bool,
    "host_cache": _bytes,
    "num_thread": _uint,
    "gpu_layers": int,
    "log_format": _one_of("auto", "json", "console"),
    "access_log": _bool,
    "registries": lambda text: tuple(parse_registry(item) for item in _list(text)),
    "offline": _bool,
    "max_download_rate": _rate,
    "max_transfer_streams": lambda text: max(1, _uint(text)),
    "pull_patience": _duration,
    "identity": str,
    "http_proxy": _proxy,
    "https_proxy": _proxy,
    "no_proxy": _list,
    "go_template": _bool,
}
DURATIONS = frozenset(one for one, parse in _PARSERS.items() if parse in (_duration, _limit))
"""Settings in nanoseconds."""
PROXIES = frozenset(setting for setting, parse in _PARSERS.items() if parse is _proxy)
"""Settings that may hold a password."""
_SUFFIX = {"no_history": "NOHISTORY"}
_KEYS = {suffix.lower(): setting for setting, suffix in _SUFFIX.items()}
WITHOUT_EFFECT = {
    "OLLAMA_MULTIUSER_CACHE": "prefixes are always shared between users",
    "OLLAMA_NEW_ENGINE": "there is one engine",
    "OLLAMA_TMPDIR": "nothing is unpacked",
    "OLLAMA_RUNNERS_DIR": "models run in this process",
    "OLLAMA_LLM_LIBRARY": "the library is the one that was built here",
    "OLLAMA_MAX_VRAM": "use OLLAMA_GPU_OVERHEAD or num_gpu",
}
"""Variables of Ollama's past and present that older guides set, and why they do nothing here."""


def variable_names(setting: str) -> tuple[str, ...]:
    """Ours and Ollama's variable for a setting, or the usual ones; ours wins."""
    suffix = _SUFFIX.get(setting, setting.upper())
    if setting.endswith("_proxy"):
        return f"TRILLAMA_{suffix}", suffix, setting
    return f"TRILLAMA_{suffix}", f"OLLAMA_{suffix}"


def without_password(text: str) -> str:
    """``text`` as it may be shown: what stands before the last host of it is hidden."""
    return re.sub(r"^(\w+://)?.*@", r"\1***@", text)


def _parsed(setting: str, text: str, origin: str) -> Any:
    try:
        return _PARSERS[setting](text)
    except ValueError as error:
        raise SettingError(f"{origin}={without_password(text)!r}: {error}") from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    """Values with the variables that hold them."""
    found: dict[str, tuple[Any, str]] = {}
    for setting in _PARSERS:
        for variable in variable_names(setting):
            text = environ.get(variable, "").strip().strip("\"'")
            if text:
                found[setting] = _parsed(setting, text, variable), variable
                break
    return found


def _from_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError(f"{path}: {error}") from None
    found: dict[str, Any] = {}
    for key, value in table.items():
        setting = _KEYS.get(key, key)
        if setting not in _PARSERS:
            raise SettingError(f"{path}: unknown setting {key!r}")
        try:
            plain = ",".join(value) if isinstance(value, list) else str(value)
            text = plain.lower() if isinstance(value, bool) else plain
            found[setting] = _PARSERS[setting](text)
        except (ValueError, TypeError) as error:
            raise SettingError(f"{path}: {key}: {error}") from None
    return found


def _config_file(environ: Mapping[str, str], home: Path) -> Path | None:
    named = environ.get("TRILLAMA_CONFIG", "")
    if named:
        return Path(named)
    base = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    usual = base / "trillama" / "trillama.toml"
    return usual if usual.is_file() else None


def load_settings(
    environ: Mapping[str, str] | None = None, flags: Mapping[str, str | None] | None = None
) -> Settings:
    """Build the settings of this process.

    Args:
        environ: the environment, the process's own when None.
        flags: texts from the command line; None is skipped.

    Raises:
        SettingError: a value is malformed; the message names where it came from.
    """
    given = {
        name: _parsed(name, text, f"--{name}")
        for name, text in (flags or {}).items()
        if text is not None
    }
    return Settings(**{name: value for name, (value, _) in _given(environ).items()} | given)


def explain_settings(environ: Mapping[str, str] | None = None) -> list[tuple[str, Any, str]]:
    """Each setting with its value and where that came from: a variable, a file or "default".

    Raises:
        SettingError: as ``load_settings``.
    """
    given, settings = _given(environ), load_settings(environ)
    return [
        (name, getattr(settings, name), given[name][1] if name in given else "default")
        for name in Settings.__struct_fields__
    ]


def without_effect(environ: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """Variables that guides teach, are set here and change nothing, each with the reason."""
    environ = os.environ if environ is None else environ
    return [(name, why) for name, why in WITHOUT_EFFECT.items() if environ.get(name)]


def _given(environ: Mapping[str, str] | None) -> dict[str, tuple[Any, str]]:
    """What a file and the environment say, and the folders that follow from the home."""
    environ = os.environ if environ is None else environ
    home = Path(environ.get("HOME") or "~").expanduser()
    file = _config_file(environ, home)
    values = {name: (v, str(file)) for name, v in (_from_file(file) if file else {}).items()}
    values |= _from_environment(environ)
    folder = home / ".ollama"
    for name, usual in (("models", folder / "models"), ("identity", folder / "id_ed25519")):
        if not values.get(name, ("",))[0]:
            values[name] = str(usual), "default"
    return values
