"""Build the `llama-server` that is equal to our engine: the same llama.cpp, compiled the same way.

llama-cpp-python carries the sources of llama.cpp in its sdist, the server among them. Comparing
with the server of those very sources, made with the same flags, leaves only the serving layer to
differ. The build is kept in the user's cache, keyed by version, flags and compiler; it takes about
ten minutes on two cores. `python -m bench.equal_build` builds it ahead of time.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

from tools import build_flags

FALLBACK_VERSION = "0.3.36"
FLAG_VARIABLES = ("CFLAGS", "CXXFLAGS", "CMAKE_ARGS")
#: llama-cpp-python's own CMake settings, plus what keeps the build off the network.
CMAKE_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    "-DGGML_NATIVE=ON",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
)


def cache_dir() -> Path:
    """Folder of everything expensive that bench/ may keep between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "trillama" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def llama_cpp_version() -> str:
    """Version of the installed llama-cpp-python, whose sources the rival is made of."""
    try:
        return metadata.version("llama-cpp-python")
    except metadata.PackageNotFoundError:
        return FALLBACK_VERSION


def build_machine() -> build_flags.Machine:
    return build_flags.inspect(os.environ, cuda=os.environ.get("CUDA") == "1")


def build_environment() -> dict[str, str]:
    """The environment our own build of llama-cpp-python runs in: compiler flags, CMAKE_ARGS."""
    flags = build_flags.choose(build_machine(), os.environ.get("CMAKE_ARGS", ""))
    return build_flags.environment(flags, os.environ)


def build_key() -> str:
    """Names one build: two keys are equal only if the binaries would be."""
    env, machine, version = build_environment(), build_machine(), llama_cpp_version()
    parts = [version, machine.cpu_name, *sorted(machine.cpu_features), *CMAKE_OPTIONS]
    parts += [compiler.banner for compiler in machine.compilers]
    parts += [env.get(name, "") for name in FLAG_VARIABLES]
    return f"{version}-{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:10]}"


def download_sdist(version: str, folder: Path) -> Path:
    """Fetch the sdist unless it is there; return its path."""
    path = folder / f"llama_cpp_python-{version}.tar.gz"
    if not path.exists():
        pip = [sys.executable, "-m", "pip", "download", "--no-binary", ":all:", "--no-deps"]
        subprocess.run([*pip, "-d", folder, f"llama-cpp-python=={version}"], check=True)
    return path


def unpack(sdist: Path, folder: Path) -> Path:
    """Unpack llama.cpp alone; return the folder that holds its CMakeLists.txt."""
    prefix = f"{sdist.name.removesuffix('.tar.gz')}/vendor/llama.cpp"
    source = folder / prefix
    if not (source / ".complete").exists():
        with tarfile.open(sdist) as tar:
            wanted = [m for m in tar.getmembers() if m.name.startswith(prefix)]
            tar.extractall(folder, members=wanted, filter="data")
        (source / ".complete").touch()
    return source


def compile_server(source: Path, build: Path) -> None:
    """Configure and compile `llama-server` in `build`, politely (nice 10)."""
    env = build_environment()
    options = [*CMAKE_OPTIONS, *shlex.split(env.get("CMAKE_ARGS", ""))]
    subprocess.run(["cmake", "-S", source, "-B", build, *options], check=True, env=env)
    jobs = str(os.cpu_count() or 1)
    make = ["nice", "-n", "10", "cmake", "--build", str(build), "-j", jobs]
    subprocess.run([*make, "--target", "llama-server"], check=True, env=env)


def equal_server() -> Path:
    """Path of the equal build's `llama-server`, made now if it is not in the cache.

    Raises CalledProcessError when the download or the compilation fails.
    """
    folder = cache_dir()
    build = folder / f"llama-server-{build_key()}"
    binary = build / "bin" / "llama-server"
    if not (build / ".complete").exists():
        source = unpack(download_sdist(llama_cpp_version(), folder), build)
        compile_server(source, build)
        shutil.rmtree(build / source.relative_to(build).parts[0])
        (build / ".complete").touch()
    return binary


if __name__ == "__main__":
    print(equal_server())
