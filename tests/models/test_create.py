"""Creating models: the bytes and names are Ollama's, and nothing half-made is ever there."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.gguf_bytes import header, llama, small_adapter, small_model, with_data
from tests.support.stores import manifest_path, put
from trillama.base.errors import BadRequest, NotFound, Unsupported
from trillama.base.messages import Message, ToolCall, ToolFunction
from trillama.base.names import Digest, parse_name, parse_reference
from trillama.base.progress import Progress
from trillama.models.create import Recipe, build, create, recipe_of_modelfile
from trillama.models.create.recipe import read_info
from trillama.models.describe import modelfile_text
from trillama.models.footprint import footprint
from trillama.models.gguf import read_gguf
from trillama.models.installed import InstalledModel
from trillama.models.manifest import Config
from trillama.models.modelfile import instructions, parse
from trillama.models.store import ModelStore
from trillama.prompts.known import KnownTemplate, known_templates

SMALLEST = header({"general.architecture": "test"})
"""The 68 bytes of Ollama's own tests."""


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """An empty store."""
    return ModelStore(tmp_path / "models")


def make(store: ModelStore, name: str = "x", **fields: Any) -> tuple[InstalledModel, list[str]]:
    """Create a model; bytes among ``files``, ``adapters`` and ``drafts`` are uploaded first."""
    for kind in ("files", "adapters", "drafts"):
        if kind in fields:
            fields[kind] = {
                key: store.blobs.publish_bytes(data) if isinstance(data, bytes) else data
                for key, data in fields[kind].items()
            }
    if isinstance(fields.get("base"), str):
        fields["base"] = parse_reference(fields["base"])
    said: list[Progress] = []
    model = create(store, Recipe(name=parse_name(name), **fields), said.append)
    return model, [line.status for line in said]


def raw(store: ModelStore, name: str = "x") -> Any:
    """The manifest as it stands."""
    return json.loads(manifest_path(store, name).read_bytes())


def layers(store: ModelStore, name: str = "x") -> list[tuple[str, bytes]]:
    """Kind and content of each layer."""
    return [
        (one["mediaType"].rpartition(".")[2], store.blobs.path(Digest(one["digest"])).read_bytes())
        for one in raw(store, name)["layers"]
    ]


