"""LiteLLM, by its OpenAI road and by its Ollama road."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any, ClassVar

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches a table of prices

import litellm

from tests.clients import session as s


class Client(s.Session):
    """See the module."""

    without: ClassVar[dict[str, str]] = {"list": "the library has none"}

    def __init__(self, url: str, model: str) -> None:
        super().__init__(url, model)
        litellm.telemetry = False
        litellm.suppress_debug_info = True
        self.roads = (
            {"model": f"openai/{model}", "api_base": f"{url}/v1", "api_key": "any"},
            {"model": f"ollama_chat/{model}", "api_base": url},
        )

    def _chat(self, road: dict[str, str], *messages: Any, **fields: Any) -> Any:
        asked = {
            "messages": s.conversation(*messages),
            "temperature": 0,
            "num_retries": 0,
            **road,
            **fields,
        }
        return litellm.completion(**asked)

    def chat(self) -> None:
        for road in self.roads:
            said = self._chat(road, s.QUESTION).choices[0].message.content
            s.check(s.ANSWER in said, said)

    def stream(self) -> None:
        for road in self.roads:
            chunks = list(self._chat(road, s.QUESTION, stream=True))
            said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            s.check(s.ANSWER in said, said)

    def tools(self) -> None:
        tools = [{"type": "function", "function": s.WEATHER}]
        for road in self.roads:
            first = self._chat(road, s.TOOL_QUESTION, tools=tools).choices[0].message
            (call,) = first.tool_calls
            s.check(json.loads(call.function.arguments)["city"], first)
            answer = {"role": "tool", "tool_call_id": call.id, "name": s.WEATHER["name"],
                      "content": s.TOOL_RESULT}  # fmt: skip
            history = (s.TOOL_QUESTION, first.model_dump(exclude_none=True), answer)
            last = self._chat(road, *history, tools=tools).choices[0].message
            s.check(last.content, last)
            chunks = list(self._chat(road, s.TOOL_QUESTION, tools=tools, stream=True))
            (again,) = litellm.stream_chunk_builder(chunks).choices[0].message.tool_calls
            s.check(again.function.arguments == call.function.arguments, again)

    def structured(self) -> None:
        schema = {"name": "city", "schema": s.SCHEMA, "strict": True}
        wanted = {"type": "json_schema", "json_schema": schema}
        for road in self.roads:
            reply = self._chat(road, s.STRUCTURED_QUESTION, response_format=wanted)
            said = reply.choices[0].message.content
            s.check(isinstance(json.loads(said)["city"], str), said)

    def embeddings(self) -> None:
        for road in self.roads:
            model = road["model"].replace("ollama_chat/", "ollama/")
            found = litellm.embedding(**{**road, "model": model}, input=["a", "b"])
            s.check(len(found.data) == 2, found)

    def errors(self) -> None:
        try:
            self._chat({**self.roads[0], "model": "openai/absent"}, "x")
        except litellm.NotFoundError as error:
            s.check("not found" in str(error), error)
        else:
            raise AssertionError("no error")

    def cancel(self) -> None:
        async def leave(road: dict[str, str]) -> None:
            asked: Any = {"messages": s.conversation(s.LONG_QUESTION), "stream": True, **road}
            stream: Any = await litellm.acompletion(**asked)
            await anext(aiter(stream))
            await stream.aclose()

        for road in self.roads:
            asyncio.run(leave(road))
