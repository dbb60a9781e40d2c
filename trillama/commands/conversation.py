"""What a chat holds: its model, what was said, and what was set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .answer import RunOptions
from .client import Client

Message = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Conversation:
    """One chat with one server.

    Attributes:
        shown: what ``/api/show`` says of the model.
        messages: since the start or the last clearing, system messages included.
        system: the text of ``/set system``, "" for the model's own.
        parameters: those of ``/set parameter``.
        history: whether what is typed is kept for the next chat.
        last: the final record of the latest answer.
    """

    client: Client
    model: str
    options: RunOptions
    shown: dict[str, Any] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    system: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    history: bool = True
    last: dict[str, Any] = field(default_factory=dict)

    def load(self, model: str) -> None:
        """Change to a model, and forget what was said to the one before.

        Raises:
            ServerRefused: it cannot be loaded; all is as before.
        """
        shown = self.client.call("POST", "/api/show", {"model": model}) or {}
        fields = self.options.request()
        fields.pop("format", None)
        body = {"model": model, "stream": False, **fields}
        self.client.call("POST", "/api/generate", body)
        self.model, self.shown = model, shown
        self.clear()

    def clear(self) -> None:
        """Forget what was said, except the session's system message."""
        self.messages = [said("system", self.system)] if self.system else []
        self.last = {}

    def set_system(self, text: str) -> None:
        """Say how to answer from here on."""
        self.system = text
        if self.messages and self.messages[-1]["role"] == "system":
            self.messages.pop()
        self.messages.append(said("system", text))

    @property
    def sees(self) -> bool:
        """Whether the model takes pictures."""
        return "vision" in (self.shown.get("capabilities") or ())

    def status(self) -> str:
        """One line: the model, the tokens of the conversation, and how fast the last ones came."""
        used = self.last.get("prompt_eval_count", 0) + self.last.get("eval_count", 0)
        parts = [self.model, f"{used} tokens" if used else ""]
        if duration := self.last.get("eval_duration", 0):
            parts.append(f"{self.last.get('eval_count', 0) / duration * 1e9:.1f} tokens/s")
        return " · ".join(filter(None, parts))

    def request(self, question: Message) -> dict[str, Any]:
        """The body that asks this next."""
        body = {"model": self.model, "messages": [*self.messages, question]}
        return body | self._parameters("options") | self.options.request()

    def show(self) -> dict[str, Any]:
        """The model as this session has changed it."""
        body = {"model": self.model, "system": self.system, **self._parameters("options")}
        return dict(self.client.call("POST", "/api/show", body))

    def save(self, name: str) -> None:
        """Make a model of the session.

        Raises:
            ServerRefused: it cannot be made, or may not have this name.
        """
        before = [*(self.shown.get("messages") or ())]
        after = [one for one in self.messages if one != said("system", self.system)]
        body = {"model": name, "from": self.model, **self._parameters("parameters")}
        if self.system:
            body["system"] = self.system
        if after:
            body["messages"] = [*before, *after]
        for _ in self.client.stream("/api/create", body):
            pass

    def _parameters(self, key: str) -> dict[str, Any]:
        return {key: self.parameters} if self.parameters else {}


def said(role: str, text: str, images: Sequence[str] = ()) -> Message:
    """A message of the chat."""
    pictures = {"images": list(images)} if images else {}
    return {"role": role, "content": text, **pictures}
