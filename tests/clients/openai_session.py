"""OpenAI's own client: chat completions, responses, embeddings."""

from __future__ import annotations

import json
from typing import Any

import openai
import pydantic

from tests.clients import session as s


class City(pydantic.BaseModel):
    """A city."""

    city: str = pydantic.Field(max_length=20)


class Weather(pydantic.BaseModel):
    """Get the weather in a city"""

    city: str


class Client(s.Session):
    """See the module."""

    def __init__(self, url: str, model: str) -> None:
        super().__init__(url, model)
        self.client = openai.OpenAI(api_key="any", base_url=f"{url}/v1", max_retries=0)

    def _chat(self, *messages: Any, **fields: Any) -> Any:
        asked = {"model": self.model, "messages": list(messages), "temperature": 0, **fields}
        return self.client.chat.completions.create(**asked)

    def list(self) -> None:
        found = [model.id for model in self.client.models.list()]
        s.check(any(name.startswith(self.model) for name in found), found)
        s.check(self.client.models.retrieve(self.model).id == self.model, found)

    def chat(self) -> None:
        said = self._chat({"role": "user", "content": s.QUESTION}).choices[0].message.content
        s.check(s.ANSWER in said, said)
        response = self.client.responses.create(model=self.model, input=s.QUESTION, temperature=0)
        s.check(s.ANSWER in response.output_text, response)

    def stream(self) -> None:
        chunks = list(self._chat({"role": "user", "content": s.QUESTION}, stream=True))
        said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        s.check(s.ANSWER in said, said)
        asked = {"model": self.model, "input": s.QUESTION, "temperature": 0}
        with self.client.responses.stream(**asked) as stream:
            for _ in stream:
                pass
            s.check(s.ANSWER in stream.get_final_response().output_text, said)

    def tools(self) -> None:
        tools = [{"type": "function", "function": s.WEATHER}]
        question = {"role": "user", "content": s.TOOL_QUESTION}
        first = self._chat(question, tools=tools, tool_choice="required").choices[0]
        (call,) = first.message.tool_calls
        s.check(json.loads(call.function.arguments)["city"], first)
        s.check(first.finish_reason == "tool_calls", first)
        answer = {"role": "tool", "tool_call_id": call.id, "content": s.TOOL_RESULT}
        last = self._chat(
            question, first.message.model_dump(exclude_none=True), answer, tools=tools
        )
        s.check(last.choices[0].message.content, last)
        self._streamed_tools(call.function.arguments)

    def _streamed_tools(self, arguments: str) -> None:
        """The same call when it is streamed, and by responses."""
        question: Any = {"role": "user", "content": s.TOOL_QUESTION}
        tools: Any = [openai.pydantic_function_tool(Weather, name=s.WEATHER["name"])]
        asked: Any = {"model": self.model, "temperature": 0, "tool_choice": "required"}
        with self.client.chat.completions.stream(
            **asked, messages=[question], tools=tools
        ) as stream:
            (call,) = stream.get_final_completion().choices[0].message.tool_calls or ()
        s.check(call.function.parsed_arguments.city in arguments, call)
        tool = {"type": "function", "strict": False, **s.WEATHER}
        with self.client.responses.stream(**asked, input=[question], tools=[tool]) as events:
            for _ in events:
                pass
            output = events.get_final_response().output
        (made,) = (item for item in output if item.type == "function_call")
        s.check(json.loads(made.arguments)["city"] in arguments, made)
        result = {"type": "function_call_output", "call_id": made.call_id, "output": s.TOOL_RESULT}
        said = self.client.responses.create(
            model=self.model, temperature=0, input=[question, *output, result], tools=[tool]
        )
        s.check(said.output_text, said)

    def structured(self) -> None:
        schema = {"name": "city", "schema": s.SCHEMA, "strict": True}
        wanted = {"type": "json_schema", "json_schema": schema}
        reply = self._chat(
            {"role": "user", "content": s.STRUCTURED_QUESTION}, response_format=wanted
        )
        said = reply.choices[0].message.content
        s.check(isinstance(json.loads(said)["city"], str), said)
        asked: Any = {"model": self.model, "temperature": 0}
        question: Any = {"role": "user", "content": s.STRUCTURED_QUESTION}
        parsed = self.client.chat.completions.parse(
            **asked, messages=[question], response_format=City
        )
        s.check(isinstance(parsed.choices[0].message.parsed, City), parsed)
        response = self.client.responses.parse(**asked, input=[question], text_format=City)
        s.check(isinstance(response.output_parsed, City), response)

    def embeddings(self) -> None:
        found = self.client.embeddings.create(model=self.model, input=["a", "b"])
        s.check(len(found.data) == 2 and len(found.data[0].embedding) > 1, found)

    def errors(self) -> None:
        for stream in (False, True):
            try:
                self.client.chat.completions.create(model="absent", messages=[], stream=stream)
            except openai.BadRequestError as error:
                s.check(error.param == "messages", error)
            try:
                message: Any = {"role": "user", "content": "x"}
                self.client.chat.completions.create(
                    model="absent", messages=[message], stream=stream
                )
            except openai.NotFoundError as error:
                s.check(error.code == "model_not_found", error)
            else:
                raise AssertionError("no error")

    def cancel(self) -> None:
        stream = self._chat({"role": "user", "content": s.LONG_QUESTION}, stream=True)
        next(iter(stream))
        stream.close()
