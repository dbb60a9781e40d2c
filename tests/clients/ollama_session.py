"""Ollama's own client."""

from __future__ import annotations

import json
from typing import Any

import ollama

from tests.clients import session as s


class Client(s.Session):
    """See the module."""

    def __init__(self, url: str, model: str) -> None:
        super().__init__(url, model)
        self.client = ollama.Client(url)

    def _chat(self, *messages: Any, **fields: Any) -> Any:
        return self.client.chat(
            self.model, s.conversation(*messages), options={"temperature": 0}, **fields
        )

    def list(self) -> None:
        found = [model.model for model in self.client.list().models]
        s.check(any(name and name.startswith(self.model) for name in found), found)
        s.check(self.client.show(self.model).capabilities, found)

    def chat(self) -> None:
        said = self._chat(s.QUESTION).message.content
        s.check(s.ANSWER in said, said)
        said = self.client.generate(self.model, s.QUESTION, options={"temperature": 0}).response
        s.check(s.ANSWER in said, said)

    def stream(self) -> None:
        said = "".join(part.message.content for part in self._chat(s.QUESTION, stream=True))
        s.check(s.ANSWER in said, said)

    def tools(self) -> None:
        tools = [{"type": "function", "function": s.WEATHER}]
        first = self._chat(s.TOOL_QUESTION, tools=tools).message
        (call,) = first.tool_calls
        s.check(call.function.arguments["city"], first)
        answer = {"role": "tool", "tool_name": call.function.name, "content": s.TOOL_RESULT}
        last = self._chat(s.TOOL_QUESTION, first, answer, tools=tools).message
        s.check(last.content, last)
        parts = list(self._chat(s.TOOL_QUESTION, tools=tools, stream=True))
        (again,) = (one for part in parts for one in part.message.tool_calls or ())
        s.check(again.function.arguments == call.function.arguments, parts)

    def structured(self) -> None:
        said = self._chat(s.STRUCTURED_QUESTION, format=s.SCHEMA).message.content
        s.check(isinstance(json.loads(said)["city"], str), said)

    def embeddings(self) -> None:
        found = self.client.embed(self.model, ["a", "b"]).embeddings
        s.check(len(found) == 2 and len(found[0]) > 1, found)

    def errors(self) -> None:
        for stream in (False, True):
            try:
                list(self.client.chat("absent", [{"role": "user", "content": "x"}], stream=stream))
            except ollama.ResponseError as error:
                s.check(error.status_code == 404, error)
            else:
                raise AssertionError("no error")

    def cancel(self) -> None:
        stream = self._chat(s.LONG_QUESTION, stream=True)
        next(stream)
        stream.close()
