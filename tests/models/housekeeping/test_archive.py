"""Export and import: what goes out comes in; nothing else does."""

from __future__ import annotations

import hashlib
import io
import os
import random
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.gguf_bytes import small_model
from tests.support.stores import manifest_path, put
from trillama.base.errors import BadRequest, CorruptModel, NotFound, TrillamaError
from trillama.base.names import Digest, parse_name
from trillama.models import manifest as media
from trillama.models.housekeeping import tar
from trillama.models.housekeeping.check import check_store
from trillama.models.housekeeping.export import export_model
from trillama.models.housekeeping.take_in import Wish, import_archive
from trillama.models.manifest import Config, Layer, Manifest, manifest_bytes
from trillama.models.store import ModelStore

LONG = "registry.example-of-a-host-with-a-rather-long-name.test:5000/some-namespace/" + "m" * 80


def silent(count: int) -> None:
    """Nobody watches."""


def bring(store: ModelStore, path: Path, **wish: object) -> list[str]:
    """Import; the names."""
    return [one.name for one in import_archive(store, path, Wish(**wish), silent)]  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A store to export from."""
    store = ModelStore(tmp_path / "origin")
    put(store, "a", (media.MODEL, small_model()), (media.SYSTEM, b"S"), config=Config(os="linux"))
    put(store, LONG, (media.SYSTEM, b"S"))
    return store


@pytest.fixture
def other(tmp_path: Path) -> ModelStore:
    """An empty one."""
    return ModelStore(tmp_path / "other")


def sha(data: bytes) -> str:
    """The digest of a blob."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def archive(path: Path, *entries: tuple[str, bytes] | tarfile.TarInfo) -> Path:
    """A tar file of these members."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as out:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                out.addfile(entry, io.BytesIO(bytes(entry.size)))
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                out.addfile(info, io.BytesIO(entry[1]))
    return path


def members(
    *blobs: bytes, name: str = "registry.ollama.ai/library/m/latest", by: int = 0
) -> list[tuple[str, bytes]]:
    """A model of these blobs, whose manifest lies about sizes by ``by``."""
    layers = tuple(Layer(media.SYSTEM, sha(one), len(one) + by) for one in blobs)
    files = [(f"blobs/{Digest(sha(one)).file_name}", one) for one in blobs]
    return [*files, (f"manifests/{name}", manifest_bytes(Manifest(layers=layers)))]


@pytest.mark.parametrize("name", ["a", LONG])
def test_what_goes_out_comes_in(
    store: ModelStore, other: ModelStore, tmp_path: Path, name: str
) -> None:
    """Digests and bytes are the same, and importing twice changes nothing."""
    path = tmp_path / "model.tar"
    done = export_model(store, name, path, silent)
    assert done.size == path.stat().st_size
    (first,) = import_archive(other, path, Wish(), silent)
    assert (first.digest, first.new) == (done.digest, True)
    assert manifest_path(other, name).read_bytes() == manifest_path(store, name).read_bytes()
    assert check_store(other).sound
    (second,) = import_archive(other, path, Wish(), silent)
    assert not second.new


def test_equal_models_give_equal_files(store: ModelStore, tmp_path: Path) -> None:
    """Nothing of the time or the machine is in an archive."""
    for name in ("1", "2"):
        export_model(store, "a", tmp_path / name, silent)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_tar_itself_unpacks_it_into_a_models_folder(store: ModelStore, tmp_path: Path) -> None:
    """The layout is that of the store."""
    export_model(store, "a", tmp_path / "model.tar", silent)
    (tmp_path / "models").mkdir()
    subprocess.run(["tar", "-xf", "model.tar", "-C", "models"], cwd=tmp_path, check=True)
    assert ModelStore(tmp_path / "models").find("a").system == "S"


def test_an_archive_that_tar_made(store: ModelStore, other: ModelStore, tmp_path: Path) -> None:
    """A whole models folder, with its folders: every model comes in."""
    with tarfile.open(tmp_path / "all.tar", "w", format=tarfile.GNU_FORMAT) as out:
        for folder in ("blobs", "manifests"):
            out.add(store.root / folder, f"./{folder}")
    assert sorted(bring(other, tmp_path / "all.tar")) == sorted(
        one.name.short for one in store.installed()
    )


def test_an_export_of_damage_leaves_nothing(store: ModelStore, tmp_path: Path) -> None:
    """A damaged or missing blob, a missing model or folder, a file that is there already."""
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(NotFound):
        export_model(store, "none", folder / "x", silent)
    path = store.blobs.path(Digest(sha(b"S")))
    path.write_bytes(b"T")
    with pytest.raises(CorruptModel):
        export_model(store, "a", folder / "x", silent)
    path.unlink()
    with pytest.raises(NotFound):
        export_model(store, "a", folder / "x", silent)
    assert list(folder.iterdir()) == []
    with pytest.raises(NotFound, match="no folder"):
        export_model(store, "a", tmp_path / "none" / "x", silent)
    with pytest.raises(BadRequest, match="exists already"):
        export_model(store, "a", tmp_path, silent)


def test_an_installed_model_is_not_replaced_unasked(
    store: ModelStore, other: ModelStore, tmp_path: Path
) -> None:
    """A stranger's archive does not decide what a name means; another name is a way out."""
    path = archive(tmp_path / "x.tar", *members(b"theirs"))
    put(other, "m", (media.SYSTEM, b"ours"))
    with pytest.raises(BadRequest, match="installed already"):
        bring(other, path)
    assert bring(other, path, name=parse_name("theirs")) == ["theirs:latest"]
    assert other.find("m").system == "ours"
    assert bring(other, path, replace=True) == ["m:latest"]
    assert other.find("m").system == "theirs"


