"""llama.cpp's vocabularies: bytes, control tokens, long runs, many threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.support.tiny_random import SPECIALS, TinyShape, make_tiny, vocabulary
from trillama.base.errors import EngineError, ModelLoadError
from trillama.engine import vocab
from trillama.engine.base import ContextParams, LoadParams
from trillama.engine.vocab import LlamaVocabulary

TEXTS = ["", "hello the world", "  a\n\tb", "naïve café — 世界 \U0001f600", "\x00\x01", "x" * 5000]


def on_a_big_stack(call: Callable[[], Any]) -> Any:
    """Run ``call`` on a thread with a stack of 512 MiB, as the runner does."""
    results: list[Any] = []
    before = threading.stack_size(512 << 20)
    try:
        thread = threading.Thread(target=lambda: results.append(call()))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    return results[0]


@pytest.mark.parametrize("text", TEXTS)
def test_text_survives_tokens(model, text):
    """The pieces of a text's tokens, put together, are its bytes."""
    tokens = model.vocabulary.tokenize(text)
    assert tokens.dtype == np.int32
    assert b"".join(model.vocabulary.pieces[token] for token in tokens) == text.encode()


def test_merges_make_tokens_fewer(model):
    """Words of the vocabulary are one token, not their letters."""
    tokens = [vocabulary()[token] for token in model.vocabulary.tokenize("hell the")]
    assert tokens == ["hell", "Ġt", "he"]


def test_control_tokens_are_read_only_when_asked(model):
    """The same spelling is one token in a prompt and plain text in what a user wrote."""
    spelled = "<|im_start|>"
    token = vocabulary().index(spelled)
    assert model.vocabulary.tokenize(spelled).tolist() == [token]
    plain = model.vocabulary.tokenize(spelled, parse_special=False)
    assert token not in plain
    assert b"".join(model.vocabulary.pieces[one] for one in plain) == spelled.encode()


def test_a_long_piece_is_read_whole(model, monkeypatch):
    """A token with more bytes than the usual room has its own bytes all the same."""
    monkeypatch.setattr(vocab, "_USUAL_PIECE", 2)
    again = LlamaVocabulary(model._vocabulary._pointer)
    assert again.pieces == model.vocabulary.pieces
    assert max(map(len, again.pieces)) > 2


def test_control_tokens_are_silent_in_answers_and_spelled_on_request(model):
    """Control tokens have no piece; ``text_of`` names them; unknown ids have no text."""
    table = model.vocabulary
    for spelled in SPECIALS[:3]:
        token = vocabulary().index(spelled)
        assert (table.pieces[token], table.text_of(token)) == (b"", spelled.encode())
    assert table.text_of(vocabulary().index("<think>")) == b"<think>"
    assert [table.text_of(token) for token in (-1, table.size, 2**31 - 1)] == [b"", b"", b""]


def test_the_ends_of_a_generation_are_known(model):
    """Exactly the two end marks are end-of-generation tokens, and EOS is one of them."""
    table = model.vocabulary
    ends = {vocabulary().index("<|endoftext|>"), vocabulary().index("<|im_end|>")}
    assert set(np.flatnonzero(table.is_eog).tolist()) == ends
    assert table.eos in ends
    assert not table.add_bos


def test_a_beginning_is_added_where_the_model_wants_one(backend, tmp_path):
    """BOS stands in front when both the model and the caller say so."""
    path = make_tiny(tmp_path / "bos.gguf", TinyShape(bos=True))
    model = backend.load(str(path), LoadParams())
    table = model.vocabulary
    assert table.add_bos
    assert table.tokenize("a").tolist() == [table.bos, *table.tokenize("a", add_special=False)]
    model.close()


def test_lone_surrogates_become_replacement_characters(model):
    """JSON can carry halves of a pair; they are replaced, and whole pairs are read as one."""
    tokens = model.vocabulary.tokenize("a\ud800b\ud83d\ude00")
    text = b"".join(model.vocabulary.pieces[token] for token in tokens).decode()
    assert text == "a\ufffdb\U0001f600"


def test_a_count_larger_than_the_buffer_grows_it(model, monkeypatch):
    """The library answers with the count it needs; the second call gets that much room."""
    real = model.vocabulary._tokenize
    calls: list[int] = []

    def small_at_first(self, data, into, add_special, parse_special):
        calls.append(len(into))
        room = into[:3] if len(calls) == 1 else into
        return real(data, room, add_special, parse_special)

    monkeypatch.setattr(vocab.LlamaVocabulary, "_tokenize", small_at_first)
    assert len(model.vocabulary.tokenize("abcdefg")) == 7
    assert calls == [7 + 16, 7]


