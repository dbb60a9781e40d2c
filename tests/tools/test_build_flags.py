"""Flags follow from compiler, processor and wish; from nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import build_flags
from tools.build_flags import (
    AMX_OFF,
    Compiler,
    Flags,
    Machine,
    Unbuildable,
    choose,
    environment,
    inspect,
    parse_compiler,
    parse_cpuinfo,
)

FSF = "\nCopyright (C) 2022 Free Software Foundation, Inc.\n"
AMX = frozenset({"avx512f", "amx_tile", "amx_int8", "amx_bf16"})


def machine(
    major: int = 12, kind: str = "gcc", features: frozenset[str] = AMX, nvcc: str | None = None
) -> Machine:
    compiler = Compiler("cc", kind, major, "")
    return Machine((compiler,), features, "some processor", nvcc and "13.0", nvcc)


@pytest.mark.parametrize(
    ("banner", "kind", "major"),
    [
        ("cc (Debian 12.2.0-14+deb12u1) 12.2.0" + FSF, "gcc", 12),
        ("g++ (GCC) 14.1.1 20240522 (Red Hat 14.1.1-4)" + FSF, "gcc", 14),
        ("c++ (Ubuntu 13.2.0-23ubuntu4) 13.2.0" + FSF, "gcc", 13),
        ("Debian clang version 14.0.6\nTarget: x86_64-pc-linux-gnu", "clang", 14),
        ("Apple clang version 15.0.0 (clang-1500.3.9.4)\nTarget: arm64", "clang", 15),
        ("Intel(R) oneAPI DPC++/C++ Compiler 2024.1.0 (2024.1.0.20240308)", "other", 2024),
        ("mystery", "other", 0),
    ],
)
def test_a_compiler_is_known_by_its_banner(banner: str, kind: str, major: int) -> None:
    """Packaging numbers in brackets are not taken for the compiler's version."""
    found = parse_compiler("cc", banner)
    assert (found.kind, found.major) == (kind, major)


@pytest.mark.parametrize(
    ("text", "name", "feature"),
    [
        (
            "model name\t: Xeon\nflags\t\t: fpu amx_tile\n\nflags: x",
            "Xeon",
            "amx_tile",
        ),
        ("processor\t: 0\nFeatures\t: fp asimd sve\nCPU part\t: 0xd40\n", "0xd40", "sve"),
    ],
)
def test_features_come_from_the_first_processor(text: str, name: str, feature: str) -> None:
    """x86 and ARM write /proc/cpuinfo with different words."""
    found, features = parse_cpuinfo(text)
    assert found == name
    assert feature in features
    assert "x" not in features


@pytest.mark.parametrize("major", [11, 12, 13])
def test_amx_is_left_out_where_gcc_miscompiles_it(major: int) -> None:
    """The stores before ldtilecfg survive only in gcc 14; older ones build without AMX."""
    flags = choose(machine(major))
    assert flags.compile == AMX_OFF
    assert "114098" in flags.reasons[0]


@pytest.mark.parametrize(
    "innocent",
    [
        machine(major=14),
        machine(major=10),  # knows neither AMX nor the flags
        machine(kind="clang"),
        machine(kind="other"),
        machine(features=frozenset({"avx512f"})),
        machine(features=frozenset()),
    ],
)
def test_amx_is_kept_where_nothing_is_wrong(innocent: Machine) -> None:
    """No flags on a sound compiler or a processor without AMX."""
    assert choose(innocent) == Flags()


def test_one_faulty_compiler_of_two_is_enough() -> None:
    """C and C++ may come from different compilers; both get the flags."""
    sound, faulty = Compiler("cc", "clang", 17, ""), Compiler("c++", "gcc", 12, "")
    assert choose(Machine((sound, faulty), AMX, "x")).compile == AMX_OFF


def test_cuda_builds_for_the_gpus_of_the_machine() -> None:
    """CUDA=1 names the compiler found and the architectures present."""
    flags = choose(machine(14, nvcc="/usr/bin/nvcc"))
    assert "-DGGML_CUDA=on" in flags.cmake
    assert "-DCMAKE_CUDA_ARCHITECTURES=native" in flags.cmake
    assert "-DCMAKE_CUDA_COMPILER=/usr/bin/nvcc" in flags.cmake


def test_an_architecture_given_by_the_user_is_not_overridden() -> None:
    """A build without a GPU at hand names its architecture itself."""
    flags = choose(machine(14, nvcc="nvcc"), given_cmake="-DCMAKE_CUDA_ARCHITECTURES=90")
    assert not any("ARCHITECTURES" in word for word in flags.cmake)


def test_the_users_flags_come_last_and_nothing_else_changes() -> None:
    """Compilers obey the later of two flags, and the user's are the later."""
    flags = Flags(("-mno-amx-tile",), ("-DGGML_CUDA=on",))
    merged = environment(flags, {"CFLAGS": "-O1", "HOME": "x"})
    assert merged["CFLAGS"] == "-mno-amx-tile -O1"
    assert merged["CXXFLAGS"] == "-mno-amx-tile"
    assert merged["CMAKE_ARGS"] == "-DGGML_CUDA=on"
    assert merged["HOME"] == "x"


def test_no_flags_leave_the_environment_alone() -> None:
    """An empty CFLAGS is not the same as none: CMake remembers it."""
    assert environment(Flags(), {"PATH": "p"}) == {"PATH": "p"}


def test_a_missing_compiler_is_named_with_the_way_out() -> None:
    """The message says which variable and which package."""
    with pytest.raises(Unbuildable, match=r"CXX.*apt install"):
        inspect({"CC": "true", "CXX": "no-such-compiler"}, cuda=False)


def test_cuda_without_nvcc_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU build is never handed out as a CUDA build."""
    monkeypatch.setattr(build_flags, "DEFAULT_NVCC", Path("/no/such/nvcc"))
    monkeypatch.setattr(build_flags.shutil, "which", lambda name: name if name == "true" else None)
    with pytest.raises(Unbuildable, match="nvcc"):
        inspect({"CC": "true", "CXX": "true"}, cuda=True)
