"""The models folder: what is found, what is tolerated, and how a model comes in."""

from __future__ import annotations

import builtins
import hashlib
import json
import os
import stat
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.gguf_bytes import CHATML, small_model
from tests.support.stores import manifest_path, put
from trillama.base.errors import BadRequest, CorruptModel, NotFound, StoreError
from trillama.base.messages import Message, ToolCall, ToolFunction
from trillama.base.names import parse_name, parse_reference
from trillama.models import manifest as media
from trillama.models.bundled import ensure_bundled
from trillama.models.manifest import Layer, Manifest, go_document, manifest_bytes
from trillama.models.store import Extras, ModelStore


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """An empty store."""
    return ModelStore(tmp_path / "models")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A small sound GGUF file."""
    path = tmp_path / "weights.gguf"
    path.write_bytes(small_model())
    return path


def test_an_empty_store_is_empty(store: ModelStore) -> None:
    """Listing and finding create nothing where there is nothing."""
    assert store.installed() == []
    with pytest.raises(NotFound, match=r"^model 'x:latest' not found$"):
        store.find("x")
    assert not store.root.exists()


def test_import_and_find(store: ModelStore, weights: Path) -> None:
    """An imported model is found with its facts, and everything lies where Ollama looks."""
    extras = Extras(parameters={"temperature": 0.5}, system="Be kind.", licenses=("MIT",))
    model = store.import_gguf(weights, "mine/small:q8", extras)
    path = store.root / "manifests" / "registry.ollama.ai" / "mine" / "small" / "q8"
    data = path.read_bytes()
    assert model.name.short == "mine/small:q8"
    assert model.digest == hashlib.sha256(data).hexdigest()
    assert model.modified == path.stat().st_mtime_ns
    assert model.chat_template == CHATML
    assert (model.system, model.parameters) == ("Be kind.", {"temperature": 0.5})
    assert store.licenses(model) == ["MIT"]
    assert model.capabilities == ("completion",)
    assert model.details.family == "llama"
    assert model.details.families == ("llama",)
    assert model.details.parameter_size == "384"
    assert model.details.quantization_level == "Q8_0"
    assert (model.details.context_length, model.details.embedding_length) == (4096, 64)
    assert model.weights is not None
    assert model.weights.read_bytes() == weights.read_bytes()
    listed = [layer["size"] for layer in json.loads(data)["layers"]]
    assert model.size == sum(listed) + json.loads(data)["config"]["size"]
    assert store.installed() == [model]
    assert store.find("MINE/Small:Q8") == model
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o055 == 0o055


def test_a_second_import_replaces_the_first(store: ModelStore, tmp_path: Path) -> None:
    """The name keeps its spelling on disk and means the new weights."""
    for length in (64, 128):
        path = tmp_path / "w.gguf"
        path.write_bytes(small_model(llama__context_length=length))
        store.import_gguf(path, "Small" if length == 64 else "sMALL")
    assert [model.name.short for model in store.installed()] == ["Small:latest"]
    assert store.find("small").details.context_length == 128


def test_bad_weights_do_not_come_in(store: ModelStore, tmp_path: Path) -> None:
    """Weights that would kill the process, or none, leave the store as it was."""
    path = tmp_path / "w.gguf"
    path.write_bytes(small_model(llama__block_count=0))
    with pytest.raises(CorruptModel):
        store.import_gguf(path, "x")
    with pytest.raises(NotFound):
        store.import_gguf(tmp_path / "none", "x")
    with pytest.raises(BadRequest):
        store.import_gguf(path, "../x")
    assert not store.root.exists()


def test_a_changed_manifest_is_read_again(store: ModelStore) -> None:
    """What another program writes, changes or removes shows on the next call."""
    path = put(store, "a", (media.SYSTEM, b"one"))
    assert store.find("a").system == "one"
    put(store, "a", (media.SYSTEM, b"two, longer"))
    assert store.find("a").system == "two, longer"
    assert [model.system for model in store.installed()] == ["two, longer"]
    path.unlink()
    assert store.installed() == []
    with pytest.raises(NotFound):
        store.find("a")


def test_bad_manifests_hide_nobody(store: ModelStore) -> None:
    """Stray files, damaged manifests and missing layers are passed over in a list."""
    put(store, "good", (media.SYSTEM, b"fine"))
    put(store, "bad").write_bytes(b"{")
    put(store, "huge").write_bytes(b" " * (media.MANIFEST_CAP + 1))
    (manifest_path(store, "good").parent / ".DS_Store").write_bytes(b"\0")
    (manifest_path(store, "good").parent / "folder").mkdir()
    (store.root / "manifests" / "stray").write_bytes(b"x")
    traversal = put(store, "evil")
    traversal.write_text('{"layers":[{"mediaType":"m","digest":"sha256:../../x","size":1}]}')
    lost = put(store, "lost", (media.SYSTEM, b"a layer that goes away"))
    layer = media.parse_manifest(lost.read_bytes()).of_type(media.SYSTEM)[0]
    store.blobs.path(layer.blob).unlink()
    for _ in range(2):
        assert [model.name.short for model in store.installed()] == ["good:latest"]
    with pytest.raises(CorruptModel, match="manifest"):
        store.find("bad")
    store.blobs.publish_bytes(b"a layer that goes away")
    assert {model.name.short for model in store.installed()} == {"good:latest", "lost:latest"}


def test_missing_weights_are_not_found(store: ModelStore, weights: Path) -> None:
    """A model without its weights is listed, but cannot be had until they are back."""
    model = store.import_gguf(weights, "x")
    assert model.weights is not None
    model.weights.unlink()
    fresh = ModelStore(store.root)
    for one in (store, fresh):
        with pytest.raises(NotFound, match="weights are missing"):
            one.find("x")
    assert [one.name.short for one in fresh.installed()] == ["x:latest"]
    fresh.blobs.publish_file(weights)
    assert fresh.find("x") == model


def test_layers_of_every_kind(store: ModelStore) -> None:
    """Later layers win or merge, messages become neutral, old media types count."""
    messages = [
        {"role": "User", "content": "hi"},
        {
            "role": "assistant",
            "content": "",
            "thinking": "hm",
            "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"a": 1}}}],
        },
    ]
    put(
        store,
        "a",
        (media.PROMPT, b"old {{ .Prompt }}"),
        (media.TEMPLATE, b"{{ .Prompt }}{{ .Suffix }}"),
        (media.SYSTEM, b"first"),
        (media.SYSTEM, b"second"),
        (media.PARAMS, go_document({"top_k": 1, "seed": 7})),
        (media.PARAMS, go_document({"top_k": 2})),
        (media.MESSAGES, go_document(messages)),
        ("application/vnd.somebody.else", b"?"),
    )
    model = store.find("a")
    assert model.template == "{{ .Prompt }}{{ .Suffix }}"
    assert model.system == "second"
    assert model.parameters == {"top_k": 2, "seed": 7}
    assert model.messages == (
        Message("user", "hi"),
        Message("assistant", "", "hm", tool_calls=(ToolCall(ToolFunction("f", {"a": 1}), "1"),)),
    )
    assert model.weights is None
    assert model.capabilities == ("insert",)


def test_unreadable_weights_are_still_listed(store: ModelStore) -> None:
    """A model whose weights are damaged is listed without what the weights would tell."""
    put(store, "a", (media.MODEL, b"GGUF but not really"))
    assert [model.capabilities for model in store.installed()] == [()]
    assert store.find("a").chat_template == ""


def test_lists_are_sorted_newest_first(store: ModelStore) -> None:
    """Whole seconds decide, names break ties, so the order never jumps."""
    for name, when in (("b", 100.9), ("a", 100.1), ("c", 300.0)):
        os.utime(put(store, name, (media.SYSTEM, name.encode())), (when, when))
    assert [model.name.model for model in store.installed()] == ["c", "a", "b"]


def test_a_thousand_models_are_listed_quickly(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warm list costs two looks at the file system a model: no file is read, no folder listed."""
    system = store.blobs.publish_bytes(b"shared")
    data = manifest_bytes(Manifest(layers=(Layer(media.SYSTEM, system, 6),)))
    for number in range(1000):
        path = manifest_path(store, f"m{number}")
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        os.utime(path.parent, (1, 1))  # long ago: its listing can be trusted
    os.utime(path.parent.parent, (1, 1))
    assert len(store.installed()) == 1000
    counts: Counter[str] = Counter()
    for name in ("stat", "scandir", "open"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, n=name, f=real, **k: (counts.update([n]), f(*a, **k))[1]
        )
    monkeypatch.setattr(builtins, "open", lambda *a, **k: pytest.fail("a file was read"))
    assert len(store.installed()) == 1000
    assert counts["stat"] <= 2 * 1000 + 10
    assert counts["scandir"] <= 3
    assert counts["open"] == 0


