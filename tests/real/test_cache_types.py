"""Element types of the KV cache on the bundled model, in one pool and in streams."""

from __future__ import annotations

import pytest

from tests.support.stepping import Stepped
from trillama.base.errors import ModelLoadError
from trillama.base.jobs import Job
from trillama.base.options import Options
from trillama.batching import Batcher
from trillama.engine.base import ContextParams
from trillama.engine.llama import LlamaContext, LlamaModel

ANSWERS = {
    "What is the capital of France?": "Paris",
    "What is 12 + 30?": "42",
    "Repeat: QX-7731": "QX-7731",
}


def opened(tiny: LlamaModel, kind: str, streams: int, flash: bool | None = None) -> LlamaContext:
    params = ContextParams(
        cells=512, streams=streams, kv_memory=1 << 30, sequences=8, outputs=4, batch=256,
        threads=1, cache_type_k=kind, cache_type_v=kind, flash_attention=flash,
    )  # fmt: skip
    return tiny.open_context(params)


def said(context: LlamaContext) -> dict[str, str]:
    """Greedy answers to all questions at once."""
    run, pieces = Stepped(Batcher(context)), context.vocabulary.pieces
    for text in ANSWERS:
        turn = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
        prompt = context.vocabulary.tokenize(turn)
        options = Options(temperature=0, num_predict=24)
        run.batcher.submit(Job(id=text, prompt=prompt, options=options, limit=512))
    run.run()
    run.batcher.close()
    context.close()
    return {
        text: b"".join(pieces[token] for token in tokens).decode()
        for text, tokens in run.tokens.items()
    }


@pytest.mark.parametrize("streams", [0, 3])
@pytest.mark.parametrize("kind", ["f16", "q8_0", "q4_0"])
def test_answers_are_right_with_every_type(tiny: LlamaModel, kind: str, streams: int) -> None:
    """Smaller keys and values cost precision, not sense; quantised ones bring flash attention."""
    context = opened(tiny, kind, streams)
    assert context.limits.separate == bool(streams)
    answers = said(context)
    wrong = {text: answers[text] for text, right in ANSWERS.items() if right not in answers[text]}
    assert not wrong


def test_an_image_is_as_small_as_the_type_makes_it(tiny: LlamaModel) -> None:
    """q8_0 takes 34 bytes where f16 takes 64, q4_0 takes 18."""
    sizes = {}
    for kind in ("f16", "q8_0", "q4_0"):
        context = opened(tiny, kind, 0)
        batch = context.new_batch()
        batch.add_run(0, 0, context.vocabulary.tokenize("word " * 100)[:100])
        context.decode(batch)
        sizes[kind] = len(context.save(0))
        context.close()
    assert sizes["q8_0"] / sizes["f16"] == pytest.approx(34 / 64, rel=0.05)
    assert sizes["q4_0"] / sizes["f16"] == pytest.approx(18 / 64, rel=0.1)


def test_quantised_values_without_flash_attention_are_refused(tiny: LlamaModel) -> None:
    """The message says what contradicts what."""
    with pytest.raises(ModelLoadError, match="q8_0 V cache needs flash attention, which is off"):
        opened(tiny, "q8_0", 0, flash=False)
