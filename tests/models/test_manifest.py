"""Manifests and configs: the bytes are Ollama's, and odd ones are refused."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trillama.base.errors import CorruptModel
from trillama.models.manifest import (
    MODEL,
    Config,
    Layer,
    Manifest,
    config_bytes,
    go_document,
    manifest_bytes,
    parse_config,
    parse_manifest,
)

DIGEST = "sha256:" + "ab" * 32


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


def test_config_of_ollamas_own_test() -> None:
    """The config of the 68-byte test model has the digest Ollama's tests assert."""
    config = Config(
        model_format="gguf",
        model_family="test",
        model_families=("test",),
        model_type="0",
        file_type="unknown",
        architecture="amd64",
        os="linux",
    )
    assert sha256(config_bytes(config)) == (
        "99759ad5b91e723db0393d698ffbb448b1b7df5ff6377a108c49254583b1bc8c"
    )
    assert parse_config(config_bytes(config)) == config


def test_params_of_ollamas_own_test() -> None:
    """A params blob: sorted keys, whole floats without a fraction."""
    params = {"temperature": 1.0, "top_k": 10, "stop": ["USER:", "ASSISTANT:"]}
    assert sha256(go_document(params)) == (
        "1d0ad71299d48c2fb7ae2b98e683643e771f8a5b72be34942af90d97a91c1e37"
    )


def test_params_with_html_characters() -> None:
    """Stops of phi-3: angle brackets are escaped as Go escapes them."""
    stops = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    assert sha256(go_document({"stop": stops})) == (
        "0d79f567714c62c048378f2107fb332dabee0135d080c302d884317da9433cc5"
    )


def test_manifest_bytes() -> None:
    """Declared key order, no spaces, optional keys only when set, a final newline."""
    manifest = Manifest(
        config=Layer("c", DIGEST, 1), layers=(Layer(MODEL, DIGEST, 7, source="a<b", name="n"),)
    )
    assert manifest_bytes(manifest) == (
        b'{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",'
        b'"config":{"mediaType":"c","digest":"%s","size":1},'
        b'"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"%s","size":7,'
        b'"from":"a\\u003cb","name":"n"}]}\n' % (DIGEST.encode(), DIGEST.encode())
    )
    assert parse_manifest(manifest_bytes(manifest)) == manifest
    assert manifest.size == 8
    assert manifest.of_type(MODEL) == list(manifest.layers or ())


def test_optional_config_keys() -> None:
    """Keys that are set appear in Ollama's order; numbers of a draft are Go's."""
    config = Config(renderer="r", capabilities=("tools",), draft={"b": 1.0, "a": 1}, os="linux")
    text = config_bytes(config).decode()
    assert list(json.loads(text)) == [
        *("model_format", "model_family", "model_families", "model_type", "file_type"),
        *("renderer", "capabilities", "draft", "architecture", "os"),
    ]
    assert '"draft":{"a":1,"b":1}' in text
    assert '"model_families":null' in text


def test_old_and_foreign_manifests_are_tolerated() -> None:
    """Unknown keys, a missing config and null lists are no reason to refuse."""
    legacy = b'{"schemaVersion":2,"config":{"digest":""},"layers":null,"extra":{"a":[1]}}'
    assert parse_manifest(legacy).size == 0
    config = b'{"model_format":"gguf","model_families":null,"rootfs":{"type":"layers"}}'
    assert parse_config(config).model_families is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"layers":[1]}',
        b'{"layers":{"0":{}}}',
        b'{"layers":[{"digest":"sha256:../../../etc/passwd","size":1}]}',
        b'{"layers":[{"digest":"","size":1}]}',
        b'{"layers":[{"size":1}]}',
        b'{"config":{"digest":"../x"}}',
        b'{"config":{"digest":"%s","size":-5}}' % DIGEST.encode(),
        b'{"config":{"digest":"%s","size":1e400}}' % DIGEST.encode(),
    ],
)
def test_broken_manifests_are_refused(data: bytes) -> None:
    """Whatever is not a manifest is a CorruptModel, digests that are paths included."""
    with pytest.raises(CorruptModel):
        parse_manifest(data)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_random_bytes_never_break_the_readers(data: bytes) -> None:
    """Garbage is read as something harmless or refused as CorruptModel."""
    for read in (parse_manifest, parse_config):
        try:
            read(data)
        except CorruptModel:
            continue


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values)
def test_documents_read_back_equal(value: Any) -> None:
    """Whatever is written in Go's manner is the same value when read."""
    data = go_document(value)
    assert data.endswith(b"\n")
    assert not set(b"<>&") & set(data)
    assert json.loads(data, parse_int=float) == value
