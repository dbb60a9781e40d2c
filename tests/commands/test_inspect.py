"""``inspect``: what it shows of a file, a model and the web."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.gguf_bytes import header, small_model
from tests.support.stores import put
from trillama.base.errors import CorruptModel, NotFound
from trillama.base.settings import Settings
from trillama.commands.inspect import inspected
from trillama.models import manifest as media
from trillama.models.manifest import Config
from trillama.models.registry.errors import Offline
from trillama.models.store import ModelStore


def weights(folder: Path, data: bytes) -> str:
    """A file of these bytes."""
    path = folder / "model.gguf"
    path.write_bytes(data)
    return str(path)


def test_a_file_as_json(tmp_path: Path) -> None:
    """All values and tensors; long arrays by their length alone; JSON that any reader takes."""
    path = weights(tmp_path, small_model(a__long=[1] * 2000, a__not=float("nan")))
    (found,) = json.loads(inspected(path, Settings(), as_json=True), parse_constant=pytest.fail)
    assert found["metadata"]["llama.block_count"] == 2
    assert found["metadata"]["a.long"] == {"array": "int32", "count": 2000}
    assert found["metadata"]["a.not"] == "nan"
    assert found["metadata"]["tokenizer.ggml.merges"]["values"] == ["a b"]
    assert found["tensors"][1] == {
        "name": "output_norm.weight", "shape": [64], "type": "F32", "offset": 352, "size": 256,
    }  # fmt: skip
    assert found["size"] == Path(path).stat().st_size


def test_a_file_for_people(tmp_path: Path) -> None:
    """Sections of cells; nothing in the file can move the cursor of a terminal."""
    text = inspected(weights(tmp_path, small_model(a__b="x\x1b[2J\x9by")), Settings())
    assert "    token_embd.weight     Q8_0    [64 5]    340 B    \n" in text
    assert r"x\x1b[2J\x9by" in text
    assert all(char.isprintable() or char == "\n" for char in text)


def test_a_model_of_the_store(tmp_path: Path) -> None:
    """Every GGUF file of the model, named by its kind."""
    store = ModelStore(tmp_path)
    projector = header({"general.architecture": "clip"})
    put(
        store, "m", (media.MODEL, small_model()), (media.PROJECTOR, projector), config=Config()
    )  # fmt: skip
    found = json.loads(inspected("m", Settings(models=str(tmp_path)), as_json=True))
    assert [one["source"] for one in found] == ["m:latest (model)", "m:latest (projector)"]


def test_what_is_not_there(tmp_path: Path) -> None:
    """Missing and damaged files, missing models and a forbidden web say so."""
    settings = Settings(models=str(tmp_path), offline=True)
    for target in ("none", "./none", "none.gguf", f"{tmp_path}"):
        with pytest.raises(NotFound):
            inspected(target, settings)
    with pytest.raises(CorruptModel):
        inspected(weights(tmp_path, b"GGUF"), settings)
    with pytest.raises(Offline):
        inspected("https://example.com/x.gguf", settings)