def test_blobs_that_are_installed_need_not_be_in_the_archive(
    other: ModelStore, tmp_path: Path
) -> None:
    """An archive of what changed is small."""
    other.blobs.publish_bytes(b"installed")
    *_, manifest = members(b"installed")
    assert bring(other, archive(tmp_path / "x.tar", manifest)) == ["m:latest"]


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    """A member that is no file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


BLOB = f"blobs/{Digest(sha(b'x')).file_name}"
MODEL = members(b"x")
UNTRUSTED: dict[str, tuple[list[tuple[str, bytes] | tarfile.TarInfo], str]] = {
    "nothing": ([], "no model"),
    "no manifest": ([(BLOB, b"x")], "no model"),
    "zip slip, CVE-2024-45436": ([("../../../etc/cron.d/x", b"x")], "neither"),
    "absolute": ([("/etc/passwd", b"x")], "neither"),
    "traversal in a digest, CVE-2024-37032": ([("blobs/sha256-../../../x", b"x")], "neither"),
    "traversal in a name": ([("manifests/h/n/../latest", b"{}")], "neither"),
    "folder that leads out": ([special("blobs/../..", tarfile.DIRTYPE)], "leads out"),
    "upper case": ([(BLOB.upper(), b"x")], "neither"),
    "too deep": ([(f"blobs/{BLOB}", b"x")], "neither"),
    "symbolic link": ([special(BLOB, tarfile.SYMTYPE, "/etc/passwd")], "symbolic link"),
    "hard link": ([special(BLOB, tarfile.LNKTYPE, "/etc/passwd")], "hard link"),
    "device, CVE-2024-39721": ([special(BLOB, tarfile.CHRTYPE)], "device"),
    "pipe": ([special(BLOB, tarfile.FIFOTYPE)], "pipe"),
    "sparse": ([special(BLOB, tarfile.GNUTYPE_SPARSE)], "sparse"),
    "blob twice": ([(BLOB, b"x"), *MODEL], "twice"),
    "model twice": ([*MODEL, ("manifests/registry.ollama.ai/library/M/latest", b"{}")], "twice"),
    "other content": ([(BLOB, b"y"), MODEL[1]], "digest mismatch"),
    "other size": (list(members(b"x", by=1)), "its manifest says 2"),
    "negative size": (list(members(b"x", by=-2)), "negative size"),
    "missing blob": ([MODEL[1]], "neither in the archive nor installed"),
    "stray blob": ([*MODEL, *members(b"y")[:1]], "no model in it needs"),
    "manifest that is none": ([("manifests/h/n/m/t", b"{")], "not valid"),
    "no layers at all, CVE-2025-1975": ([("manifests/h/n/m/t", b"[]")], "not valid"),
    "digest that is none": (
        [("manifests/h/n/m/t", b'{"layers":[{"digest":"sha256:../../x","size":1}]}')],
        "not valid",
    ),
    "config that is none": (
        [
            (BLOB, b"x"),
            (
                "manifests/h/n/m/t",
                manifest_bytes(Manifest(config=Layer(media.CONFIG_TYPE, sha(b"x"), 1))),
            ),
        ],
        "config is not valid",
    ),
}


def everything(folder: Path) -> list[Path]:
    """All files below a folder."""
    return [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]


@pytest.mark.parametrize("case", UNTRUSTED)
def test_what_cannot_be_trusted_leaves_nothing(
    other: ModelStore, tmp_path: Path, case: str
) -> None:
    """Whatever is wrong is named, and not a file stays behind, inside the store or outside."""
    entries, reason = UNTRUSTED[case]
    path = archive(tmp_path / "x.tar", *entries)
    with pytest.raises(tar.BadArchive, match=reason):
        bring(other, path)
    assert everything(tmp_path) == [path]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated, or not a tar"),
        (b"\x1f\x8b" + bytes(2000), "not a tar"),
        (b"x" * 10240, "not a tar"),
        (bytes(10240), "no model"),
    ],
)
def test_what_is_no_archive(other: ModelStore, tmp_path: Path, data: bytes, reason: str) -> None:
    """Compressed files, too: so no archive is larger than its file."""
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    with pytest.raises(tar.BadArchive, match=reason):
        bring(other, path)


def test_extended_headers_are_refused(other: ModelStore, tmp_path: Path) -> None:
    """The reader that hung on them, CVE-2024-6232, is never asked."""
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as out:
        info = tarfile.TarInfo(BLOB)
        info.pax_headers = {"comment": "1" * 100_000}
        out.addfile(info)
    with pytest.raises(tar.BadArchive, match="extended header"):
        bring(other, tmp_path / "x.tar")


def test_negative_sizes_are_refused(other: ModelStore, tmp_path: Path) -> None:
    """A member that leads back to itself, CVE-2025-8194, ends at once."""
    head = bytearray(tarfile.TarInfo(BLOB).tobuf(tarfile.GNU_FORMAT))
    head[124:136] = b"\xff" * 10 + b"\xfe\x00"
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    path = tmp_path / "x.tar"
    path.write_bytes(bytes(head) + bytes(1024))
    with pytest.raises(tar.BadArchive, match="number"):
        bring(other, path)


def test_only_regular_files_are_archives(other: ModelStore, tmp_path: Path) -> None:
    """A pipe and a device are refused without waiting; a missing file is missing."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(tar.BadArchive, match="regular"):
            bring(other, path)
    with pytest.raises(NotFound):
        bring(other, tmp_path / "none")


