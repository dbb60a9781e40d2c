"""``/v1/models``: what is installed, as OpenAI's client lists it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class Listed(NamedTuple):
    """A model to be listed; ``modified`` in nanoseconds since 1970."""

    name: str
    modified: int
    owner: str


def model_object(model: Listed) -> dict[str, Any]:
    """One model."""
    return {
        "id": model.name,
        "object": "model",
        "created": model.modified // 1_000_000_000,
        "owned_by": model.owner,
    }


def model_list(models: Iterable[Listed]) -> dict[str, Any]:
    """All of them."""
    return {"object": "list", "data": [model_object(model) for model in models]}
