"""Tokens over HTTP, in our own words and llama-server's, without loading a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.house import ask, model
from trillama.base.errors import ModelLoadError
from trillama.engine.fake_vocab import EOS, IM_END, IM_START

HELLO = list(b"hello")


async def post(house: Any, path: str, **body: Any) -> tuple[int, Any]:
    reply = await ask(house, "POST", path, body)
    return reply.status, reply.json()


async def test_text_becomes_tokens_and_text_again(build: Callable[..., Any]) -> None:
    """Both ways round, with a count, and no model is loaded for it."""
    house = await build()
    status, found = await post(house, "/api/tokenize", model="m", content="hello<|im_end|>é")
    _, back = await post(house, "/api/detokenize", model="m", tokens=found["tokens"])

    assert status == 200
    assert found["model"] == "m"
    assert found["tokens"] == [*HELLO, IM_END, 0xC3, 0xA9]
    assert found["count"] == 8
    assert back["content"] == "hello<|im_end|>é"
    assert found["total_duration"] > 0
    assert house.scheduler.statistics().totals.loads == 0
    assert all(one.vocab_only for one in house.backend.models)


async def test_a_resident_model_is_asked_itself(build: Callable[..., Any]) -> None:
    """No second vocabulary is read beside a model that is loaded; the model may go as before."""
    house = await build()
    await post(house, "/api/generate", model="m")
    await post(house, "/api/tokenize", model="m", content="hello")

    assert len(house.backend.models) == 1
    assert house.at_rest()
    await post(house, "/api/generate", model="m", keep_alive=0)
    await house.until(lambda: not house.backend.open_models)


async def test_special_tokens_are_a_choice(build: Callable[..., Any]) -> None:
    """``parse_special`` and ``add_special`` do what llama-server's do."""
    house = await build()
    _, plain = await post(
        house, "/api/tokenize", model="m", content="</s>", parse_special=False, add_special=True
    )
    _, mixed = await post(house, "/api/tokenize", model="m", content=["a", EOS, "b"])

    assert plain["tokens"] == list(b"</s>")
    assert mixed["tokens"] == [97, EOS, 98]


async def test_pieces_are_text_or_bytes(build: Callable[..., Any]) -> None:
    """A token that is half a character shows its bytes."""
    house = await build()
    _, found = await post(house, "/api/tokenize", model="m", content="aé", with_pieces=True)

    assert found["pieces"] == [
        {"id": 97, "piece": "a"},
        {"id": 0xC3, "piece": [0xC3]},
        {"id": 0xA9, "piece": [0xA9]},
    ]


async def test_a_conversation_counts_as_it_is_prompted(build: Callable[..., Any]) -> None:
    """With messages the tokens are those a chat reports, template and system text included."""
    house = await build(model("m", system="Be kind."))
    messages = [{"role": "user", "content": "Repeat: x"}]
    _, found = await post(house, "/api/tokenize", model="m", messages=messages)
    _, chat = await post(house, "/api/chat", model="m", messages=messages, stream=False)
    _, text = await post(house, "/apply-template", messages=messages)

    assert found["count"] == chat["prompt_eval_count"]
    assert found["tokens"][0] == IM_START
    assert text == {
        "prompt": "<|im_start|>system\nBe kind.<|im_end|>\n"
        "<|im_start|>user\nRepeat: x<|im_end|>\n<|im_start|>assistant\n"
    }


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/api/tokenize", {"content": "x"}, 404, "model '' not found"),
        ("/api/tokenize", {"model": "gone", "content": "x"}, 404, "model 'gone' not found"),
        ("/api/tokenize", {"model": "m", "content": 1.5}, 400, "content must be a string"),
        ("/api/tokenize", {"model": "m", "content": [True]}, 400, "content must be a string"),
        ("/api/tokenize", {"model": "m", "content": [999]}, 400, "token 999 is not in 0..259"),
        (
            "/api/tokenize",
            {"model": "m", "content": "x", "messages": []},
            400,
            "content and messages exclude each other",
        ),
        (
            "/api/tokenize",
            {"model": "m", "messages": [], "parse_special": False},
            400,
            "parse_special and messages exclude each other",
        ),
        ("/api/tokenize", {"model": "m", "content": "x", "media_type": "image"}, 400, "media_type"),
        ("/api/detokenize", {"model": "m", "tokens": [-1]}, 400, "token -1 is not in"),
        ("/api/detokenize", {"model": "m", "tokens": ["x"]}, 400, "of type int"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(
    build: Callable[..., Any], path: str, body: dict[str, Any], status: int, text: str
) -> None:
    """A wrong field is a 400 that names it, an absent model a 404."""
    house = await build()
    found, error = await post(house, path, **body)

    assert found == status
    assert text in error["error"]


async def test_llama_servers_clients_find_its_shapes(build: Callable[..., Any]) -> None:
    """Without a model's name where only one can be meant."""
    house = await build(model("m", chat_template="{{ messages }}"))
    assert (await post(house, "/tokenize", content="hello"))[1] == {"tokens": HELLO}
    assert (await post(house, "/tokenize"))[1] == {"tokens": []}
    assert (await post(house, "/detokenize", tokens=HELLO))[1] == {"content": "hello"}
    pieces = await post(house, "/tokenize", content="h", with_pieces=True)
    assert pieces[1] == {"tokens": [{"id": 104, "piece": "h"}]}

    props = (await ask(house, "GET", "/props")).json()
    assert (props["model_alias"], props["chat_template"]) == ("m:latest", "{{ messages }}")
    assert (props["bos_token"], props["eos_token"]) == ("<s>", "</s>")
    assert props["default_generation_settings"]["n_ctx"] == 4096
    for path in ("/health", "/v1/health"):
        assert (await ask(house, "GET", path)).json() == {"status": "ok"}


async def test_several_models_must_be_told_apart(build: Callable[..., Any]) -> None:
    """No name: the one that is loaded; none or several loaded: a 400 in llama-server's shape."""
    house = await build(model("m"), model("n"))
    status, refused = await post(house, "/tokenize", content="x")
    named = await post(house, "/tokenize", model="n", content="x")
    await post(house, "/api/generate", model="n")
    loaded = await post(house, "/tokenize", content="x")

    assert (status, refused["error"]["code"]) == (400, 400)
    assert refused["error"]["type"] == "invalid_request_error"
    assert named[0] == loaded[0] == 200
    assert (await post(house, "/tokenize", model="o", content="x"))[1]["error"] == {
        "code": 404,
        "message": "model 'o' not found",
        "type": "not_found_error",
    }


async def test_a_damaged_file_is_an_error_of_its_request(build: Callable[..., Any]) -> None:
    """A vocabulary that cannot be read is told, and the next request tries again."""
    house = await build()

    def refuse(path: str, params: object) -> None:
        raise ModelLoadError("damaged")

    house.hooks.on_load = refuse
    status, error = await post(house, "/api/tokenize", model="m", content="x")
    house.hooks.on_load = None

    assert (status, error) == (500, {"error": "damaged"})
    assert (await post(house, "/api/tokenize", model="m", content="x"))[0] == 200