def test_a_list_notices_what_changes_within_its_patience(store: ModelStore) -> None:
    """Listings of folders are kept, but never past a change, not even one of the same moment."""
    for number in range(30):
        put(store, f"m{number}", (media.SYSTEM, b"x"))
        put(store, f"a:t{number}", (media.SYSTEM, b"x"))
        assert len(store.installed()) == 2 * (number + 1)
    store.delete(parse_name("a:t7"))
    assert len(store.installed()) == 59


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    """A models folder that cannot be one is an error, not an empty list, once it is written to."""
    (tmp_path / "models").write_text("x")
    store = ModelStore(tmp_path / "models")
    weights = tmp_path / "w.gguf"
    weights.write_bytes(small_model())
    with pytest.raises(StoreError):
        store.import_gguf(weights, "x")


def test_a_pin_means_one_manifest(store: ModelStore) -> None:
    """A pinned name means one manifest, in whichever tag if none is said, or nothing."""
    put(store, "a:one", (media.SYSTEM, b"one"))
    put(store, "a:two", (media.SYSTEM, b"two"))
    one = store.find("a:one")
    pin = f"sha256:{one.digest}"
    assert store.find(f"a:one@{pin}") == store.find(f"A@{pin}") == one
    for text in (f"a:two@{pin}", f"b@{pin}", "a@sha256:" + "0" * 64):
        with pytest.raises(NotFound, match="@sha256:"):
            store.find(text)
    put(store, "a:one", (media.SYSTEM, b"changed"))
    with pytest.raises(NotFound, match="@sha256:"):
        store.find(f"a:one@{pin}")