def test_sizes_beyond_eight_gigabytes() -> None:
    """They are written in another way, and read."""
    info = tarfile.TarInfo(BLOB)
    info.size = 40 << 30
    head = info.tobuf(tarfile.GNU_FORMAT)

    def read(count: int, offset: int) -> bytes:
        return head if offset == 0 else bytes(count)

    (member,) = tar.members(read, (40 << 30) + 2048)
    assert (member.size, member.offset) == (40 << 30, 512)
    with pytest.raises(tar.BadArchive, match="ends after it"):
        list(tar.members(read, 40 << 30))


@pytest.mark.parametrize("rounds", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_mutated_archives(
    store: ModelStore, other: ModelStore, tmp_path: Path, rounds: int
) -> None:
    """Whatever a few bytes become: a sound model comes in, or an error of ours."""
    path = tmp_path / "model.tar"
    export_model(store, "a", path, silent)
    whole = path.read_bytes()
    choose = random.Random(rounds)
    patches: list[Callable[[], bytes]] = [
        lambda: choose.randbytes(1), lambda: choose.randbytes(12), lambda: b"\xff" * 12,
        lambda: bytes(12), lambda: b"../../../../x", lambda: b"77777777777\0",
    ]  # fmt: skip
    heads = [at for at in range(0, len(whole), 512) if whole[at + 257 : at + 262] == b"ustar"]
    for _ in range(rounds):
        data = bytearray(whole)
        head = choose.choice(heads)
        at = head + choose.choice([0, 124, 148, 156, 345, choose.randrange(1024)])
        patch = choose.choice(patches)()
        data[at : at + len(patch)] = patch
        if choose.random() < 0.7:  # a checksum that fits
            data[head + 148 : head + 156] = b" " * 8
            data[head + 148 : head + 156] = b"%06o\0 " % sum(data[head : head + 512])
        path.write_bytes(data[: choose.choice([len(data), choose.randrange(len(data))])])
        try:
            bring(other, path, replace=True)
        except TrillamaError:
            continue
    assert check_store(other).sound
    assert {one.name for one in tmp_path.iterdir()} <= {"origin", "other", "model.tar"}
