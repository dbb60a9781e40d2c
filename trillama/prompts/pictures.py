"""Where pictures stand in a prompt: a tag ``[img-N]`` in the text of each message that has some.

Fact: Ollama's rule (server/prompt.go). N counts from 0 over all messages; the first ``[img]`` of a
message is where its next picture goes, and what has no such place goes before the text.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trillama.base.messages import Message

_PLACE = "[img]"


def tagged(messages: Sequence[Message]) -> list[Message]:
    """``messages`` with a tag for each picture."""
    found, number = [], 0
    for message in messages:
        text, before = message.content, ""
        for tag in (f"[img-{number + at}]" for at in range(len(message.images))):
            if _PLACE in text:
                text = text.replace(_PLACE, tag, 1)
            else:
                before += tag
        number += len(message.images)
        found.append(msgspec.structs.replace(message, content=before + text))
    return found
