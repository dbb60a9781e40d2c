"""A compiled llama.cpp is reused exactly where it would come out the same."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from tools import llama_wheel
from tools.build_flags import Compiler, Flags, Machine
from tools.llama_wheel import (
    BuildFailed,
    Order,
    Progress,
    cache_key,
    cache_root,
    jobs,
    obtain,
    parse_progress,
    split_lock,
)

ROOT = Path(__file__).resolve().parents[2]
MACHINE = Machine((Compiler("cc", "gcc", 12, "gcc 12.2"),), frozenset({"avx2"}), "some processor")
ORDER = Order("llama-cpp-python==1 --hash=sha256:aa\n", Path("build.lock"), MACHINE, Flags(), {})

DIFFERENT = {
    "release": replace(ORDER, requirement="llama-cpp-python==2 --hash=sha256:bb\n"),
    "flags": replace(ORDER, flags=Flags(compile=("-mno-amx-tile",))),
    "cmake": replace(ORDER, flags=Flags(cmake=("-DGGML_CUDA=on",))),
    "user's flags": replace(ORDER, env={"CXXFLAGS": "-O1"}),
    "compiler": replace(
        ORDER, machine=replace(MACHINE, compilers=(Compiler("cc", "gcc", 12, "gcc 12.3"),))
    ),
    "processor": replace(ORDER, machine=replace(MACHINE, cpu_features=frozenset({"avx512f"}))),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_another_build_is_another_folder(what: str) -> None:
    """Machine code for one compiler, processor or set of flags is never taken for another's."""
    assert cache_key(DIFFERENT[what]) != cache_key(ORDER)


def test_the_same_build_is_the_same_folder() -> None:
    """What does not touch the machine code, as the order of features or PATH, changes nothing."""
    features = frozenset(["b", "a"]), frozenset(["a", "b"])
    one, two = (replace(ORDER, machine=replace(MACHINE, cpu_features=f)) for f in features)
    assert cache_key(one) == cache_key(replace(two, env={"PATH": "elsewhere"}))


def test_the_lock_is_cut_in_two_and_loses_nothing() -> None:
    """llama-cpp-python is compiled here; every other line is installed as it stands."""
    lock = (ROOT / "requirements-dev.lock").read_text()
    mine, rest = split_lock(lock)
    assert mine.startswith("llama-cpp-python==")
    assert mine.count("--hash=sha256:") == 1
    assert "llama-cpp-python" not in rest
    assert sorted((mine + rest).splitlines()) == sorted(lock.splitlines())


def test_a_lock_without_the_package_is_refused() -> None:
    """A lock that was cut by accident is noticed before anything is installed."""
    with pytest.raises(ValueError, match="exactly once"):
        split_lock("trio==1 \\\n    --hash=sha256:aa\n")


@pytest.mark.parametrize("name", ["requirements", "requirements-dev", "requirements-build"])
def test_locks_pin_everything_and_name_no_index(name: str) -> None:
    """Every package has a version and a hash; where it comes from is the user's business."""
    text = (ROOT / f"{name}.lock").read_text()
    assert "://" not in text
    assert "index" not in text
    for block in text.replace("\\\n", " ").splitlines():
        assert "==" in block, block
        assert "--hash=sha256:" in block, block


def test_what_runs_and_what_is_tested_are_the_same_versions() -> None:
    """The runtime lock is a part of the development lock."""
    lines = [(ROOT / f"{name}.lock").read_text() for name in ("requirements", "requirements-dev")]
    runtime, dev = ({line for line in text.splitlines() if "==" in line} for text in lines)
    assert runtime <= dev


def test_a_wheel_that_is_there_is_not_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second checkout of a machine compiles nothing."""
    built = []

    def build(order: Order, folder: Path, out: io.StringIO) -> Path:
        built.append(folder.name)
        folder.mkdir()
        wheel = folder / "llama_cpp_python-1-py3-none-any.whl"
        wheel.touch()
        return wheel

    monkeypatch.setattr(llama_wheel, "_build", build)
    first, second = (obtain(ORDER, tmp_path, io.StringIO()) for _ in range(2))
    assert first == second
    assert built == [cache_key(ORDER)]


def test_a_failed_build_leaves_nothing_to_reuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next attempt starts afresh, and the error carries the end of the log."""

    def fail(*_: object) -> Path:
        raise BuildFailed("no space left")

    for name in ("_build_environment", "_fetch_source"):
        monkeypatch.setattr(llama_wheel, name, lambda *_: tmp_path)
    monkeypatch.setattr(llama_wheel, "_compile", fail)
    for _ in range(2):
        with pytest.raises(BuildFailed, match="no space left"):
            obtain(ORDER, tmp_path, io.StringIO())
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_the_cache_is_the_users_and_falls_back(tmp_path: Path) -> None:
    """Where the cache folder cannot be made, the checkout keeps its own."""
    usual = cache_root({"XDG_CACHE_HOME": str(tmp_path)}, tmp_path / "own")
    assert usual == tmp_path / "trillama" / "wheels"
    blocked = tmp_path / "file"
    blocked.touch()
    assert cache_root({"XDG_CACHE_HOME": str(blocked)}, tmp_path / "own") == tmp_path / "own"


def test_jobs_follow_processors_memory_and_the_users_word() -> None:
    """Sixty-four processors with two gigabytes do not start sixty-four compilers."""
    gib = 1 << 30
    assert jobs({}, cpus=4, memory=64 * gib) == "4"
    assert jobs({}, cpus=64, memory=2 * gib) == "2"
    assert jobs({}, cpus=2, memory=gib // 2) == "1"
    assert jobs({"CMAKE_BUILD_PARALLEL_LEVEL": "7"}, cpus=2, memory=gib) == "7"


@pytest.mark.parametrize(
    ("line", "step"),
    [
        (
            "  [57/212] Building CXX object src/CMakeFiles/llama.dir/llama.cpp.o",
            (57, 212, "llama.cpp"),
        ),
        ("[  3/9] Linking CXX shared library bin/libggml.so", (3, 9, "libggml.so")),
        ("-- Configuring done (1.2s)", None),
        ("", None),
    ],
)
def test_a_line_of_ninja_becomes_a_step(line: str, step: tuple[int, int, str] | None) -> None:
    """The compiler's other chatter is no progress."""
    assert parse_progress(line) == step


def test_a_build_in_a_log_file_takes_twenty_lines() -> None:
    """Away from a terminal the progress is condensed, and it ends at the last step."""
    out = io.StringIO()
    progress = Progress(out)
    for n in range(1, 201):
        progress.feed(f"[{n}/200] Building CXX object a/b{n}.cpp.o\n")
    progress.close("compiled")
    lines = out.getvalue().splitlines()
    assert 20 <= len(lines) <= 23
    assert "[200/200]" in lines[-2]
    assert "compiled after" in lines[-1]


def test_a_build_on_a_terminal_stays_on_one_line() -> None:
    """A terminal sees every step, each over the last."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    progress = Progress(out)
    for n in (1, 2, 3):
        progress.feed(f"[{n}/3] Linking libx.so\n")
    progress.close("compiled")
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().count("\r") == 4
