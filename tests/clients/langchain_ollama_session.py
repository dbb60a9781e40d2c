"""LangChain's binding to Ollama."""

from __future__ import annotations

from typing import Any, ClassVar

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_ollama import ChatOllama, OllamaEmbeddings

from tests.clients import session as s


class Client(s.Session):
    """See the module."""

    without: ClassVar[dict[str, str]] = {"list": "the library has none"}

    def __init__(self, url: str, model: str) -> None:
        super().__init__(url, model)
        self.client = ChatOllama(model=model, base_url=url, temperature=0)

    def chat(self) -> None:
        reply = self.client.invoke(s.QUESTION)
        s.check(s.ANSWER in reply.content and reply.usage_metadata, reply)

    def stream(self) -> None:
        said = "".join(str(chunk.content) for chunk in self.client.stream(s.QUESTION))
        s.check(s.ANSWER in said, said)

    def tools(self) -> None:
        bound = self.client.bind_tools([{"type": "function", "function": s.WEATHER}])
        question = HumanMessage(s.TOOL_QUESTION)
        first: Any = bound.invoke([question])
        (call,) = first.tool_calls
        s.check(call["args"]["city"], first)
        answer = ToolMessage(s.TOOL_RESULT, tool_call_id=call["id"], name=call["name"])
        last = bound.invoke([question, first, answer])
        s.check(last.content, last)
        joined: Any = None
        for chunk in bound.stream([question]):
            joined = chunk if joined is None else joined + chunk
        (again,) = joined.tool_calls
        s.check(again["args"] == call["args"], joined)

    def structured(self) -> None:
        schema = {"title": "City", "description": "A city", **s.SCHEMA}
        asker = self.client.with_structured_output(schema, method="json_schema")
        found: Any = asker.invoke(s.STRUCTURED_QUESTION)
        s.check(isinstance(found["city"], str), found)

    def embeddings(self) -> None:
        found = OllamaEmbeddings(model=self.model, base_url=self.url).embed_documents(["a", "b"])
        s.check(len(found) == 2 and len(found[0]) > 1, found)

    def errors(self) -> None:
        try:
            ChatOllama(model="absent", base_url=self.url).invoke("x")
        except Exception as error:
            s.check("not found" in str(error), error)
        else:
            raise AssertionError("no error")

    def cancel(self) -> None:
        stream = self.client.stream(s.LONG_QUESTION)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
