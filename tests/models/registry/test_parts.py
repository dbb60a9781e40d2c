"""Parts and their records, and the rules of patience: plain functions."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trillama.base.errors import SettingError
from trillama.base.settings import load_settings
from trillama.models.registry.errors import Stalled, Transient
from trillama.models.registry.pace import (
    CROWDED_RATE,
    CROWDED_REST,
    LEAST_SILENCE,
    Patience,
    Pulse,
    Throttle,
    Watch,
)
from trillama.models.registry.parts import (
    LARGEST,
    RECORD_BYTES,
    Part,
    contiguous,
    plan,
    read_records,
    write_record,
)


@given(st.integers(0, 1 << 45))
def test_parts_cover_a_blob_exactly(total: int) -> None:
    """Without gap or overlap, and none larger than what may be lost."""
    parts = plan(total)
    assert [part.number for part in parts] == list(range(len(parts)))
    assert parts[0].offset == 0
    assert parts[-1].end == total
    assert all(one.end == other.offset for one, other in pairwise(parts))
    assert max(part.size for part in parts) <= LARGEST
    assert contiguous(parts) == 0


@given(st.integers(0, 1 << 40), st.data())
def test_records_come_back(total: int, data: st.DataObject) -> None:
    """What was written is read, in any order of the files; all have one length."""
    parts = plan(total)
    for part in parts[:50]:
        part.completed = data.draw(st.integers(0, part.size))
    records = [write_record(part) for part in parts]
    assert {len(record) for record in records} == {RECORD_BYTES}
    assert read_records(data.draw(st.permutations(records)), total) == parts


def test_records_of_ollama_are_taken_up() -> None:
    """Its parts have other sizes; the words are the same."""
    records = [
        b'{"N":0,"Offset":0,"Size":100,"Completed":100}\n',
        b'{"N":1,"Offset":100,"Size":50,"Completed":7}\n',
    ]
    assert read_records(records, 150) == [Part(0, 0, 100, 100), Part(1, 100, 50, 7)]
    assert contiguous(read_records(records, 150)) == 107


@given(st.lists(st.binary(max_size=200) | st.builds(write_record, st.builds(
    Part, st.integers(-2, 4), st.integers(-5, 30), st.integers(-5, 30), st.integers(-5, 30)
)), max_size=4))  # fmt: skip
def test_records_that_do_not_fit_count_for_nothing(records: list[bytes]) -> None:
    """Whatever lies on the disk: the parts cover the blob exactly, or there are none."""
    parts = read_records(records, 30)
    assert not parts or (parts[0].offset, parts[-1].end, sum(p.size for p in parts)) == (0, 30, 30)
    assert all(0 <= part.completed <= part.size for part in parts)


def test_a_trickle_is_given_up_and_a_slow_line_is_not() -> None:
    """Under a kilobyte a second for half a minute is nothing; a modem is something."""
    watch = Watch(Pulse(), 0.0)
    for second in range(1, 30):
        watch.feed(1, float(second))
    with pytest.raises(Transient, match="only 30 bytes in 30 s"):
        watch.feed(1, 30.0)
    watch = Watch(Pulse(), 0.0)
    for second in range(1, 1000):
        watch.feed(5_000, float(second))


def test_a_connection_much_slower_than_others_is_replaced() -> None:
    """Far below the median of those before it, and only then."""
    pulse = Pulse()
    for _ in range(5):
        pulse.done(1e6)
    fair, lame = Watch(pulse, 0.0), Watch(pulse, 0.0)
    fair.feed(5_000_000, 11.0)
    with pytest.raises(Stalled):
        lame.feed(500_000, 11.0)
    Watch(pulse, 0.0, may_lag=False).feed(500_000, 11.0)


def test_our_own_throttle_is_nobodys_fault() -> None:
    """Time that the bandwidth cap took does not count as slowness or silence."""
    pulse = Pulse()
    watch = Watch(pulse, 0.0)
    for second in range(1, 200):
        watch.feed(100, float(second), held=0.99)
    assert pulse.silence == LEAST_SILENCE


def test_silence_that_is_usual_is_waited_for() -> None:
    """A line with long pauses gets more time than one without, within bounds."""
    pulse = Pulse()
    assert pulse.silence == 10
    pulse.pause(5.0)
    assert pulse.silence == 20
    pulse.pause(500.0)
    assert pulse.silence == 60


def test_delays_grow_and_end() -> None:
    """From half a second to a minute, or what the registry asked for, until patience ends."""
    patience = Patience(3600.0, 0.0)
    error = Transient("away")
    delays = [patience.delay(error, tries, 0.0) for tries in range(12)]
    assert delays[0] < 1
    assert delays == sorted(delays[:7]) + delays[7:]
    assert all(45 <= delay <= 75 for delay in delays[8:])
    assert patience.delay(Transient("busy", retry_after=300.0), 0, 0.0) == 300.0
    assert patience.delay(error, 9, 3590.0) <= 10.0
    with pytest.raises(Transient, match=r"^max retries exceeded: away$"):
        patience.delay(error, 0, 3600.0)
    patience.progress(3600.0)
    assert patience.delay(error, 0, 3601.0) < 1
    assert Patience(math.inf, 0.0).delay(error, 100, 1e12) <= 75


async def test_the_bandwidth_cap_is_common(autojump_clock: trio.testing.MockClock) -> None:
    """Ten connections together get what one would."""
    throttle = Throttle(1000)

    async def take() -> None:
        for _ in range(10):
            await throttle.take(100)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(take)
    assert trio.current_time() == pytest.approx(10.0, abs=0.3)
    assert await Throttle(0).take(10**12) == 0.0


async def test_downloads_give_way_to_answers(autojump_clock: trio.testing.MockClock) -> None:
    """They go slowly only while there is somebody to give way to, never above the user's limit."""
    crowd = [True]
    throttle = Throttle(0, lambda: bool(crowd))
    for _ in range(8):
        await throttle.take(CROWDED_RATE)
    assert trio.current_time() == pytest.approx(8.0, abs=0.2)
    await throttle.rest(0.1)
    assert trio.current_time() == pytest.approx(8.0 + 0.1 * CROWDED_REST, abs=0.2)
    slow = Throttle(CROWDED_RATE // 2, lambda: bool(crowd))
    before = trio.current_time()
    await slow.take(CROWDED_RATE)
    assert trio.current_time() - before == pytest.approx(2.0, abs=0.2)
    crowd.clear()
    before = trio.current_time()
    await throttle.take(10**12)
    await throttle.rest(100.0)
    assert trio.current_time() == before


@pytest.mark.parametrize(
    ("text", "rate"), [("0", 0), ("500k", 500_000), ("10MB", 10**7), ("1.5g", 15 * 10**8), ("7", 7)]
)
def test_rates_of_the_settings(text: str, rate: int) -> None:
    """Decimal units, with or without a B."""
    settings = load_settings({"HOME": "/h", "TRILLAMA_MAX_DOWNLOAD_RATE": text})
    assert settings.max_download_rate == rate


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("MAX_DOWNLOAD_RATE", "fast"),
        ("MAX_DOWNLOAD_RATE", "-1"),
        ("MAX_DOWNLOAD_RATE", "nan"),
        ("OFFLINE", "perhaps"),
        ("REGISTRIES", "https://ann:secret@h/path"),
        ("REGISTRIES", "https://ann:secret/1@h"),
        ("REGISTRIES", "https://ann:secret@h:none"),
        ("HTTP_PROXY", "ann:secret@h:none"),
        ("HTTP_PROXY", "http://ann:secret/1@h"),
    ],
)
def test_a_malformed_setting_names_itself_and_keeps_secrets(variable: str, text: str) -> None:
    """The variable is in the error, a password is not."""
    with pytest.raises(SettingError, match=variable) as told:
        load_settings({"HOME": "/h", f"TRILLAMA_{variable}": text})
    assert "secret" not in told.value.message
