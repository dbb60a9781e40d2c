"""Go duration text, as Ollama's ``keep_alive``, settings and statistics use it.

Nanoseconds are the only unit inside trillama. Facts: Go's ``time.ParseDuration`` and
``Duration.String``.
"""

from __future__ import annotations

import math
import re

NANOSECOND = 1
MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
FOREVER = 2**63 - 1
"""What a negative keep-alive means: about 292 years."""

_UNITS = {
    "ns": NANOSECOND,
    "us": MICROSECOND,
    "µs": MICROSECOND,
    "μs": MICROSECOND,
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)")


def parse_duration(text: str) -> int:
    """Nanoseconds of a Go duration such as ``1h30m``, ``1.5h``, ``-10ms`` or ``0``.

    Raises:
        ValueError: with Go's own wording (``time: missing unit in duration "10"``).
    """
    sign, rest = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    total, at = 0.0, 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None:
            raise ValueError(f'time: invalid duration "{text}"')
        if not part[2]:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if part[2] not in _UNITS:
            raise ValueError(f'time: unknown unit "{part[2]}" in duration "{text}"')
        total += float(part[1]) * _UNITS[part[2]]
        at = part.end()
    if not rest or total > FOREVER:
        raise ValueError(f'time: invalid duration "{text}"')
    return sign * round(total)


def _trim(value: int, unit: int, places: int) -> str:
    whole, fraction = divmod(value, unit)
    digits = f"{fraction:0{places}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def format_duration(ns: int) -> str:
    """The text Go's ``Duration.String`` gives: ``812.5µs``, ``1m2.5s``, ``0s``."""
    if ns < 0:
        return "-" + format_duration(-ns)
    if ns == 0:
        return "0s"
    for unit, places, name in ((MICROSECOND, 0, "ns"), (MILLISECOND, 3, "µs"), (SECOND, 6, "ms")):
        if ns < unit:
            return _trim(ns, 10**places, places) + name if places else f"{ns}{name}"
    minutes, seconds = divmod(ns, MINUTE)
    hours, minutes = divmod(minutes, 60)
    text = _trim(seconds, SECOND, 9) + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def keep_alive_from_json(value: object) -> int | None:
    """Nanoseconds of a ``keep_alive`` field: None when unset, :data:`FOREVER` when negative.

    Raises:
        ValueError: a string that is no Go duration, or a value of another type.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        kind = {bool: "bool", dict: "map[string]interface {}", list: "[]interface {}"}
        raise ValueError(f"Unsupported type: '{kind.get(type(value), type(value).__name__)}'")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("keep_alive must be finite")
    if isinstance(value, str):
        ns = parse_duration(value)
    else:  # within bounds first, since a product may be infinite, which is no integer
        ns = round(min(max(value, -1), FOREVER // SECOND + 1) * SECOND)
    return FOREVER if ns < 0 else min(ns, FOREVER)
