"""The GGUF reader: what it reads, and that no damaged file gets past it or breaks it."""

from __future__ import annotations

import hashlib
import os
import random
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.gguf_bytes import header, llama, small_model, text, value, with_data
from trillama.base.errors import CorruptModel, NotFound
from trillama.models.ggml_types import ELEMENT_TYPES, file_type_name
from trillama.models.gguf import GgufArray, Limits, read_gguf


def write(folder: Path, data: bytes) -> Path:
    """A file with these bytes."""
    path = folder / "model.gguf"
    path.write_bytes(data)
    return path


def test_reads_what_the_gguf_package_wrote(tmp_path: Path) -> None:
    """Every value type, tensor names, shapes, types and sizes survive the road."""
    path = tmp_path / "other.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("a.u8", 200)
    writer.add_int64("a.i64", -(2**40))
    writer.add_float64("a.f64", 0.1)
    writer.add_bool("a.yes", True)
    writer.add_array("a.numbers", [1, -2, 3])
    writer.add_array("a.words", ["eins", "zwei"])
    writer.add_tensor("t.weight", np.zeros((3, 8), np.float32))
    writer.add_tensor("u.weight", np.zeros((5, 4), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_gguf(path)
    assert found.architecture == "llama"
    assert [found.metadata[f"a.{key}"] for key in ("u8", "i64", "f64", "yes")] == [
        200, -(2**40), 0.1, True,
    ]  # fmt: skip
    assert found.metadata["a.numbers"] == GgufArray("int32", 3, [1, -2, 3])
    assert found.metadata["a.words"] == GgufArray("string", 2, ["eins", "zwei"])
    assert [(t.name, t.shape, t.type.name, t.size) for t in found.tensors] == [
        ("t.weight", (8, 3), "F32", 96),
        ("u.weight", (4, 5), "F16", 40),
    ]
    assert found.parameter_count == 44


def test_element_types_agree_with_the_gguf_package() -> None:
    """Block sizes are those of the other implementation, where it follows ggml."""
    known = {int(kind): sizes for kind, sizes in gguf.constants.GGML_QUANT_SIZES.items()}
    del known[9]  # Q8_1: the package still counts two float32 scales, ggml has two float16
    for kind, sizes in known.items():
        assert (ELEMENT_TYPES[kind].block, ELEMENT_TYPES[kind].size) == sizes


def test_file_type_names() -> None:
    """File types have Ollama's names; anything else is "unknown"."""
    assert [file_type_name(kind) for kind in (0, 1, 15, 38, 999, None, "x")] == [
        *("F32", "F16", "Q4_K_M", "MXFP4_MOE"),
        *("unknown", "unknown", "unknown"),
    ]


def test_large_arrays_are_stepped_over(tmp_path: Path) -> None:
    """Skipped arrays keep type and count; what follows them is read all the same."""
    words = [f"word{i}" for i in range(5000)]
    path = write(tmp_path, small_model(a__words=words, a__numbers=[1] * 5000, z="end"))
    found = read_gguf(path, keep_arrays=10)
    assert found.metadata["a.words"] == GgufArray("string", 5000)
    assert found.metadata["a.numbers"] == GgufArray("int32", 5000)
    assert found.metadata["z"] == "end"
    assert found.metadata["tokenizer.ggml.merges"] == GgufArray("string", 1, ["a b"])
    kept = read_gguf(path, keep_arrays=None).metadata["a.words"]
    assert isinstance(kept, GgufArray)
    assert kept.values == words


@pytest.mark.parametrize("window", [8, 9, 64, 4096])
def test_the_buffer_size_changes_nothing(tmp_path: Path, window: int) -> None:
    """Strings longer than the read buffer and strings across its edge are read alike."""
    words = ["x" * n for n in range(40)] + ["y" * 9000, ""]
    path = write(tmp_path, small_model(a__words=words))
    limits = Limits(window=window)
    assert read_gguf(path, limits=limits) == read_gguf(path)
    skipped = read_gguf(path, keep_arrays=0, limits=limits)
    assert skipped == read_gguf(path, keep_arrays=0)
    assert skipped.tensors == read_gguf(path).tensors


def test_strings_that_are_not_utf8_stay_different(tmp_path: Path) -> None:
    """Two vocabulary entries that differ in undecodable bytes are two entries."""
    words = struct.pack("<IIQ", 9, 8, 2) + text(b"\xff") + text(b"\xfe")
    found = read_gguf(write(tmp_path, header({"a": words}))).metadata["a"]
    assert isinstance(found, GgufArray)
    assert found.values is not None
    assert found.values[0] != found.values[1]


def test_smallest_file_is_the_reference_one(tmp_path: Path) -> None:
    """One key and no tensor: the bytes of Ollama's own test file are accepted."""
    data = header({"general.architecture": "test"})
    assert (
        hashlib.sha256(data).hexdigest()
        == "89a2116c3a82d6a97f59f748d86ed4417214353fd178ee54df418fde32495fad"
    )
    assert read_gguf(write(tmp_path, data)).architecture == "test"


SOUND = llama()
F32 = 0
DAMAGED = {
    "empty": (b"", "truncated"),
    "four bytes": (b"GGUF", "truncated"),
    "other magic": (b"GGML" + bytes(60), "not a GGUF file"),
    "version 1": (header(SOUND, version=1), "version 1"),
    "version 4": (header(SOUND, version=4), "version 4"),
    "big endian": (header(SOUND, version=0x03000000), "big-endian"),
    "too many tensors": (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "tensors"),
    "too many keys": (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**64 - 1), "metadata keys"),
    "keys missing": (b"GGUF" + struct.pack("<IQQ", 3, 0, 3), "truncated"),
    "endless key": (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62), "bytes in one string"),
    "empty key": (header({"": 1}), "empty or appears twice"),
    "key twice": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + (text("k") + value(1)) * 2,
        "appears twice",
    ),
    "value type": (header({"k": struct.pack("<I", 13)}), "type 13"),
    "nested array": (header({"k": struct.pack("<IIQ", 9, 9, 1)}), "elements of type 9"),
    "endless array": (header({"k": struct.pack("<IIQ", 9, 8, 2**60)}), "elements in one array"),
    "array past end": (header({"k": struct.pack("<IIQ", 9, 10, 2**20)}), "truncated"),
    "text past end": (header({"k": struct.pack("<IQ", 8, 2**20)}), "truncated"),
    "alignment 0": (header({"general.alignment": 0}), "power of two"),
    "alignment 48": (header({"general.alignment": 48}), "power of two"),
    "alignment text": (header({"general.alignment": "32"}), "power of two"),
    "alignment true": (header({"general.alignment": True}), "power of two"),
    "element type": (with_data(header({}, [("t", (4,), 99, 0)]), 64), "element type 99"),
    "removed type": (with_data(header({}, [("t", (32,), 4, 0)]), 64), "element type 4"),
    "five dimensions": (header({}, [("t", (1,) * 5, F32, 0)]), "dimensions"),
    "long name": (with_data(header({}, [("t" * 64, (4,), F32, 0)]), 16), "bytes in one string"),
    "row and block": (with_data(header({}, [("t", (31,), 8, 0)]), 64), "shape"),
    "overflow": (header({}, [("t", (2**62, 2**62, 4), F32, 0)]), "shape"),
    "offset past end": (with_data(header({}, [("t", (4,), F32, 4096)]), 64), "offset 4096"),
    "overlap": (
        with_data(header({}, [("t", (16,), F32, 0), ("u", (16,), F32, 32)]), 128),
        "offset 32, expected 64",
    ),
    "same name": (
        with_data(header({}, [("t", (16,), F32, 0), ("t", (16,), F32, 64)]), 128),
        "same name",
    ),
    "data missing": (with_data(header({}, [("t", (64,), F32, 0)]), 255), "ends after it"),
    "no data at all": (header({}, [("t", (64,), F32, 0)]), "truncated"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_refused(tmp_path: Path, name: str) -> None:
    """Each kind of damage is a CorruptModel that says what is wrong."""
    data, reason = DAMAGED[name]
    with pytest.raises(CorruptModel, match=reason):
        read_gguf(write(tmp_path, data))


def test_a_sound_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    """No prefix of a file passes for the file."""
    whole = small_model()
    for length in range(0, len(whole), 7):
        with pytest.raises(CorruptModel):
            read_gguf(write(tmp_path, whole[:length]))
    assert read_gguf(write(tmp_path, whole)).size == len(whole)


@pytest.mark.parametrize(
    "limits",
    [Limits(header=200), Limits(string=10), Limits(keys=3), Limits(tensors=1), Limits(elements=3),
     Limits(kept=3), Limits(seconds=-1)],
    ids=["header", "string", "keys", "tensors", "elements", "kept", "seconds"],
)  # fmt: skip
def test_limits_hold(tmp_path: Path, limits: Limits) -> None:
    """Each limit alone refuses an otherwise sound file."""
    with pytest.raises(CorruptModel):
        read_gguf(write(tmp_path, small_model()), limits=limits)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A missing file is NotFound; a folder, a device and a pipe are refused without waiting."""
    with pytest.raises(NotFound):
        read_gguf(tmp_path / "none")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, Path("/dev/zero")):
        with pytest.raises(CorruptModel):
            read_gguf(path)


def mutated(data: bytes, seed: int) -> bytes:
    """``data`` with a few bytes, words or lengths overwritten, or cut, or extended."""
    rng = random.Random(seed)
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(out))
        patch = rng.choice(
            [rng.randbytes(1), rng.randbytes(8), b"\xff" * 8, bytes(8), struct.pack("<Q", 2**31)]
        )
        out[at : at + len(patch)] = patch
    return bytes(out[: rng.choice([len(out), rng.randrange(len(out))])])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), keep=st.sampled_from([None, 0, 3]))
def test_fuzzed_headers_never_break_the_reader(tmp_path: Path, seed: int, keep: int | None) -> None:
    """A mutated file is read or is a CorruptModel; nothing else ever escapes."""
    path = write(tmp_path, mutated(small_model(), seed))
    try:
        found = read_gguf(path, keep_arrays=keep, limits=Limits(window=64))
    except CorruptModel:
        return
    assert all(
        found.data_offset + tensor.offset + tensor.size <= found.size for tensor in found.tensors
    )
