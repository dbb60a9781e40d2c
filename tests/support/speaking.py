"""Short ways to let a fake context speak."""

from __future__ import annotations

from trillama.engine.base import DecodeStatus
from trillama.engine.fake import FakeContext, FakeVocabulary

VOCABULARY = FakeVocabulary()
CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def prefill(context: FakeContext, sequence: int, text: str, start: int = 0) -> int:
    """Decode ``text`` in one call, and the token that follows."""
    batch = context.new_batch()
    batch.add_run(sequence, start, VOCABULARY.tokenize(text))
    batch.want_last()
    assert context.decode(batch) is DecodeStatus.OK
    return int(context.logits()[-1].argmax())


def step(context: FakeContext, sequence: int, token: int) -> int:
    """Decode one token, and the token that follows."""
    batch = context.new_batch()
    batch.add_heads([token], [context.seq_pos_max(sequence) + 1], [sequence])
    assert context.decode(batch) is DecodeStatus.OK
    return int(context.logits()[0].argmax())


def generate(context: FakeContext, sequence: int, token: int, limit: int = 200) -> str:
    """The answer that starts with ``token``, up to its end or ``limit`` tokens."""
    said = bytearray()
    while not VOCABULARY.is_eog[token] and len(said) < limit:
        said += VOCABULARY.pieces[token]
        token = step(context, sequence, token)
    return said.decode("utf-8", "replace")


def answer(context: FakeContext, prompt: str, limit: int = 200) -> str:
    """What the model says to ``prompt`` in a cleared context."""
    context.clear()
    return generate(context, 0, prefill(context, 0, prompt), limit)
