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
from urllib.parse import urlsplit

import msgspec

from .durations import FOREVER, HOUR, MINUTE, SECOND, parse_duration
from .errors import SettingError
from .registries import Proxies, Registry, parse_registry

DEFAULT_PORT = 11434


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
        context_length: positions a request may use and KV cells of a model's pool; 0 chooses.
        kv_layout: "streams" (each request ``context_length`` cells of its own), "unified" (one pool
            of them for all), or "auto": streams where ``num_parallel`` is set and they fit.
        kv_memory: bytes that streams may take; 0 means a share of what is free.
        origins: extra CORS origins, before the built-in ones.
        flash_attention: None lets the library decide.
        kv_cache_type: "" means f16.
        drain_timeout: how long running answers may go on after SIGTERM.
        stall_timeout: how long a client may read nothing before its answer is ended.
        step_budget: prompt tokens per step while others generate: "auto", "off" or a number.
        prefix_cache: keep finished sequences for reuse.
        num_thread: CPU threads of an engine; 0 means one per physical core.
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
    context_length: int = 0
    kv_layout: str = "auto"
    kv_memory: int = 0
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
    num_thread: int = 0
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


class Address(msgspec.Struct, frozen=True):
    """Where the server listens or the client connects."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def netloc(self) -> str:
        """``host:port``, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def reachable(self) -> str:
        """The host a client on this machine connects to: loopback for an unspecified address."""
        return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can be meant."""
        return self.reachable in ("127.0.0.1", "::1", "localhost")

    @property
    def url(self) -> str:
        """Base URL a client uses."""
        there = msgspec.structs.replace(self, host=self.reachable)
        return f"{self.scheme}://{there.netloc}{self.path}"


def parse_host(text: str) -> Address:
    """Read OLLAMA_HOST: ``[scheme://]host[:port][/path]``, ``:port`` or nothing.

    Raises:
        SettingError: a port outside 0..65535 or not a number.
    """
    default_port = {"http": 80, "https": 443}
    scheme, there, rest = text.partition("://")
    if not there:
        scheme, rest = "http", text
        fallback = DEFAULT_PORT
    elif scheme in default_port:
        fallback = default_port[scheme]
    else:
        raise SettingError(f"OLLAMA_HOST: unknown scheme {scheme!r}")
    place, slash, path = rest.partition("/")
    if place.count(":") > 1 and not place.startswith("["):
        place = f"[{place}]"
    try:
        parts = urlsplit(f"//{place}")
        port = fallback if parts.port is None else parts.port
    except ValueError as error:
        raise SettingError(f"OLLAMA_HOST: {error}") from None
    host = parts.hostname or ("127.0.0.1" if not place else "")
    return Address(scheme, host, port, (slash + path).rstrip("/"))


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


def _proxy(text: str) -> str:
    parts = urlsplit(text if "://" in text else f"http://{text}")
    _ = parts.port  # raises ValueError for a port that is none
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
    "host": str,
    "models": str,
    "keep_alive": _duration,
    "load_timeout": lambda text: 0 if _duration(text) == FOREVER else _duration(text),
    "max_loaded_models": _uint,
    "num_parallel": _uint,
    "max_queue": _uint,
    "context_length": _uint,
    "kv_layout": _one_of("auto", "streams", "unified"),
    "kv_memory": _bytes,
    "origins": _list,
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
    "num_thread": _uint,
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
_SUFFIX = {"no_history": "NOHISTORY"}


def variable_names(setting: str) -> tuple[str, ...]:
    """Ours and Ollama's variable for a setting, or the usual ones; ours wins."""
    suffix = _SUFFIX.get(setting, setting.upper())
    if setting.endswith("_proxy"):
        return f"TRILLAMA_{suffix}", suffix, setting
    return f"TRILLAMA_{suffix}", f"OLLAMA_{suffix}"


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for setting, parse in _PARSERS.items():
        for variable in variable_names(setting):
            text = environ.get(variable, "").strip().strip("\"'")
            if text:
                try:
                    found[setting] = parse(text)
                except ValueError as error:
                    shown = re.sub("//[^/]*@", "//***@", text)
                    raise SettingError(f"{variable}={shown!r}: {error}") from None
                break
    return found


def _from_file(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError(f"{path}: {error}") from None
    found: dict[str, Any] = {}
    for setting, value in table.items():
        if setting not in _PARSERS:
            raise SettingError(f"{path}: unknown setting {setting!r}")
        try:
            plain = ",".join(value) if isinstance(value, list) else str(value)
            text = plain.lower() if isinstance(value, bool) else plain
            found[setting] = _PARSERS[setting](text)
        except (ValueError, TypeError) as error:
            raise SettingError(f"{path}: {setting}: {error}") from None
    return found


def _config_file(environ: Mapping[str, str], home: Path) -> Path | None:
    named = environ.get("TRILLAMA_CONFIG", "")
    if named:
        return Path(named)
    base = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    usual = base / "trillama" / "trillama.toml"
    return usual if usual.is_file() else None


def load_settings(
    environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> Settings:
    """Build the settings of this process.

    Args:
        environ: the environment, the process's own when None.
        flags: values from the command line; None values are skipped.

    Raises:
        SettingError: a value is malformed; the message names where it came from.
    """
    environ = os.environ if environ is None else environ
    home = Path(environ.get("HOME") or "~").expanduser()
    file = _config_file(environ, home)
    values: dict[str, Any] = _from_file(file) if file else {}
    values |= _from_environment(environ)
    values |= {name: value for name, value in (flags or {}).items() if value is not None}
    values.setdefault("models", str(home / ".ollama" / "models"))
    values["models"] = values["models"] or str(home / ".ollama" / "models")
    values.setdefault("identity", str(home / ".ollama" / "id_ed25519"))
    return Settings(**values)
