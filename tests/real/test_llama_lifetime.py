"""Loading, failing to load, and freeing in any order."""

from __future__ import annotations

import ctypes
import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.support.decoding import TOLERANCE, distance, prefill, prompt
from tests.support.tiny_random import TinyShape, make_tiny, vocabulary
from trillama.base.errors import Cancelled, EngineError, ModelLoadError
from trillama.engine import library
from trillama.engine.base import ContextParams, LoadParams, MemoryKind
from trillama.engine.library import LogTail, lib
from trillama.engine.llama import LlamaBackend

PARAMS = ContextParams(
    cells=1024, sequences=4, batch=512, micro_batch=128, outputs=4, threads=1,
    cache_type_k="f32", cache_type_v="f32", flash_attention=False,
)  # fmt: skip


def test_facts_are_those_of_the_file(model):
    """Sizes, kind of memory and template come from the library."""
    facts = model.facts
    assert (facts.architecture, facts.layers, facts.embedding_length) == ("llama", 2, 64)
    assert (facts.train_context, facts.memory) == (4096, MemoryKind.ATTENTION)
    assert facts.parameters * 4 == pytest.approx(facts.size, rel=0.01)
    assert facts.chat_template.startswith("{% for message in messages %}")
    assert model.vocabulary.size == len(vocabulary())


def test_a_missing_file_is_told_before_the_library_is_asked(backend, tmp_path):
    """The message names the file."""
    with pytest.raises(ModelLoadError, match=r"no such model file: .*gone\.gguf"):
        backend.load(str(tmp_path / "gone.gguf"), LoadParams())
    with pytest.raises(ModelLoadError, match="no such model file"):
        backend.load("with\0nul", LoadParams())
    with pytest.raises(ModelLoadError, match="no such model file"):
        backend.load(str(tmp_path), LoadParams())


def test_garbage_is_an_error_with_the_librarys_own_words(backend, tmp_path):
    """The first cause stands in the message, the other lines in a note."""
    path = tmp_path / "garbage.gguf"
    path.write_bytes(b"junk" * 1000)
    with pytest.raises(ModelLoadError, match="invalid magic characters: 'junk'") as caught:
        backend.load(str(path), LoadParams())
    assert str(tmp_path) not in caught.value.message
    assert "failed to load model" in caught.value.__notes__[0]


def test_a_truncated_model_is_an_error(backend, tiny_random_path, tmp_path):
    """Half a file does not load, and the next whole one does."""
    data = tiny_random_path.read_bytes()
    path = tmp_path / "half.gguf"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelLoadError, match="not within the file bounds"):
        backend.load(str(path), LoadParams())
    backend.load(str(tiny_random_path), LoadParams()).close()


@pytest.mark.parametrize(
    "params",
    [
        LoadParams(),
        LoadParams(use_mmap=True),
        LoadParams(use_mmap=False),
        LoadParams(use_mlock=True),
        LoadParams(use_mmap=False, use_mlock=True),
        LoadParams(check_tensors=True),
        LoadParams(gpu_layers=0, main_gpu=0),
    ],
)
def test_every_way_to_load_computes_the_same(backend, model, tiny_random_path, params):
    """Mapping, locking and checking change where weights are, not what they say."""
    expected = prefill(model.open_context(PARAMS), 0, prompt(20))
    other = backend.load(str(tiny_random_path), params)
    assert distance(prefill(other.open_context(PARAMS), 0, prompt(20)), expected) < TOLERANCE
    other.close()


def test_progress_rises_to_one(backend, tiny_random_path):
    """The hook hears the end of the load, and never a fall."""
    told: list[float] = []
    backend.load(str(tiny_random_path), LoadParams(), lambda done: not told.append(done)).close()
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_a_load_can_be_cancelled(backend, tiny_random_path):
    """A hook that returns False ends the load."""
    with pytest.raises(Cancelled):
        backend.load(str(tiny_random_path), LoadParams(), lambda done: False)


def test_a_hook_that_raises_ends_the_load_with_its_own_error(backend, tiny_random_path):
    """The exception passes around the library, not through it."""

    def fail(done: float) -> bool:
        raise KeyError(done)

    with pytest.raises(KeyError):
        backend.load(str(tiny_random_path), LoadParams(), fail)


def test_a_model_closes_its_contexts_first(backend, tiny_random_path):
    """Freeing in the wrong order is impossible; freeing twice does nothing."""
    model = backend.load(str(tiny_random_path), LoadParams())
    first, second = model.open_context(PARAMS), model.open_context(PARAMS)
    prefill(first, 0, prompt(10))
    first.close()
    first.close()
    prefill(second, 0, prompt(10))
    model.close()
    for context in (first, second):
        with pytest.raises(EngineError, match="closed"):
            prefill(context, 0, prompt(10))
        context.close()
    model.close()
    with pytest.raises(ModelLoadError, match="closed"):
        model.open_context(PARAMS)


