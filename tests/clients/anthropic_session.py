"""Anthropic's own client: messages."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import anthropic

from tests.clients import session as s


class Client(s.Session):
    """See the module."""

    without: ClassVar[dict[str, str]] = {"embeddings": "the library has none"}

    def __init__(self, url: str, model: str) -> None:
        super().__init__(url, model)
        self.client = anthropic.Anthropic(api_key="any", base_url=url, max_retries=0)

    def _asked(self, *messages: Any, **fields: Any) -> dict[str, Any]:
        extra = {"temperature": 0, "top_k": 1}
        return {
            "model": self.model,
            "max_tokens": 300,
            "messages": s.conversation(*messages),
            "extra_body": extra,
        } | fields

    def _text(self, message: Any) -> str:
        return "".join(block.text for block in message.content if block.type == "text")

    def list(self) -> None:
        found = [model.id for model in self.client.models.list()]
        s.check(any(name.startswith(self.model) for name in found), found)

    def chat(self) -> None:
        message = self.client.messages.create(**self._asked(s.QUESTION))
        s.check(s.ANSWER in self._text(message), message)
        counted = self.client.messages.count_tokens(
            model=self.model, messages=[{"role": "user", "content": s.QUESTION}]
        )
        usage = message.usage
        s.check(counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens, usage)

    def stream(self) -> None:
        with self.client.messages.stream(**self._asked(s.QUESTION)) as stream:
            said = "".join(stream.text_stream)
            s.check(said == self._text(stream.get_final_message()), said)
        s.check(s.ANSWER in said, said)

    def tools(self) -> None:
        tool = {"name": s.WEATHER["name"], "description": s.WEATHER["description"],
                "input_schema": s.WEATHER["parameters"]}  # fmt: skip
        fields: dict[str, Any] = {"tools": [tool], "tool_choice": {"type": "any"}}
        first = self.client.messages.create(**self._asked(s.TOOL_QUESTION, **fields))
        (call,) = (block for block in first.content if block.type == "tool_use")
        s.check(call.input["city"], first)
        s.check(first.stop_reason == "tool_use", first)
        result = {"type": "tool_result", "tool_use_id": call.id, "content": s.TOOL_RESULT}
        history = (
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [result]},
        )
        last = self.client.messages.create(**self._asked(s.TOOL_QUESTION, *history, tools=[tool]))
        s.check(self._text(last), last)
        with self.client.messages.stream(**self._asked(s.TOOL_QUESTION, **fields)) as stream:
            (again,) = (
                block for block in stream.get_final_message().content if block.type == "tool_use"
            )
        s.check(again.input == call.input, again)

    def structured(self) -> None:
        wanted = {"format": {"type": "json_schema", "schema": s.SCHEMA}}
        message = self.client.messages.create(
            **self._asked(s.STRUCTURED_QUESTION, output_config=wanted)
        )
        s.check(isinstance(json.loads(self._text(message))["city"], str), message)

    def errors(self) -> None:
        try:
            self.client.messages.create(**self._asked("x", model="absent"))
        except anthropic.NotFoundError as error:
            s.check(error.body["error"]["type"] == "not_found_error", error)
        else:
            raise AssertionError("no error")

    def cancel(self) -> None:
        with self.client.messages.stream(**self._asked(s.LONG_QUESTION)) as stream:
            next(iter(stream.text_stream))
