"""Models as the API tells of them: entries of lists, and the whole of one."""

from __future__ import annotations

from typing import Any

import msgspec

from ..models.describe import (
    Headers,
    metadata,
    modelfile_text,
    parameter_lines,
    template_of,
    tensors,
)
from ..models.installed import InstalledModel
from ..nursery_scheduler import Resident
from ..runner_pool import Queued
from ..seats import BatchStatistics
from ..wire.gojson import local_time


def _details(model: InstalledModel) -> dict[str, Any]:
    details = model.details
    return {
        "parent_model": details.parent_model,
        "format": details.format,
        "family": details.family,
        "families": details.families or None,
        "parameter_size": details.parameter_size,
        "quantization_level": details.quantization_level,
    }


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def _remote(model: InstalledModel) -> dict[str, Any]:
    config = model.config
    return _filled({"remote_model": config.remote_model, "remote_host": config.remote_host})


def tag_entry(model: InstalledModel) -> dict[str, Any]:
    """One model of ``/api/tags``."""
    details = model.details
    sizes = {"context_length": details.context_length, "embedding_length": details.embedding_length}
    return {
        "name": model.name.short,
        "model": model.name.short,
        **_remote(model),
        "modified_at": local_time(model.modified),
        "size": model.size,
        "digest": model.digest,
        "details": {**_details(model), **_filled(sizes)},
        **_filled({"capabilities": list(model.capabilities)}),
    }


def queue_entry(queued: Queued, client: str) -> dict[str, Any]:
    """A request that waits, as ``client`` may see it; others' are not told apart."""
    waiting = queued.waiting
    return {
        "position": queued.position,
        "request_id": queued.id,
        "priority": waiting.priority.value,
        "prompt_tokens": waiting.tokens,
        "waited_seconds": round(queued.waited, 3),
        "estimated_seconds": None if queued.expected is None else round(queued.expected, 3),
        "yours": waiting.client == client,
    }


def cache_entry(batch: BatchStatistics) -> dict[str, Any]:
    """What a model's cache holds now, and what it and guesses have saved since the load.

    ``cells`` are positions; ``kept`` those of finished sequences; ``saved`` are sequences in the
    host's memory. Of all prompts so far ``prompt_tokens`` were computed, ``reused_tokens`` shared
    with other sequences, and of these ``restored_tokens`` came from the host.
    """
    kv = batch.kv
    return {
        "cells": kv.cells,
        "used": kv.used,
        "kept": kv.idle,
        "kept_sequences": kv.holders,
        "evicted_sequences": kv.evictions,
        "saved_sequences": kv.saved,
        "saved_bytes": kv.saved_bytes,
        "prompt_tokens": batch.prompt_tokens,
        "reused_tokens": batch.cached_tokens,
        "restored_tokens": kv.restored,
        "draft_count": batch.drafted,
        "draft_accepted_count": batch.accepted,
    }


def process_entry(
    resident: Resident, model: InstalledModel | None, *, on_gpu: bool, client: str
) -> dict[str, Any]:
    """One model of ``/api/ps``; ``model`` is None when it was deleted while loaded.

    ``context_length`` is what one request may use: the pool, or what the model was trained for.
    ``cache`` is there for a model that generates, see ``cache_entry``; ``queue`` while requests
    wait for the model, the next one first.
    """
    empty = dict.fromkeys(
        ("parent_model", "format", "family", "families", "parameter_size", "quantization_level"), ""
    )
    trained = model.details.context_length if model else 0
    known = resident.spec.footprint is not None
    details = {**_details(model), "parent_model": ""} if model else {**empty, "families": None}
    return {
        "name": resident.name,
        "model": resident.name,
        "size": resident.size,
        "digest": model.digest if model else "",
        "details": details,
        "expires_at": local_time(resident.expires_at),
        "size_vram": resident.size_vram if known else resident.size * on_gpu,
        "context_length": min(resident.context_length, trained or resident.context_length),
        **({"cache": cache_entry(resident.batch)} if resident.batch else {}),
        **_filled({"queue": [queue_entry(queued, client) for queued in resident.queue]}),
    }


class Overlay(msgspec.Struct, frozen=True):
    """What a client wants laid over a model before it is shown.

    Attributes:
        options: over its parameters, in the Modelfile alone.
        basename: told as ``general.basename``.
        verbose: with the arrays of its headers.
    """

    system: str = ""
    options: dict[str, Any] = {}
    basename: str = ""
    verbose: bool = False


def show_entry(
    model: InstalledModel, licenses: list[str], headers: Headers, overlay: Overlay
) -> dict[str, Any]:
    """The answer of ``/api/show``."""
    verbose = overlay.verbose
    shown = msgspec.structs.replace(
        model,
        system=overlay.system or model.system,
        parameters=model.parameters | overlay.options,
    )
    info = metadata(headers.weights, verbose=verbose) if headers.weights else {}
    seen = headers.projector
    return {
        **_filled({"license": "\n".join(licenses)}),
        "modelfile": modelfile_text(shown, licenses),
        **_filled({"parameters": parameter_lines(model.parameters)}),
        "template": template_of(model),
        **_filled({"system": shown.system}),
        "details": _details(model),
        **_filled({"messages": [_message(one.role, one.content) for one in model.messages]}),
        **_remote(model),
        "model_info": info | _filled({"general.basename": overlay.basename}),
        **_filled({"projector_info": metadata(seen, verbose=verbose) if seen else {}}),
        **_filled({"tensors": tensors(headers.weights) if headers.weights else []}),
        **_filled({"capabilities": list(model.capabilities)}),
        "modified_at": local_time(model.modified),
        **_filled({"requires": model.config.requires}),
    }


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
