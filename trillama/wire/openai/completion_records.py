"""Records of ``/v1/completions``: neutral events as chunks of a stream or as one object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...base.turns import Finished, Piece, TurnEvent, joined
from ..gojson import encode, encode_text
from .logprobs import completion_logprobs, text_length
from .records import ChoiceRecords, Heading, common_fields, finish_reason


class _Choice:
    """Writes the chunks of one answer.

    Args:
        echo: the prompt, where the answer begins with it.
    """

    def __init__(self, head: bytes, index: int, echo: str) -> None:
        self.end: Finished | None = None
        self._head = head + b'{"index":%d,"text":' % index
        self._echo = echo
        self._offset = len(echo)

    def piece(self, piece: Piece) -> bytes:
        """More of the answer."""
        text, self._echo = self._echo + piece.content, ""
        logprobs = b"null"
        if piece.logprobs:
            logprobs = encode(completion_logprobs(piece.logprobs, self._offset))
            self._offset += text_length(piece.logprobs)
        fields = encode_text(text) + b',"logprobs":' + logprobs
        return self._head + fields + b',"finish_reason":null}]}\n\n'

    def finish(self, end: Finished) -> bytes:
        """The reason; an answer that said nothing shows its prompt first."""
        before = self.piece(Piece()) if self._echo else b""
        self.end = end
        reason = finish_reason(end, False).encode()
        return before + self._head + b'"","logprobs":null,"finish_reason":"' + reason + b'"}]}\n\n'


class CompletionRecords(ChoiceRecords):
    """Writes the answers to one request; see ``ChoiceRecords``.

    Args:
        echoes: for each choice the prompt it begins with, or "".
    """

    def __init__(
        self, heading: Heading, echoes: Sequence[str], per_prompt: int, *, includes_usage: bool
    ) -> None:
        fields = common_fields(heading, "cmpl")
        super().__init__(fields, "text_completion", per_prompt, includes_usage=includes_usage)
        self._echoes = echoes
        self._choices = [_Choice(self._opening, at, echo) for at, echo in enumerate(echoes)]

    def whole(self, answers: Sequence[Sequence[TurnEvent]]) -> bytes:
        """The one object of answers that are not streamed."""
        found = list(map(joined, answers))
        choices = [
            _whole_choice(at, self._echoes[at], said, end) for at, (said, end) in enumerate(found)
        ]
        return self._whole("text_completion", choices, (end for _, end in found))


def _whole_choice(index: int, echo: str, said: Piece, end: Finished) -> dict[str, Any]:
    logprobs = completion_logprobs(said.logprobs, len(echo)) if said.logprobs else None
    return {
        "index": index,
        "text": echo + said.content,
        "logprobs": logprobs,
        "finish_reason": finish_reason(end, False),
    }