def test_two_contexts_of_one_model_decode_at_once(model):
    """Two threads with a context each get what each of them gets alone."""
    expected = [
        [prefill_all(model.open_context(PARAMS), salt)] for salt in range(2)
    ]  # fmt: skip
    found: list[list[np.ndarray]] = [[], []]

    def work(number: int) -> None:
        context = model.open_context(PARAMS)
        for _ in range(10):
            context.clear()
            found[number].append(prefill_all(context, number))
        context.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        assert len(found[number]) == 10
        assert all(distance(row, expected[number][0]) < TOLERANCE for row in found[number])


def prefill_all(context, salt: int) -> np.ndarray:
    """Decode 300 tokens in two chunks; the last row of logits."""
    prefill(context, 0, prompt(300, salt)[:200])
    return prefill(context, 0, prompt(300, salt)[200:], 200)


def test_models_load_at_once_on_two_threads(backend, tiny_random_path, tmp_path):
    """A failing load's words do not end up in its neighbour's error."""
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"evil" * 100)
    outcomes: dict[str, list[str]] = {"good": [], "bad": []}

    def load(kind: str, path: str) -> None:
        for _ in range(20):
            try:
                backend.load(path, LoadParams()).close()
                outcomes[kind].append("loaded")
            except ModelLoadError as error:
                outcomes[kind].append(error.message)

    threads = [
        threading.Thread(target=load, args=("good", str(tiny_random_path))),
        threading.Thread(target=load, args=("bad", str(bad))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(outcomes["good"]) == {"loaded"}
    assert all("invalid magic characters: 'evil'" in words for words in outcomes["bad"])


def test_outside_of_loads_no_python_runs_for_a_log_line():
    """While serving, the log callback is a C function."""
    with LogTail() as log:
        lib.llama_model_load_from_file(b"/nowhere", lib.llama_model_default_params())
    assert any("/nowhere" in line for line in log.lines)
    callback, data = lib.llama_log_callback(), ctypes.c_void_p()
    lib.llama_log_get(ctypes.byref(callback), ctypes.byref(data))
    installed, silent = (
        ctypes.cast(function, ctypes.c_void_p).value
        for function in (callback, lib._lib.llama_time_us)
    )
    assert installed == silent


def test_continued_log_lines_are_joined():
    """A progress line of dots is one line."""
    log = LogTail()
    log.add(4, b"f: first")
    log.add(5, b" and second\n")
    log.add(4, b"g: third\n")
    assert log.lines == ["f: first and second", "g: third"]
    assert log.failure("loading").message == "loading: first and second"


def test_a_failure_without_words_says_so():
    """An empty log still makes a sentence."""
    assert LogTail().failure("loading").message == "loading: llama.cpp gave no reason"


@pytest.mark.parametrize("field", ["n_batch", "n_outputs_max_per_seq", "kv_unified"])
def test_a_library_with_moved_fields_is_refused(monkeypatch, field):
    """Defaults that differ mean a structure that differs."""
    moved = lib.llama_context_default_params()
    setattr(moved, field, 77)
    monkeypatch.setattr(library.lib, "llama_context_default_params", lambda: moved)
    with pytest.raises(ModelLoadError, match=field):
        library.check_library()


def test_another_version_of_the_library_is_refused(monkeypatch):
    """The message names the version that works."""
    monkeypatch.setattr(library.lib, "llama_version", lambda: b"9.9.9")
    with pytest.raises(ModelLoadError, match=r"9\.9\.9 is not supported.*0\.3\.36"):
        library.check_library()


def test_this_library_is_the_known_one():
    """The installed pair of binding and library passes its check."""
    library.check_library()
    assert LlamaBackend().version() == "llama.cpp 0.5.0-dev (llama-cpp-python 0.3.36)"


def test_another_seed_is_another_model(backend, model, tmp_path):
    """The tests' models differ where their shapes say so."""
    path = make_tiny(tmp_path / "other.gguf", TinyShape(seed=1))
    other = backend.load(str(path), LoadParams())
    rows = [prefill(one.open_context(PARAMS), 0, prompt(20)) for one in (model, other)]
    assert distance(*rows) > 0.1
    other.close()


def asked_for_huge_pages() -> int:
    """Bytes of this process that the system may keep in huge pages ("hg" among the flags)."""
    total = size = 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line.startswith("Size:"):
            size = int(line.split()[1]) * 1024
        elif line.startswith("VmFlags:") and "hg" in line.split():
            total += size
    return total


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="no huge pages here"
)
def test_a_large_cache_may_lie_in_huge_pages(model):
    """They are asked for before it is filled, and given back with it; a small one is left alone."""
    before = asked_for_huge_pages()
    small = model.open_context(PARAMS)
    assert asked_for_huge_pages() == before
    large = model.open_context(dataclasses.replace(PARAMS, cells=1 << 17))

    assert asked_for_huge_pages() - before >= large.limits.taken.host * 0.9
    large.close()
    assert asked_for_huge_pages() == before
    small.close()
