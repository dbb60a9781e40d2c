"""``show``: the sections people read and scripts cut, to the blank."""

from __future__ import annotations

from typing import Any

import pytest

from trillama.base.errors import BadRequest
from trillama.commands.show import ShowOptions, overview

BARE: dict[str, Any] = {
    "details": {"family": "test", "parameter_size": "7B", "quantization_level": "FP16"}
}


def test_the_least_there_is() -> None:
    """Four blanks before each row and behind each cell, columns as wide as their widest cell."""
    assert overview(BARE) == (
        "  Model\n"
        "    architecture    test    \n"
        "    parameters      7B      \n"
        "    quantization    FP16    \n"
        "\n"
    )


def test_facts_of_the_weights() -> None:
    """Lengths are plain numbers; the count stands in for a size that nobody gave."""
    info = {
        "general.architecture": "test",
        "general.parameter_count": 8_030_000_000,
        "test.context_length": 131072,
        "test.embedding_length": 0,
    }
    details = {"family": "test", "quantization_level": "Q4_K_M"}
    shown = overview({"details": details, "model_info": info, "requires": "0.14.0"})
    assert shown == (
        "  Model\n"
        "    architecture        test      \n"
        "    parameters          8.0B      \n"
        "    context length      131072    \n"
        "    embedding length    0         \n"
        "    quantization        Q4_K_M    \n"
        "    requires            0.14.0    \n"
        "\n"
    )


def test_the_other_sections() -> None:
    """Capabilities, projector, parameters, and the beginnings of long texts."""
    shown = overview(
        BARE
        | {
            "capabilities": ["completion", "vision"],
            "projector_info": {
                "general.architecture": "clip",
                "general.parameter_count": 133_700_000,
                "clip.vision.embedding_length": 1024,
                "clip.vision.projection_dim": 768,
            },
            "parameters": 'stop                 "a b"\ntemperature          0.5',
            "system": "\n  You are kind.  \n",
            "license": "one\n\ntwo\nthree\n",
        }
    )
    assert shown.split("\n\n")[1:] == [
        "  Capabilities\n    completion    \n    vision        ",
        "  Projector\n    architecture        clip       \n    parameters          133.70M    \n"
        "    embedding length    1024       \n    dimensions          768        ",
        '  Parameters\n    stop           "a b"    \n    temperature    0.5      ',
        "  System\n    You are kind.    ",
        "  License\n    one    \n    two    \n    ...    ",
        "",
    ]


def test_verbose() -> None:
    """Metadata by key, arrays by their beginning, tensors with their shapes."""
    info = {
        "general.architecture": "test",
        "test.b": True,
        "test.a": 0.000001,
        "test.list": list(range(100, 200)),
        "test.none": None,
    }
    tensors = [{"name": "blk.0.attn_k.weight", "type": "BF16", "shape": [42, 3117]}]
    shown = overview(BARE | {"model_info": info, "tensors": tensors}, verbose=True)
    metadata = shown.split("\n\n")[1].splitlines()
    assert [line.split()[0] for line in metadata[1:]] == sorted(info)
    assert [line.split()[1] for line in metadata[2:4]] == ["1e-06", "true"]
    assert "[100 101 102 ...+97 more]" in shown
    assert "    blk.0.attn_k.weight    BF16    [42 3117]    \n" in shown


def test_stubs_tell_where_they_lead() -> None:
    """Name and address of the model elsewhere come first."""
    shown = overview(BARE | {"remote_model": "big", "remote_host": "https://ollama.com:443"})
    assert shown.splitlines()[1].split() == ["Remote", "model", "big"]


def test_one_text_at_a_time() -> None:
    """Two selectors are a mistake."""
    assert ShowOptions(license=True).selected == "license"
    with pytest.raises(BadRequest, match=r"^only one of '--license', '--modelfile'"):
        assert ShowOptions(license=True, system=True).selected
