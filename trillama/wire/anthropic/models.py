"""``/v1/models`` as Anthropic's client lists it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..gojson import Clock
from ..openai.models import Listed


def model_object(model: Listed) -> dict[str, Any]:
    """One model."""
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": Clock(lambda: model.modified // 10**9 * 10**9).utc(),
    }


def model_list(models: Iterable[Listed]) -> dict[str, Any]:
    """All of them, on one page."""
    data = [model_object(model) for model in models]
    ends = [data[0]["id"], data[-1]["id"]] if data else [None, None]
    return {"data": data, "has_more": False, "first_id": ends[0], "last_id": ends[1]}
