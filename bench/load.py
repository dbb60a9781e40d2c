"""A closed-loop load: N clients, each sending its next request when the last one has ended.

    python -m bench.load --url http://127.0.0.1:11434 --api ollama --model m --clients 16

Prompts are words that `make_model` vocabularies hold as one token each, so their length in tokens
is known; it is checked against the server's own count. On other models the server's count is what
is reported. A load is always bounded, by a number of requests and by time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec
import trio

from bench.stats import Reply, Summary, summarise
from bench.streams import DIALECTS, BadReply, Event, ReplyReader
from bench.vocabulary import prompt_words

#: The same for everybody, said in full, so that no server's defaults come into it.
SAMPLING = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "repeat_penalty": 1.0}
RECEIVE = 1 << 16


@dataclass(frozen=True)
class Target:
    """Where a server listens and what it speaks; `api` is a key of DIALECTS. Each request carries
    the fields of `extra` too, those of its `options` among the others, and the key if there is
    one."""

    url: str
    api: str
    model: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True)
class Load:
    """What to ask for. Each prompt is `shared_prefix` tokens that are the same in all of them,
    then `prompt_tokens` of its own."""

    clients: int
    prompt_tokens: int
    new_tokens: int
    requests: int
    shared_prefix: int = 0
    seconds: float = 300.0
    seed: int = 0

    @property
    def whole_prompt(self) -> int:
        return self.shared_prefix + self.prompt_tokens

    def prompt(self, index: int) -> str:
        """The prompt of request `index`, `whole_prompt` words long."""
        words = prompt_words()
        shared = random.Random(self.seed).choices(words, k=self.shared_prefix)
        own = random.Random(f"{self.seed}/{index}").choices(words, k=self.prompt_tokens)
        return "".join(shared + own)


def request_body(target: Target, prompt: str, new_tokens: int) -> bytes:
    """The JSON of one request: raw prompt, streamed, exactly `new_tokens` if the server can."""
    body: dict[str, object] = {"prompt": prompt, "stream": True}
    match target.api:
        case "ollama":
            more = dict(target.extra)
            options = SAMPLING | {"num_predict": new_tokens} | more.pop("options", {})
            body |= {"model": target.model, "raw": True, "options": options} | more
        case "openai":
            usage = {"include_usage": True}
            body |= {"model": target.model, "max_tokens": new_tokens, "stream_options": usage}
            body |= SAMPLING | {"ignore_eos": True}
        case _:
            body |= SAMPLING | {"n_predict": new_tokens, "ignore_eos": True, "cache_prompt": True}
    return msgspec.json.encode(body)


def request_bytes(target: Target, prompt: str, new_tokens: int) -> bytes:
    """The whole HTTP request. A connection carries one: no server gains by keeping it."""
    body = request_body(target, prompt, new_tokens)
    base = urlsplit(target.url)
    head = (
        f"POST {base.path.rstrip('/')}{DIALECTS[target.api].path} HTTP/1.1\r\n"
        f"Host: {base.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n"
    )
    if target.key:
        head += f"Authorization: Bearer {target.key}\r\n"
    head += "\r\n"
    return head.encode() + body


async def stream_once(target: Target, prompt: str, new_tokens: int) -> Reply:
    """Send one request and note when its text comes. Troubles end up in the reply's `error`."""
    reply = Reply(sent=time.perf_counter(), texts=[], ended=0.0)
    await stream_into(reply, target, prompt, new_tokens)
    return reply


async def stream_into(reply: Reply, target: Target, prompt: str, new_tokens: int) -> None:
    """As `stream_once`, into a reply that others may watch while it grows. `ended` stays 0 until
    the reply is complete, and for good when this is cancelled."""
    base = urlsplit(target.url)
    request = request_bytes(target, prompt, new_tokens)
    try:
        stream = await trio.open_tcp_stream(base.hostname or "", base.port or 80)
        async with stream:
            await stream.send_all(request)
            reply.sent = time.perf_counter()
            await _receive(stream, ReplyReader(DIALECTS[target.api]), reply)
    except (OSError, trio.BrokenResourceError, BadReply) as error:
        reply.error = repr(error)
    reply.ended = time.perf_counter()


async def _receive(stream: trio.SocketStream, reader: ReplyReader, reply: Reply) -> None:
    while not reader.complete:
        data = await stream.receive_some(RECEIVE)
        now = time.perf_counter()
        for event in reader.feed(bytes(data)):
            _note(reply, event, now)
    reply.retry_after = reader.retry_after


def _note(reply: Reply, event: Event, now: float) -> None:
    if event.text:
        reply.texts.append(now)
    reply.prompt_tokens = event.prompt_tokens or reply.prompt_tokens
    reply.cached_tokens = event.cached_tokens or reply.cached_tokens
    reply.output_tokens = event.output_tokens or reply.output_tokens
    reply.error = event.error or reply.error


async def run_load(target: Target, load: Load) -> list[Reply]:
    """Run the load to its end, or to its time limit: requests cut by it are errors."""
    replies: list[Reply] = []
    indices = iter(range(load.requests))

    async def client() -> None:
        for index in indices:
            with trio.move_on_at(deadline) as scope:
                prompt = load.prompt(index)
                replies.append(await stream_once(target, prompt, load.new_tokens))
            if scope.cancelled_caught:
                now = time.perf_counter()
                replies.append(Reply(now, [], now, error="out of time"))

    deadline = trio.current_time() + load.seconds
    async with trio.open_nursery() as nursery:
        for _ in range(load.clients):
            nursery.start_soon(client)
    return replies


def measure(target: Target, load: Load, warm_up: bool = True) -> tuple[Summary, list[Reply]]:
    """Run the load and return figures and raw replies. The warm-up before it is one short request
    of each client that has no words in common with the load's."""
    if warm_up:
        sizes = {"requests": load.clients, "prompt_tokens": 32, "new_tokens": 8, "shared_prefix": 0}
        trio.run(run_load, target, replace(load, seed=load.seed + 1_000_003, **sizes))
    cpu = time.process_time()
    replies = trio.run(run_load, target, load)
    cpu = time.process_time() - cpu
    return summarise(replies, (load.whole_prompt, load.new_tokens), cpu), replies


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--url", default="http://127.0.0.1:11434", show_default=True)
@click.option("--api", default="ollama", type=click.Choice(list(DIALECTS)))
@click.option("--model", default="bench", show_default=True)
@click.option("--clients", default=8, show_default=True)
@click.option("--requests", default=0, help="in total; 0: three for each client")
@click.option("--prompt-tokens", default=100, show_default=True)
@click.option("--new-tokens", default=64, show_default=True)
@click.option("--shared-prefix", default=0, show_default=True)
@click.option("--seconds", default=300.0, show_default=True, help="time limit")
@click.option("--seed", default=0, show_default=True)
def main(url: str, api: str, model: str, requests: int, **sizes: int) -> None:
    load = Load(requests=requests or 3 * sizes["clients"], **sizes)
    summary, replies = measure(Target(url, api, model), load)
    print(msgspec.json.format(msgspec.json.encode(summary)).decode())
    for error in sorted({r.error for r in replies if r.error}):
        print("error:", error)


if __name__ == "__main__":
    main()