@given(st.text(max_size=60) | st.text("ab./:-_@\\~\0%", max_size=40))
@example("../../x")
@example("a/../../b:..")
def test_no_text_leads_out_of_the_folder(text: str) -> None:
    """Whatever a client calls a model, its manifest is looked for below ``manifests``."""
    store = ModelStore(Path("/nowhere/models"))
    try:
        reference = parse_reference(text)
    except BadRequest:
        return
    path = store.tree.path(reference.name)
    assert path.resolve() == path
    assert path.is_relative_to("/nowhere/models/manifests")
    assert len(path.relative_to("/nowhere/models/manifests").parts) == 4


def test_the_setting_decides_between_two_templates(store: ModelStore) -> None:
    """A store can be told whether Go templates make the prompts of models that have both."""
    put(store, "a", (media.MODEL, small_model()), (media.TEMPLATE, b"{{ .Prompt }}{{ .Suffix }}"))
    made = {
        wants: ModelStore(store.root, wants_go=wants).find("a") for wants in (None, True, False)
    }
    assert {wants: model.by_go for wants, model in made.items()} == {
        None: True, True: True, False: False,
    }  # fmt: skip
    assert "insert" in made[True].capabilities
    assert "insert" not in made[False].capabilities


def test_a_folder_that_cannot_be_looked_at_is_told(tmp_path: Path) -> None:
    """Whatever is wanted of it: which folder, and why, is no mystery of the server's."""
    store = ModelStore(tmp_path / ("x" * 300) / "models")  # where even root gets an error
    for want in (store.installed, lambda: store.find("tiny"), store.blobs.entries):
        with pytest.raises(StoreError, match="File name too long"):
            want()
    with pytest.raises(StoreError, match="File name too long"):
        ensure_bundled(store)
