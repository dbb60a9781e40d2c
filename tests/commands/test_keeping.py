"""create, show, cp and rm as people type them, against a server in this process."""

from __future__ import annotations

import fcntl
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.gguf_bytes import small_adapter, small_model
from tests.support.house import House, houses
from trillama.base.address import parse_host
from trillama.base.errors import BadRequest, NotFound, TrillamaError
from trillama.base.settings import Settings
from trillama.commands.client import Client, ServerRefused
from trillama.commands.cp import copy_model
from trillama.commands.create import CreateOptions, create_model
from trillama.commands.rm import remove_model
from trillama.commands.show import ShowOptions, shown
from trillama.models import bundled
from trillama.models.store import ModelStore

build = pytest.fixture(houses)
DATA = small_model()


class Desk:
    """A server on a store, and the command line beside it.

    Attributes:
        settings: the command line's own, its models folder being the server's.
    """

    def __init__(self, house: House, store: ModelStore, folder: Path) -> None:
        self.house = house
        self.store = store
        self.folder = folder
        self.settings = Settings(models=str(store.root))

    async def run(self, command: Callable[..., Any], *args: Any) -> Any:
        """A command, in a thread of its own."""
        client = Client(parse_host(f"127.0.0.1:{self.house.port}"))
        with trio.fail_after(20):
            return await trio.to_thread.run_sync(functools.partial(command, client, *args))

    async def create(self, name: str, text: str, **flags: str) -> None:
        """``create`` from a Modelfile of this text."""
        path = self.folder / "Modelfile"
        path.write_text(text)
        await self.run(create_model, name, CreateOptions(file=str(path), **flags), self.settings)