def test_the_conformance_table(store: ModelStore) -> None:
    """Same content, same digests as Ollama: weights, config, parameters, license; same paths."""
    make(
        store,
        files={"test.gguf": SMALLEST},
        parameters={"temperature": 1.0, "top_k": 10, "stop": ["USER:", "ASSISTANT:"]},
        licenses=("MIT",),
    )
    found = raw(store)
    assert found["schemaVersion"] == 2
    assert found["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert found["config"]["mediaType"] == "application/vnd.docker.container.image.v1+json"
    assert [found["config"]["digest"], *(layer["digest"] for layer in found["layers"])] == [
        "sha256:99759ad5b91e723db0393d698ffbb448b1b7df5ff6377a108c49254583b1bc8c",
        "sha256:89a2116c3a82d6a97f59f748d86ed4417214353fd178ee54df418fde32495fad",
        "sha256:e5dcffe836b6ec8a58e492419b550e65fb8cbdc308503979e5dacb33ac7ea3b7",
        "sha256:1d0ad71299d48c2fb7ae2b98e683643e771f8a5b72be34942af90d97a91c1e37",
    ]
    assert len(SMALLEST) == 68
    files = sorted(
        str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file()
    )
    assert files == [
        *sorted(
            f"blobs/sha256-{digest}"
            for digest in (
                "99759ad5b91e723db0393d698ffbb448b1b7df5ff6377a108c49254583b1bc8c",
                "89a2116c3a82d6a97f59f748d86ed4417214353fd178ee54df418fde32495fad",
                "e5dcffe836b6ec8a58e492419b550e65fb8cbdc308503979e5dacb33ac7ea3b7",
                "1d0ad71299d48c2fb7ae2b98e683643e771f8a5b72be34942af90d97a91c1e37",
            )
        ),
        "manifests/registry.ollama.ai/library/x/latest",
    ]
    text = manifest_path(store, "x").read_bytes()
    assert text.endswith(b"}]}\n")
    assert b" " not in text


def test_from_a_file(store: ModelStore) -> None:
    """A GGUF becomes a model with the facts of its header; statuses are Ollama's, in order."""
    model, said = make(
        store, "mine/x:q8", files={"w.gguf": small_model()}, template="{{ .Prompt }}", system="Be."
    )
    digest = hashlib.sha256(small_model()).hexdigest()
    assert said == [
        "parsing GGUF",
        "validating GGUF model",
        f"using existing layer sha256:{digest}",
        f"creating new layer sha256:{hashlib.sha256(b'{{ .Prompt }}').hexdigest()}",
        f"creating new layer sha256:{hashlib.sha256(b'Be.').hexdigest()}",
        "writing manifest",
        "success",
    ]
    assert model.details.family == "llama"
    assert model.details.quantization_level == "Q8_0"
    assert model.details.parameter_size == "384"
    assert (model.template, model.system) == ("{{ .Prompt }}", "Be.")


def test_from_a_model(store: ModelStore) -> None:
    """Layers are inherited with their source; texts are replaced, licenses and parameters added."""
    make(
        store,
        "base",
        files={"w.gguf": small_model()},
        template="one",
        system="old",
        licenses=("MIT",),
        parameters={"top_k": 1, "stop": ["a", "b"], "seed": 7},
        messages=(Message("user", "hi"),),
        requires="0.14.0",
        parser="p",
    )
    model, said = make(
        store,
        base="BASE",
        system="new",
        licenses=("GPL",),
        parameters={"top_k": 2, "stop": ["c"]},
        renderer="r",
    )
    assert layers(store) == [
        ("model", small_model()),
        ("template", b"one"),
        ("license", b"MIT"),
        ("messages", b'[{"role":"user","content":"hi"}]\n'),
        ("system", b"new"),
        ("license", b"GPL"),
        ("params", b'{"seed":7,"stop":["c"],"top_k":2}\n'),
    ]
    assert [one.get("from") for one in raw(store)["layers"]] == ["base:latest"] * 4 + [None] * 3
    assert model.details.parent_model == "base:latest"
    config = model.config
    assert (config.renderer, config.parser, config.requires) == ("r", "p", "0.14.0")
    assert said[0].startswith("using existing layer")


def test_an_unchanged_copy_keeps_its_parameters(store: ModelStore) -> None:
    """What is not replaced is inherited to the byte."""
    make(store, "base", files={"w.gguf": small_model()}, parameters={"seed": 7})
    make(store, base="base")
    assert layers(store) == layers(store, "base")


def test_from_a_pinned_model(store: ModelStore) -> None:
    """A base may be pinned, and is then that one or none."""
    base, _ = make(store, "base", files={"w.gguf": small_model()})
    make(store, base=f"base@sha256:{base.digest}")
    with pytest.raises(NotFound):
        make(store, base="base@sha256:" + "0" * 64)


def test_messages_have_ollamas_bytes(store: ModelStore) -> None:
    """Optional members only where they are set, in declared order."""
    call = ToolCall(ToolFunction("f", {"b": 1.0, "a": "<"}), "id1")
    make(
        store,
        files={"w.gguf": small_model()},
        messages=(
            Message("user", "<hi>", images=(b"png",)),
            Message("assistant", "", "hm", tool_calls=(call,)),
            Message("tool", "r", tool_name="f", tool_call_id="id1"),
        ),
    )
    assert layers(store)[-1][1] == (
        b'[{"role":"user","content":"\\u003chi\\u003e","images":["cG5n"]},'
        b'{"role":"assistant","content":"","thinking":"hm","tool_calls":[{"id":"id1","function":'
        b'{"index":0,"name":"f","arguments":{"b":1,"a":"\\u003c"}}}]},'
        b'{"role":"tool","content":"r","tool_name":"f","tool_call_id":"id1"}]\n'
    )


def test_info_wins(store: ModelStore) -> None:
    """What a client says about a model stands in the config before what the weights say."""
    info = read_info(
        {"capabilities": ["tools"], "model_family": "own", "base_name": "b", "context_length": 5.0,
         "quantization_level": "Q1", "parameter_size": "7B", "embedding_length": 3, "other": 1}
    )  # fmt: skip
    model, _ = make(store, files={"w.gguf": small_model()}, info=info)
    config = model.config
    assert (config.model_family, config.model_families) == ("own", ("own", "llama"))
    assert (config.file_type, config.model_type, config.base_name) == ("Q1", "7B", "b")
    assert (config.context_length, config.embedding_length) == (5, 3)
    assert model.capabilities == ("tools", "completion")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_family": 1}, 'info field "model_family" must be a string'),
        ({"context_length": "x"}, 'info field "context_length" must be a number'),
        ({"context_length": -1}, 'info field "context_length" must be a non-negative integer'),
        ({"context_length": 1.5}, 'info field "context_length" must be a non-negative integer'),
        ({"capabilities": "x"}, 'info field "capabilities" must be a list of strings'),
    ],
)
def test_bad_info(fields: dict[str, Any], message: str) -> None:
    """Each is named."""
    with pytest.raises(BadRequest) as caught:
        read_info(fields)
    assert caught.value.message == message


