"""``trillama config``: every setting, its value, and where that comes from."""

from __future__ import annotations

from typing import Any

from trillama.base.durations import format_duration
from trillama.base.settings import (
    DURATIONS,
    PROXIES,
    explain_settings,
    variable_names,
    without_effect,
    without_password,
)

from .console import json_text, table


def configured(*, as_json: bool) -> str:
    """A table of the settings, or JSON; passwords are left out.

    Raises:
        SettingError: a setting is malformed.
    """
    found = [(name, _shown(name, value), origin) for name, value, origin in explain_settings()]
    if as_json:
        return json_text(
            [dict(zip(("setting", "value", "from"), one, strict=True)) for one in found]
        )
    rows = [(name, _word(value), origin, variable_names(name)[-1]) for name, value, origin in found]
    notes = [f"{name} is set and has no effect: {why}\n" for name, why in without_effect()]
    shown = table(("SETTING", "VALUE", "FROM", "VARIABLE"), rows)
    return "\n".join([shown, "".join(notes)]) if notes else shown


def _shown(name: str, value: Any) -> Any:
    if name in DURATIONS and isinstance(value, int):
        return format_duration(value) if value >= 0 else "forever"
    if isinstance(value, tuple):
        return [_shown(name, item) for item in value]
    if name in PROXIES:
        return without_password(value)
    return value if isinstance(value, int | str | None) else str(value)


def _word(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_word, value)) or "-"
    if isinstance(value, bool):
        return str(value).lower()
    return "-" if value in (None, "") else str(value)
