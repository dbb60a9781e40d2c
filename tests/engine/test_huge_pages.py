"""Which memory is asked to lie in huge pages, and when."""

from __future__ import annotations

from trillama.engine.huge_pages import LEAST, Region, announced, large_regions

MIB = 1 << 20
AT = 0x7F00_0000_0000


def line(begin: int, size: int, rights: str = "rw-p", inode: int = 0, name: str = "") -> str:
    """A line of /proc/self/maps."""
    return f"{begin:x}-{begin + size:x} {rights} 00000000 00:00 {inode:<20}{name}\n"


def test_only_large_memory_of_its_own_is_meant() -> None:
    """No file that is mapped, no heap, nothing small and nothing that cannot be written."""
    region = Region(AT, AT + LEAST)
    assert large_regions([line(AT, LEAST)]) == [region]
    for other in (
        line(AT, LEAST - 4096),
        line(AT, LEAST, "r--p"),
        line(AT, LEAST, "rw-s"),
        line(AT, LEAST, inode=77, name="/models/weights.gguf"),
        line(AT, LEAST, name="[heap]"),
        "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]\n",
    ):
        assert large_regions([other]) == []


def test_a_deep_stack_stays_as_it_is() -> None:
    """It would take 2 MiB where a thread needs a few KiB; a page below it is forbidden."""
    stack = [line(AT - 4096, 4096, "---p"), line(AT, 512 * MIB)]
    apart = [line(AT - 8192, 4096, "---p"), line(AT, 512 * MIB)]

    assert large_regions(stack) == []
    assert large_regions(apart) == [Region(AT, AT + 512 * MIB)]


def test_the_library_announces_what_it_is_about_to_fill() -> None:
    """In its own words; what is small is not looked for."""
    assert announced("load_tensors:   CPU_REPACK model buffer size =   144.00 MiB")
    assert announced("llama_kv_cache:        CPU KV buffer size =    32.00 MiB")
    assert not announced("llama_kv_cache:        CPU KV buffer size =    31.99 MiB")
    assert not announced("print_info: file size   = 4096.00 MiB (4.50 BPW)")