def test_a_draft_of_other_tokens_is_refused(store: ModelStore) -> None:
    """It could never guess anything; the message has both counts, and no model is left behind."""
    make(store, "base", files={"w.gguf": small_model()})
    other = small_model(**{"tokenizer.ggml.tokens": ["a", "b"]})
    with pytest.raises(BadRequest, match=r"a vocabulary of 2 tokens, the model one of \d+"):
        make(store, base="base", drafts={"d.gguf": other})
    assert [one.name.model for one in store.installed()] == ["base"]


# -- several files --------------------------------------------------------------------------------


CLIP = header(
    {"general.architecture": "clip", "clip.has_vision_encoder": True, "clip.block_count": 0}
)
ADAPTER = small_adapter()


def test_files_are_told_apart(store: ModelStore) -> None:
    """Model, projector and adapter each get their kind; two of them keep their file's name."""
    model, _ = make(
        store,
        files={"b/mmproj.gguf": CLIP, "a/model.gguf": small_model(), "c.gguf": ADAPTER},
    )
    assert [kind for kind, _ in layers(store)] == ["model", "projector", "adapter"]
    assert [one.get("from") for one in raw(store)["layers"]] == [None, "b/mmproj.gguf", "c.gguf"]
    assert "vision" in model.capabilities


def test_adapters_and_drafts(store: ModelStore) -> None:
    """They are put on top of a base; a draft is told in the config."""
    make(store, "base", files={"w.gguf": small_model()})
    model, _ = make(
        store, base="base", adapters={"a.gguf": ADAPTER}, drafts={"d.gguf": small_model()}
    )
    assert [kind for kind, _ in layers(store)] == ["model", "adapter", "draft"]
    assert b'"draft":{"model_format":"gguf","architecture":"llama"}' in (
        store.blobs.path(Digest(raw(store)["config"]["digest"])).read_bytes()
    )
    assert len(model.adapters) == 1


def test_of_several_weights_the_last_are_used(store: ModelStore) -> None:
    """As with Ollama; memory is reckoned, and adapters are checked, by those that are loaded."""
    bare = with_data(header(llama(), [("token_embd.weight", (64, 5), 8, 0)]), 340)
    whole = small_model()
    model, _ = make(store, files={"a.gguf": bare, "b.gguf": whole, "c.gguf": ADAPTER})
    assert [kind for kind, _ in layers(store)] == ["model", "model", "adapter"]
    assert model.weights is not None
    assert model.weights.read_bytes() == whole
    assert model.footprint == footprint(read_gguf(model.weights, keep_arrays=512))
    with pytest.raises(BadRequest, match=r"no weights 'output_norm\.weight'"):
        make(store, "y", files={"a.gguf": whole, "b.gguf": bare, "c.gguf": ADAPTER})


