"""``trillama run MODEL PROMPT``: one answer to one prompt, or one vector of one text."""

from __future__ import annotations

import sys

import msgspec

from trillama.base.errors import BadRequest, TrillamaError

from .answer import RunOptions, show_answer, statistics
from .client import Client
from .pictures import pictures_in
from .waiting import awaited


def run_once(client: Client, model: str, prompt: str, options: RunOptions) -> None:
    """Answer a prompt, or print its vector where the model embeds.

    Raises:
        BadRequest: flags or a prompt that do not suit the model.
        ServerRefused: there is no such model, or the server will not answer.
    """
    shown = client.call("POST", "/api/show", {"model": model}) or {}
    if "embedding" in (shown.get("capabilities") or ()):
        return embed_once(client, model, prompt, options)
    if options.embedding():
        raise BadRequest(f'--truncate and --dimensions: "{model}" does not embed')
    images: list[str] = []
    if "vision" in (shown.get("capabilities") or ()):
        prompt, images = pictures_in(prompt)
    return generate_once(client, model, (prompt, images), options)


def generate_once(
    client: Client, model: str, asked: tuple[str, list[str]], options: RunOptions
) -> None:
    """Generate one answer to a prompt with pictures, and print it; an empty prompt only loads."""
    prompt, images = asked
    body = {"model": model, "prompt": prompt, **options.request()}
    if images:
        body["images"] = images
    records = awaited(client, model, client.stream("/api/generate", body), quiet=options.quiet)
    _, last = show_answer(
        records, lambda r: (r.get("thinking", ""), r.get("response", "")), options
    )
    if prompt:
        print("\n")
    if options.verbose:
        sys.stderr.write(statistics(last))


def embed_once(client: Client, model: str, prompt: str, options: RunOptions) -> None:
    """Print the vector of one text as a line of JSON.

    Raises:
        BadRequest: there is no text.
    """
    if not prompt:
        raise BadRequest(
            f'embedding models require input text. Usage: trillama run {model} "your text here"'
        )
    body = {"model": model, "input": prompt, **options.keeping(), **options.embedding()}
    vectors = client.call("POST", "/api/embed", body).get("embeddings")
    if not vectors:
        raise TrillamaError("no embeddings returned")
    print(msgspec.json.encode(vectors[0]).decode())