@pytest.mark.parametrize("pre_tokenizer", ["tekken", "gpt-4o", "deepseek-llm"])
def test_long_runs_of_one_class_need_a_big_stack_and_get_through_there(
    backend, tmp_path, pre_tokenizer
):
    """100 000 equal characters overflow an ordinary stack in these pre-tokenizers."""
    path = make_tiny(tmp_path / "run.gguf", TinyShape(pre_tokenizer=pre_tokenizer))
    model = backend.load(str(path), LoadParams())
    for letter in (" ", "a", "\n", "."):
        tokens = on_a_big_stack(lambda run=letter * 100_000: model.vocabulary.tokenize(run))
        assert sum(len(model.vocabulary.pieces[token]) for token in tokens) == 100_000
    model.close()


def test_many_threads_tokenize_at_once(model):
    """Eight threads with texts of their own get what one thread gets."""
    texts = [f"thread {number} says hello the world " * 200 for number in range(8)]
    alone = [model.vocabulary.tokenize(text).tolist() for text in texts]
    together: list[list[int] | None] = [None] * 8

    def work(number: int) -> None:
        together[number] = model.vocabulary.tokenize(texts[number]).tolist()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_closing_a_model_waits_for_tokenizers_and_refuses_later_ones(
    backend, tiny_random_path, monkeypatch
):
    """The vocabulary is not freed under a thread that reads it."""
    model = backend.load(str(tiny_random_path), LoadParams())
    table = model.vocabulary
    inside, go_on, events = threading.Event(), threading.Event(), []
    real = vocab.LlamaVocabulary._tokenize

    def slow(self, *arguments):
        inside.set()
        go_on.wait()
        count = real(self, *arguments)
        events.append("tokenized")
        return count

    monkeypatch.setattr(vocab.LlamaVocabulary, "_tokenize", slow)
    reader = threading.Thread(target=lambda: table.tokenize("some text"))
    closer = threading.Thread(target=lambda: (model.close(), events.append("closed")))
    reader.start()
    inside.wait()
    closer.start()
    go_on.set()
    reader.join()
    closer.join()
    assert events == ["tokenized", "closed"]
    with pytest.raises(EngineError, match="closed"):
        table.tokenize("more")


def test_suppressed_tokens_are_never_likely(backend, tmp_path):
    """Tokens the model's file suppresses have -inf in every row, for every sampler."""
    path = make_tiny(tmp_path / "suppressed.gguf", TinyShape(suppressed=(5, 97, 9999)))
    model = backend.load(str(path), LoadParams())
    context = model.open_context(ContextParams(cells=256, sequences=4, threads=1))
    batch = context.new_batch()
    batch.add_heads([1, 2], [0, 0], [0, 1])
    context.decode(batch)
    assert model.vocabulary.suppressed.tolist() == [5, 97]
    assert np.argwhere(np.isneginf(context.logits())).tolist() == [[0, 5], [0, 97], [1, 5], [1, 97]]
    model.close()


def test_a_promised_beginning_that_does_not_exist_fails_the_load(model, monkeypatch):
    """The library asserts on it at the first tokenization; the load says so instead."""
    monkeypatch.setattr(vocab.lib, "llama_vocab_get_add_bos", lambda _: True)
    monkeypatch.setattr(vocab.lib, "llama_vocab_bos", lambda _: -1)
    with pytest.raises(ModelLoadError, match="BOS"):
        LlamaVocabulary(model._vocabulary._pointer)


def test_a_model_without_a_vocabulary_fails_the_load(model, monkeypatch):
    """Every call on such a vocabulary would abort."""
    monkeypatch.setattr(vocab.lib, "llama_vocab_type", lambda _: 0)
    with pytest.raises(ModelLoadError, match="no vocabulary"):
        LlamaVocabulary(model._vocabulary._pointer)


def test_a_vocabulary_can_be_loaded_alone(backend, tiny_model_path):
    """Without weights: the same tokens, next to no time, and no context to be had."""
    whole = backend.load(str(tiny_model_path), LoadParams())
    alone = backend.load(str(tiny_model_path), LoadParams(vocab_only=True))
    text = "Hello <think> wörld"

    assert alone.vocabulary.tokenize(text).tolist() == whole.vocabulary.tokenize(text).tolist()
    assert alone.facts.chat_template == whole.facts.chat_template
    with pytest.raises(ModelLoadError, match="only the vocabulary"):
        alone.open_context(ContextParams(cells=256))
    for model in (alone, whole):
        model.close()