def shards(count: int = 3, **changes: Any) -> dict[str, bytes]:
    """A model in shards: of the first all metadata, of the others only what llama.cpp writes."""
    tensors = [("token_embd.weight", (64, 5), 8, 0), ("output_norm.weight", (64,), 0, 0)]
    sizes = [340, 256]
    found = {}
    for number in range(count):
        said = {"split.no": number, "split.count": count, "split.tensors.count": 2} | changes
        metadata = llama() | said if number == 0 else said
        mine = [tensors[number]] if number < 2 else []
        size = sizes[number] if number < 2 else 0
        found[f"m-{number + 1:05}-of-{count:05}.gguf"] = with_data(header(metadata, mine), size)
    return found


def test_shards_become_one_file(store: ModelStore) -> None:
    """Ollama's models have one file: metadata of the first shard, tensors of all, no split keys."""
    model, said = make(store, files=shards())
    whole = with_data(
        header(
            llama(),
            [("token_embd.weight", (64, 5), 8, 0), ("output_norm.weight", (64,), 0, 352)],
        ),
        352 + 256,
    )
    assert "joining 3 shards" in said
    assert layers(store) == [("model", whole)]
    assert model.details.parameter_size == "384"
    assert {len(found) for found in (layers(store), list(store.blobs.entries()))} == {1, 5}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"m.gguf": shards()["m-00001-of-00003.gguf"]},
         'split GGUF "m.gguf" must use llama.cpp split filename pattern'),
        ({"m-00001-of-00002.gguf": shards()["m-00001-of-00003.gguf"]},
         'split GGUF "m-00001-of-00002.gguf" filename count 2 does not match metadata count 3'),
        ({"m-00002-of-00003.gguf": shards()["m-00001-of-00003.gguf"]},
         'split GGUF "m-00002-of-00003.gguf" filename index 1 does not match metadata index 0'),
        ({"m-00001-of-00003.gguf": shards()["m-00001-of-00003.gguf"]},
         'split GGUF "m" has 1 shards, expected 3'),
        ({"m-00002-of-00003.gguf": shards()["m-00002-of-00003.gguf"]},
         "split GGUF is missing first shard"),
        ({}, "unknown type"),
        ({"a.bin": b"abcd"}, "unknown type"),
        ({"a.gguf": b"abcd"}, "supplied file was not in GGUF format"),
        ({"a.gguf": b"GGUF"}, "a.gguf: the file is truncated: its header claims more bytes"),
        ({"a.gguf": small_model(llama__block_count=0)}, "llama.block_count is 0"),
        ({"a.gguf": CLIP}, "none of the files is a model"),
    ],
)  # fmt: skip
def test_files_that_are_no_model(store: ModelStore, files: dict[str, bytes], message: str) -> None:
    """Each way has its words, and the store has no new model afterwards."""
    with pytest.raises(BadRequest) as caught:
        make(store, files=files)
    assert caught.value.message.startswith(message)
    assert caught.value.status == 400
    assert store.installed() == []


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({}, BadRequest, "neither 'from' or 'files' was specified"),
        ({"base": "nope"}, NotFound, "model 'nope:latest' not found"),
        ({"files": {"a.safetensors": b"x"}}, Unsupported, "not supported by this"),
        ({"files": {"a.gguf": Digest("sha256:" + "0" * 64)}}, BadRequest, 'blob "sha256:000'),
        ({"files": {"a.gguf": small_model()}, "template": "{{ .Prompt"}, BadRequest,
         "template error: "),
        ({"files": {"a.gguf": small_model()}, "parameters": {"stop": "x"}}, BadRequest,
         'option "stop" must be of type array'),
        ({"files": {"a.gguf": small_model()}, "adapters": {"a.gguf": ADAPTER, "b.gguf": ADAPTER}},
         BadRequest, "only one adapter is currently supported"),
        ({"files": {"a.gguf": small_model()},
          "adapters": {"a.gguf": small_adapter(**{"general.architecture": "qwen3"})}},
         BadRequest, "the adapter does not fit the model: it is for 'qwen3', not 'llama'"),
        ({"files": {"a.gguf": small_model(), "b.gguf": small_adapter(**{"adapter.type": "x"})}},
         BadRequest, "the adapter does not fit the model: it is no LoRA adapter"),
    ],
)  # fmt: skip
def test_recipes_that_make_no_sense(
    store: ModelStore, fields: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """Each is refused by name."""
    with pytest.raises(kind, match="^" + message.replace("{", r"\{").replace("(", r"\(")):
        make(store, **fields)
    assert store.installed() == []


def test_a_base_elsewhere_is_refused(store: ModelStore) -> None:
    """A stub has no weights to build on."""
    put(store, "stub", config=Config(remote_host="h", remote_model="m"))
    with pytest.raises(Unsupported):
        make(store, base="stub")


def test_replacing_drops_what_only_the_old_model_needed(store: ModelStore) -> None:
    """Blobs of the replaced model go, unless another needs them or nothing is to be pruned."""
    make(store, files={"w.gguf": small_model()}, system="first")
    make(store, "other", base="x")
    make(store, files={"w.gguf": small_model(llama__context_length=64)}, system="second")
    assert store.find("other").system == "first"
    store.delete(parse_name("other"))
    kept = {Digest(one["digest"]) for one in raw(store)["layers"]}
    kept.add(Digest(raw(store)["config"]["digest"]))
    assert {Digest.of_file(entry.name) for entry in store.blobs.entries()} == kept
    careful = ModelStore(store.root, noprune=True)
    make(careful, files={"w.gguf": small_model()}, system="third")
    assert careful.blobs.statistics().count > len(kept)


def test_names_keep_their_spelling(store: ModelStore) -> None:
    """Creating FOO where foo is replaces foo."""
    make(store, "foo", files={"w.gguf": small_model()})
    make(store, "FOO", base="foo", system="x")
    assert [one.name.short for one in store.installed()] == ["foo:latest"]


def test_known_templates_become_layers(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that is recognised is stored with its stops; the client's own wins."""
    stops = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
    monkeypatch.setattr(
        build, "detect_template", lambda text: KnownTemplate("phi-3", "{{ .Prompt }}", stops)
    )
    _, said = make(store, files={"w.gguf": small_model()})
    assert "using autodetected template phi-3" in said
    assert raw(store)["layers"][2]["digest"] == (
        "sha256:0d79f567714c62c048378f2107fb332dabee0135d080c302d884317da9433cc5"
    )
    model, _ = make(store, files={"w.gguf": small_model()}, template="own", parameters={"seed": 1})
    assert model.template == "own"
    assert model.parameters == {"seed": 1, "stop": list(stops)}


def test_families_bring_their_renderer(store: ModelStore) -> None:
    """Ollama names renderers for some architectures; the digests are equal only if we do."""
    metadata = {key.replace("llama.", "gemma4."): value for key, value in llama().items()}
    weights = with_data(header(metadata | {"general.architecture": "gemma4"}), 0)
    model, _ = make(store, files={"w.gguf": weights})
    assert (model.config.renderer, model.config.parser) == ("gemma4", "gemma4")
    assert model.parameters == {"stop": ["<turn|>"]}
    model, _ = make(store, files={"w.gguf": weights}, renderer="own", parser="own")
    assert (model.config.renderer, model.parameters) == ("own", {})


def test_creates_and_deletes_beside_each_other(store: ModelStore) -> None:
    """Models that come and go at once never take a blob from each other."""
    make(store, "base", files={"w.gguf": small_model()})
    trouble: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(6):
                make(store, f"x{number}", base="base", system="shared", licenses=("MIT",))
                assert store.find(f"x{number}").system == "shared"
                store.delete(parse_name(f"x{number}"))
        except BaseException as error:
            trouble.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == []
    assert [one.name.short for one in store.installed()] == ["base:latest"]
    assert store.blobs.statistics().count == 2


# -- Modelfiles -----------------------------------------------------------------------------------


def of_modelfile(text: str) -> Recipe:
    return recipe_of_modelfile(parse_name("x"), instructions(parse(text)))


def test_a_modelfile_is_a_recipe() -> None:
    """The text that older clients send means what the fields mean."""
    digest = "sha256:" + "a" * 64
    recipe = of_modelfile(
        f"FROM base\nADAPTER @{digest}\nSYSTEM s\nPARAMETER stop a\nMESSAGE user x"
    )
    assert recipe.base == parse_reference("base")
    assert recipe.adapters == {"adapter1.gguf": Digest(digest)}
    assert (recipe.system, recipe.parameters) == ("s", {"stop": ["a"]})
    assert recipe.messages == (Message("user", "x"),)
    assert of_modelfile(f"FROM @{digest}").files == {"model1.gguf": Digest(digest)}


@pytest.mark.parametrize(
    "text",
    ["FROM ./a.gguf", "FROM /etc/passwd", "FROM ~/a", "FROM ../a", "FROM a.GGUF", "FROM C:\\a",
     "FROM x\nADAPTER ./a", "FROM x\nADAPTER a", "FROM x\nDRAFT a", "FROM x/"],
)  # fmt: skip
def test_a_modelfile_names_no_path_of_the_server(text: str) -> None:
    """Whatever may be a path is refused, whether it is there or not."""
    with pytest.raises(BadRequest, match="path"):
        of_modelfile(text)


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "system": words,
        "licenses": st.lists(words, max_size=2).map(tuple),
        "parameters": st.fixed_dictionaries(
            {}, optional={
                "stop": st.lists(words, min_size=1, max_size=2),
                "temperature": st.integers(0, 100).map(lambda n: n / 100),
                "num_ctx": st.integers(0, 2**31 - 1),
                "use_mmap": st.booleans(),
            },
        ),
        "messages": st.lists(
            st.builds(Message, st.sampled_from(["user", "assistant"]), words), max_size=2
        ).map(tuple),
        "requires": st.sampled_from(["", "0.14.0"]),
    },
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(fields=bodies)
def test_what_show_prints_makes_the_same_model(
    tmp_path_factory: pytest.TempPathFactory, fields: dict[str, Any]
) -> None:
    """Creating from ``show --modelfile`` gives the very layers and config it was made of."""
    store = ModelStore(tmp_path_factory.mktemp("store"))
    first, _ = make(store, "a", files={"w.gguf": small_model()}, template="{{ .Prompt }}", **fields)
    text = modelfile_text(first, store.licenses(first))
    said = instructions(parse(text))
    (weights,) = said.bases
    recipe = recipe_of_modelfile(
        parse_name("b"),
        instructions(
            parse(text.replace(f"FROM {weights}", f"FROM @{first.manifest.layers[0].digest}"))
        ),
    )
    create(store, recipe, lambda line: None)
    assert raw(store, "b") == raw(store, "a")


def test_a_recognised_template_is_stored_and_not_in_charge(store: ModelStore) -> None:
    """It brings its stops and a Go template; the prompts still come from the weights' own text."""
    known = known_templates()["chatml"]
    weights = small_model(tokenizer__chat_template=known.jinja[0])
    model, said = make(store, files={"w.gguf": weights})
    assert "using autodetected template chatml" in said
    assert (model.template, model.by_go) == (known.source, False)
    assert model.parameters == {"stop": list(known.stop)}
