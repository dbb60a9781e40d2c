"""Pydantic AI with its OpenAI models: chat completions and responses."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pydantic
from pydantic_ai import Agent, ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.output import NativeOutput
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients import session as s


class City(pydantic.BaseModel):
    """A city."""

    city: str = pydantic.Field(max_length=20)


class Client(s.Session):
    """See the module."""

    without: ClassVar[dict[str, str]] = {"list": "the library has none"}

    def __init__(self, url: str, model: str) -> None:
        super().__init__(url, model)
        self.provider = OpenAIProvider(base_url=f"{url}/v1", api_key="any")
        self.kinds = (OpenAIChatModel, OpenAIResponsesModel)

    def _agent(self, kind: Any, **fields: Any) -> Any:
        model = kind(fields.pop("model", self.model), provider=self.provider)
        return Agent(model, model_settings={"temperature": 0}, **fields)

    async def _said(self, agent: Any, question: str) -> str:
        """A streamed answer."""
        async with agent.run_stream(question) as result:
            return "".join([piece async for piece in result.stream_text(delta=True)])

    def chat(self) -> None:
        for kind in self.kinds:
            result = self._agent(kind).run_sync(s.QUESTION)
            s.check(s.ANSWER in result.output and result.usage.output_tokens, result)

    def stream(self) -> None:
        for kind in self.kinds:
            text = asyncio.run(self._said(self._agent(kind), s.QUESTION))
            s.check(s.ANSWER in text, text)

    def tools(self) -> None:
        for kind in self.kinds:
            asked: list[str] = []

            def get_weather(city: str, asked: list[str] = asked) -> str:
                """Get the weather in a city"""
                asked.append(city)
                return s.TOOL_RESULT

            agent = self._agent(kind)
            agent.tool_plain(lambda city: get_weather(city), name="get_weather",
                             description="Get the weather in a city")  # fmt: skip
            result = agent.run_sync(s.TOOL_QUESTION)
            s.check(asked and result.output, (asked, result))
            said = asyncio.run(self._said(agent, s.TOOL_QUESTION))
            s.check(len(asked) > 1 and said, (asked, said))

    def structured(self) -> None:
        for kind in self.kinds:
            result = self._agent(kind, output_type=NativeOutput(City)).run_sync(
                s.STRUCTURED_QUESTION
            )
            s.check(isinstance(result.output, City), result)

    def embeddings(self) -> None:
        from pydantic_ai import Embedder
        from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel

        model = OpenAIEmbeddingModel(self.model, provider=self.provider)
        found = Embedder(model).embed_documents_sync(["a", "b"])
        s.check(len(found.embeddings) == 2, found)

    def errors(self) -> None:
        for kind in self.kinds:
            try:
                self._agent(kind, model="absent").run_sync("x")
            except ModelHTTPError as error:
                s.check(error.status_code == 404, error)
            else:
                raise AssertionError("no error")

    def cancel(self) -> None:
        async def leave() -> None:
            async with self._agent(OpenAIChatModel).run_stream(s.LONG_QUESTION) as result:
                async for _ in result.stream_text(delta=True):
                    return

        asyncio.run(leave())
