"""Simon Willison's ``llm`` with its plug-in for Ollama, by its Python interface."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

import llm

from tests.clients import session as s


class Client(s.Session):
    """See the module."""

    def __init__(self, url: str, model: str) -> None:
        super().__init__(url, model)
        os.environ["OLLAMA_HOST"] = url
        os.environ["LLM_USER_PATH"] = tempfile.mkdtemp(prefix="llm-")

    @property
    def client(self) -> Any:
        return llm.get_model(f"{self.model}:latest")

    def list(self) -> None:
        found = [model.model_id for model in llm.get_models()]
        s.check(any(name.startswith(self.model) for name in found), found)

    def chat(self) -> None:
        said = self.client.prompt(s.QUESTION, stream=False, temperature=0).text()
        s.check(s.ANSWER in said, said)

    def stream(self) -> None:
        said = "".join(self.client.prompt(s.QUESTION, stream=True, temperature=0))
        s.check(s.ANSWER in said, said)

    def tools(self) -> None:
        asked: list[str] = []

        def get_weather(city: str) -> str:
            """Get the weather in a city"""
            asked.append(city)
            return s.TOOL_RESULT

        for stream in (False, True):
            chain = self.client.chain(
                s.TOOL_QUESTION, tools=[get_weather], stream=stream, options={"temperature": 0}
            )
            said = chain.text()
            s.check(asked.pop() and said, (stream, said))

    def structured(self) -> None:
        reply = self.client.prompt(
            s.STRUCTURED_QUESTION, schema=s.SCHEMA, stream=False, temperature=0
        )
        s.check(isinstance(json.loads(reply.text())["city"], str), reply.text())

    def embeddings(self) -> None:
        found = llm.get_embedding_model(f"{self.model}:latest").embed("a")
        s.check(len(found) > 1, found)

    def errors(self) -> None:
        try:
            self.client.prompt("x", stream=False, num_ctx=2).text()
        except Exception as error:
            s.check("the context holds 2" in str(error), error)
        else:
            raise AssertionError("no error")

    def cancel(self) -> None:
        stream = iter(self.client.prompt(s.LONG_QUESTION, stream=True))
        next(stream)
        stream.close()  # type: ignore[attr-defined]