@pytest.fixture
async def desk(build: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A server on an empty store, and a folder with a GGUF file."""
    monkeypatch.setattr(bundled, "bundled_file", lambda: None)
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "w.gguf").write_bytes(DATA)
    store = ModelStore(tmp_path / "models")
    store.root.mkdir()
    return Desk(await build(store=store, offline=True), store, folder)


def refuse(*_: Any, **__: Any) -> None:
    """What a file system says that cannot."""
    raise OSError(95, "not supported")


async def test_a_model_from_a_file(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is taken from beside the Modelfile, statuses are told, the model answers."""
    await desk.create("mine/x", 'FROM ./w.gguf\nSYSTEM "Be\nkind."\nPARAMETER mirostat 1\n')
    out, err = capsys.readouterr()
    assert out.startswith("warning: parameter mirostat is deprecated\n")
    lines = err.splitlines()
    assert lines[0].startswith("w.gguf: ")
    assert lines[1] == "parsing GGUF"
    assert lines[-2:] == ["writing manifest", "success"]
    assert desk.store.find("mine/x").system == "Be\nkind."


@pytest.mark.parametrize(
    ("without", "told"),
    [
        ((), ("shares its blocks", "hard-linked")),
        (("ioctl",), ("hard-linked",)),
        (("ioctl", "link"), ("referred to where it is",)),
    ],
)
async def test_a_local_file_is_not_copied(
    desk: Desk,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    without: tuple[str, ...],
    told: tuple[str, ...],
) -> None:
    """Shared blocks, else a hard link, else a reference; and the command says which."""
    for name in without:
        monkeypatch.setattr(fcntl if name == "ioctl" else os, name, refuse)
    await desk.create("x", "FROM ./w.gguf\n")
    first = capsys.readouterr().err.splitlines()[0]
    assert any(text in first for text in told), first
    await desk.create("y", "FROM ./w.gguf\n")
    assert "w.gguf: already in the store" in capsys.readouterr().err
    (entry,) = (one for one in desk.store.blobs.entries() if one.stat().st_size == len(DATA))
    assert entry.is_file()


async def test_another_folder_means_an_upload(
    desk: Desk, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Where the server uses another folder, the file is uploaded and ours stays as it was."""
    other = tmp_path / "other"
    other.mkdir()
    desk.settings = Settings(models=str(other))
    await desk.create("x", "FROM ./w.gguf\n")
    assert "w.gguf: copied to the server" in capsys.readouterr().err
    assert desk.store.find("x")
    assert [path for path in other.rglob("*") if path.is_file()] == []


async def test_a_model_from_a_model_and_an_adapter(desk: Desk) -> None:
    """What is no file is a model's name."""
    await desk.create("base", "FROM w.gguf\nLICENSE MIT\n")
    (desk.folder / "l.gguf").write_bytes(small_adapter())
    await desk.create("x", "FROM base\nADAPTER ./l.gguf\nPARAMETER stop a\nMESSAGE user hi\n")
    model = desk.store.find("x")
    assert len(model.adapters) == 1
    assert (model.parameters, model.messages[0].content) == ({"stop": ["a"]}, "hi")


async def test_a_folder_of_shards(desk: Desk) -> None:
    """All GGUF files of a folder are taken, by their names."""
    folder = desk.folder / "parts"
    folder.mkdir()
    (folder / "a.gguf").write_bytes(DATA)
    await desk.create("x", "FROM ./parts\n")
    assert desk.store.find("x")


@pytest.mark.parametrize(
    ("name", "text", "flags", "kind", "message"),
    [
        ("a b", "FROM w.gguf", {}, BadRequest, "invalid model name: a b"),
        ("x", "FROM ./none.gguf", {}, BadRequest, "./none.gguf: no such file"),
        ("x", "FROM w.gguf\nADAPTER none", {}, BadRequest, "none: no such file"),
        ("x", "FROM ./empty", {}, BadRequest, "no Modelfile or safetensors files found"),
        ("x", "FROM ./leads", {}, BadRequest, "insecure path: out.gguf"),
        ("x", "FROM w.gguf\nDRAFT w.gguf", {}, BadRequest, "DRAFT must not reference the same"),
        ("x", "FROM w.gguf\nBAD x", {}, BadRequest, "(line 2): command must be one of"),
        ("x", "SYSTEM x", {}, BadRequest, "no FROM line"),
        ("x", "FROM nope", {}, ServerRefused, "404 Not Found: model 'nope:latest' not found"),
        ("x", "FROM w.gguf", {"quantize": "q4_0"}, ServerRefused,
         "400 Bad Request: not supported by this version of trillama: quantize"),
    ],
)  # fmt: skip
async def test_mistakes(
    desk: Desk, name: str, text: str, flags: dict[str, str], kind: type[Exception], message: str
) -> None:
    """Each is told in one line, and no model is made."""
    (desk.folder / "empty").mkdir()
    (desk.folder / "leads").mkdir()
    (desk.folder / "leads" / "out.gguf").symlink_to(desk.folder / "w.gguf")
    with pytest.raises(kind) as caught:
        await desk.create(name, text, **flags)
    assert isinstance(caught.value, TrillamaError)
    assert caught.value.message.startswith(message)
    assert desk.store.installed() == []


async def test_a_modelfile_that_is_named_must_be_there(desk: Desk) -> None:
    """Nothing is guessed in its place."""
    options = CreateOptions(file=str(desk.folder / "none"))
    with pytest.raises(NotFound, match=r"^specified Modelfile wasn't found$"):
        await desk.run(create_model, "x", options, desk.settings)


async def test_show_round_trips(desk: Desk) -> None:
    """What ``show --modelfile`` prints makes the same model."""
    await desk.create("a", 'FROM w.gguf\nSYSTEM s\nPARAMETER stop " x"\nMESSAGE user "1\n2"\n')
    text = await desk.run(shown, "a", ShowOptions(modelfile=True))
    await desk.create("b", text)
    first, second = desk.store.find("a"), desk.store.find("b")
    assert first.manifest == second.manifest
    overview = await desk.run(shown, "a", ShowOptions())
    assert overview.startswith("  Model\n    architecture        llama    \n")


async def test_cp_and_rm(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """The words scripts know; a missing model is an error."""
    await desk.create("a", "FROM w.gguf\n")
    assert await desk.run(copy_model, "a", "b") == "copied 'a' to 'b'"
    assert await desk.run(remove_model, "b") == "deleted 'b'"
    with pytest.raises(ServerRefused, match=r"^model 'b' not found$"):
        await desk.run(remove_model, "b")
    with pytest.raises(ServerRefused, match=r'^model "b" not found$'):
        await desk.run(copy_model, "b", "c")
    assert "Warning" not in capsys.readouterr().err


async def test_removing_takes_a_model_out_of_memory(desk: Desk) -> None:
    """Nothing of a removed model stays loaded."""
    await desk.create("a", "FROM w.gguf\n")
    await desk.run(lambda client: client.call("POST", "/api/generate", {"model": "a"}))
    assert desk.house.backend.open_models == 1
    await desk.run(remove_model, "a")
    await desk.house.until(lambda: desk.house.backend.open_models == 0)
