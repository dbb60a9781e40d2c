"""Damaged and hostile GGUF files by the thousand, and by the names they were known under."""

from __future__ import annotations

import contextlib
import random
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.gguf_bytes import header, llama, small_model, text, value, with_data
from trillama.base.errors import CorruptModel, ModelLoadError
from trillama.models.gguf import DEFAULT_LIMITS, MIB, GgufFile, Limits, parse_gguf, read_gguf
from trillama.models.validation import validate_weights

SECONDS, BYTES = 1.0, 200 * MIB
"""What a header may cost at most."""

TENSORS = [(f"blk.{n}.weight", (32, 4), 0, 512 * n) for n in range(40)]
WORDS = [f"w{n}" for n in range(300)]
SOUND = (
    small_model(),
    with_data(header(llama(tokenizer__ggml__tokens=WORDS), TENSORS), 512 * 40),
    header({"general.architecture": "test", "a": [1, 2, 3], "b": [0.5], "c": True, "d": -1.5}),
)
NUMBERS = (0, 1, 7, 8, 9, 31, 32, 63, 64, 2**16, 2**20, 2**31 - 1, 2**31, 2**32 - 1)
LARGE = (2**32, 2**40, 2**60, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


def mutated(sound: bytes, choose: random.Random) -> bytes:
    """A sound file with some of its numbers, bytes or pieces changed, doubled, or cut off."""
    out = bytearray(sound)
    for _ in range(choose.choice([1, 1, 1, 2, 3, 8])):
        at = choose.randrange(min(len(out), 4096))
        patches: list[Callable[[], bytes]] = [
            lambda: struct.pack("<Q", choose.choice(NUMBERS + LARGE)),
            lambda: struct.pack("<I", choose.choice(NUMBERS)),
            lambda: choose.randbytes(choose.choice([1, 2, 8])),
            lambda at=at: bytes(out[at : at + 64]) * 2,  # type: ignore[misc]
        ]
        patch = choose.choice(patches)()
        out[at : at + (len(patch) if choose.random() < 0.8 else 0)] = patch
        del out[1 << 20 :]
    return bytes(out[: choose.randrange(len(out))] if choose.random() < 0.15 else out)


def costs(data: bytes, keep: int | None) -> tuple[GgufFile | None, float, int]:
    """What the reader makes of a file, and the seconds and bytes it took."""

    def read(count: int, position: int) -> bytes:
        assert 0 <= position <= len(data), "it reads outside the file"
        assert 0 <= count <= max(len(data) - position, Limits().window), "it asks for too much"
        return data[position : position + count]

    tracemalloc.reset_peak()
    before, begun = tracemalloc.get_traced_memory()[0], time.perf_counter()
    try:
        found: GgufFile | None = parse_gguf(read, len(data), keep_arrays=keep)
    except CorruptModel:
        found = None
    seconds = time.perf_counter() - begun
    return found, seconds, tracemalloc.get_traced_memory()[1] - before


@pytest.fixture
def traced() -> Iterator[None]:
    """Memory is counted."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("rounds", [1_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_mutated_headers(rounds: int) -> None:
    """Each is read or refused as damaged: no crash, no byte from outside the file, and never more
    than a second or 200 MB. What is read lies inside the file, tensor by tensor."""
    choose = random.Random(rounds)
    read = 0
    for _ in range(rounds):
        data = mutated(choose.choice(SOUND), choose)
        found, seconds, size = costs(data, choose.choice([None, 0, 3]))
        assert seconds < SECONDS
        assert size < BYTES
        if found is not None:
            read += 1
            ends = [found.data_offset + one.offset + one.size for one in found.tensors]
            assert all(end <= len(data) for end in ends)
    assert rounds / 100 < read < rounds, "the mutations are too wild or too tame"


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_the_most_expensive_headers() -> None:
    """Arrays without end, small strings by the million: refused before they cost much memory."""
    pair = struct.pack("<Q", 2) + b"ab"
    strings = struct.pack("<IIQ", 9, 8, 1 << 21) + pair * (1 << 21)
    numbers = struct.pack("<IIQ", 9, 11, 1 << 21) + struct.pack("<q", 1 << 40) * (1 << 21)
    for data in (header({"a": strings, "b": strings}), header({"a": numbers, "b": numbers})):
        found, _, size = costs(data, None)
        assert found is None
        assert size < BYTES


def array_of(count: int, item: bytes) -> bytes:
    """An array of strings as a value."""
    return struct.pack("<IIQ", 9, 8, count) + item * count


def dear_headers() -> dict[str, bytes]:
    """Headers made to cost as much as the limits allow."""
    most = DEFAULT_LIMITS.kept - 1
    plain, odd = struct.pack("<Q", 20) + b"x" * 20, struct.pack("<Q", 10) + b"\xff" * 10
    keys = {f"k{n}": struct.pack("<IB", 0, 1) for n in range(DEFAULT_LIMITS.keys - 1)}
    tensors = [(f"t{n}", (32,), 0, 128 * n) for n in range(DEFAULT_LIMITS.tensors - 1)]
    return {
        "empty strings": header({"a": array_of(most, bytes(8))}),
        "strings": header({"a": array_of(most, plain)}),
        "strings that are no text": header({"a": array_of(most, odd)}),
        "keys": header(keys),
        "tensors": header({}, tensors),
        "strings, keys and tensors": header(keys | {"a": array_of(most, plain)}, tensors),
    }


@pytest.mark.parametrize("name", ["empty strings", "strings", "strings that are no text", "keys",
                                  "tensors", "strings, keys and tensors"])  # fmt: skip
def test_dear_headers_take_no_more_than_a_second(name: str) -> None:
    """The limits are such that a header made to cost much costs a second of work at most."""
    data, took = dear_headers()[name], []
    # A busy core is no fault of ours.
    while len(took) < 3 and min(took, default=SECONDS) >= SECONDS:
        begun = time.process_time()
        with contextlib.suppress(CorruptModel):
            parse_gguf(lambda count, at: data[at : at + count], len(data), keep_arrays=0)
        took.append(time.process_time() - begun)
    assert min(took) < SECONDS


def one_tensor(offset: int, *shape: int) -> bytes:
    """A model whose only tensor claims this place."""
    return with_data(header(llama(), [("token_embd.weight", shape, 0, offset)]), 4096)


def counts(tensors: int, keys: int, *more: bytes) -> bytes:
    """A header that claims these counts."""
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + b"".join(more)


KNOWN = {
    "CVE-2024-39720: four bytes": b"GGUF",
    "CVE-2024-39720: a header cut off": small_model()[:30],
    "CVE-2024-8063: no blocks": small_model(llama__block_count=0),
    "CVE-2025-0317: alignment zero": small_model(general__alignment=0),
    "CVE-2024-12055: a string past the end": counts(0, 1, struct.pack("<Q", 1 << 20), b"x"),
    "CVE-2025-66959: a string of 2**63 bytes": counts(0, 1, struct.pack("<Q", 1 << 63)),
    "CVE-2025-66960: a key without its value": counts(0, 1, text("general.architecture")),
    "CVE-2025-66960: a value of no type": counts(0, 1, text("k"), struct.pack("<I", 255)),
    "CVE-2025-0315: an array of 2**60": counts(0, 1, text("k"), struct.pack("<IIQ", 9, 4, 2**60)),
    "CVE-2025-0315: 2**40 tensors": counts(2**40, 0),
    "CVE-2025-0312: nothing in it": counts(0, 0),
    "CVE-2025-0312: no vocabulary": small_model(tokenizer__ggml__tokens=None),
    "CVE-2025-0312: a number for a name": counts(0, 1, text("general.architecture"), value(1)),
    "CVE-2026-7482: a tensor past the end": one_tensor(1 << 30, 64, 5),
    "CVE-2026-7482: more data than there is": one_tensor(0, 64, 1 << 20),
    "CVE-2025-53630: sizes that overflow": one_tensor(0, 2**32, 2**32),
    "CVE-2026-27940: offsets that overflow": one_tensor(2**64 - 32, 64, 5),
}


@pytest.mark.parametrize("name", KNOWN)
def test_files_that_broke_others(tmp_path: Path, name: str) -> None:
    """Refused before llama.cpp sees them."""
    path = tmp_path / "model.gguf"
    path.write_bytes(KNOWN[name])
    with pytest.raises(ModelLoadError):
        validate_weights(path)


def test_an_endless_device() -> None:
    """CVE-2024-39721: a device is not read, not even its beginning."""
    for device in ("/dev/random", "/dev/zero"):
        with pytest.raises(CorruptModel, match="not a regular file"):
            read_gguf(Path(device))
