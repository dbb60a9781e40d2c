"""Build llama.cpp for CUDA where there is time for it, and pack it for where there is not.

    python -m bench.gpu.build --source llama.cpp --work /tmp/cuda --pack .gpu-pack --prune

Needs nvcc, cmake and ninja, no GPU and no network. Where the toolkit has no cuBLAS, `--cublas`
names an unpacked nvidia-cublas wheel; without a driver a stub of libcuda is linked against. The
pack is what `bench.gpu` unpacks: stripped programs and libraries, our Python packages as wheels,
and the binding without its own library.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from bench.gpu.prune import prune

PROGRAMS = ("llama-server", "llama-batched-bench", "llama-bench")
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON", "-DGGML_NATIVE=OFF",
    "-DGGML_AVX2=ON", "-DGGML_FMA=ON", "-DGGML_F16C=ON", "-DGGML_BMI2=ON", "-DGGML_AVX512=OFF",
    "-DGGML_CUDA=ON", "-DGGML_CUDA_FA=ON", "-DGGML_CUDA_GRAPHS=ON", "-DGGML_CUDA_NCCL=OFF",
    "-DGGML_CUDA_FA_QUANTS=f16-f16,q8_0-q8_0", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DCMAKE_BUILD_RPATH=$ORIGIN",
    "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined",
)  # fmt: skip
#: What the driver's library must seem to have for the linker.
_DRIVER = """
    cuMemCreate cuMemRelease cuMemMap cuMemUnmap cuMemSetAccess cuMemAddressReserve
    cuMemAddressFree cuMemGetAllocationGranularity cuDeviceGet cuDeviceGetAttribute
    cuGetErrorString
"""
#: Packages of the lock that a GPU machine's Python has, or that only other systems need.
NOT_PACKED = ("numpy", "pillow", "llama-cpp-python", "colorama")
OWN_KERNEL = re.compile("cuda|mul_mat")
MANYLINUX = (39, 38, 35, 34, 31, 28, 27, 26, 24, 17, 12, 5)


def run(*command: str | Path, **options: object) -> str:
    """Run a program; what it prints. Raises CalledProcessError, its words being on the screen."""
    done = subprocess.run(  # type: ignore[call-overload]
        list(map(str, command)), check=True, text=True, stdout=subprocess.PIPE, **options
    )
    return str(done.stdout)


def configure(source: Path, build: Path, architecture: str, cublas: Path | None) -> None:
    """Prepare a build for one GPU architecture (90 for Hopper)."""
    options = [*OPTIONS, f"-DCMAKE_CUDA_ARCHITECTURES={architecture}-real"]
    if cublas is not None:
        library = cublas / "lib"
        for name in ("cublas", "cublasLt"):
            link = library / f"lib{name}.so"
            if not link.exists():
                link.symlink_to(f"lib{name}.so.13")
            options.append(f"-DCUDA_{name}_LIBRARY={link}")
        options.append(f"-DCMAKE_CUDA_FLAGS=-isystem {cublas / 'include'}")
    if not shutil.which("nvidia-smi"):
        options.append(f"-DCUDA_cuda_driver_LIBRARY={driver_stub(build.parent)}")
    run("cmake", "-G", "Ninja", "-S", source, "-B", build, *options)


def driver_stub(folder: Path) -> Path:
    """A libcuda that can be linked against and never called."""
    source, library = folder / "driver.c", folder / "libcuda.so"
    source.write_text("".join(f"int {name}(void) {{ return 999; }}\n" for name in _DRIVER.split()))
    run("cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", source, "-o", library)
    return library


def compile_all(build: Path, jobs: int) -> None:
    """The backend first: it takes longest; then the rest, once nothing is missing in it."""
    polite = ("nice", "-n", "19", "ninja", "-C", build, "-j", str(jobs))
    run(*polite, "ggml-cuda")
    stub_missing(build)
    run(*polite, "llama", "mtmd", *PROGRAMS)


def stub_missing(build: Path) -> None:
    """Link the CUDA backend again with an abort for every kernel that was pruned away."""
    library = next((build / "bin").glob("libggml-cuda.so.*.*"), build / "bin" / "libggml-cuda.so")
    missing = sorted(missing_kernels(library, build / "bin"))
    if not missing:
        return
    lines = [f".hidden {name}\n.globl {name}\n{name}:\n" for name in missing]
    stubs = build / "stubs.s"
    stubs.write_text(f'.text\n{"".join(lines)}  ud2\n.section .note.GNU-stack,"",@progbits\n')
    run("cc", "-c", stubs, "-o", build / "stubs.o")
    commands = run("ninja", "-C", build, "-t", "commands", "ggml-cuda").splitlines()
    link = next(line for line in commands if " -shared " in line and "libggml-cuda" in line)
    run("sh", "-c", link.replace(" -o ", f" {build / 'stubs.o'} -o ", 1), cwd=build)
    print(f"{len(missing)} pruned kernels abort when called")


def missing_kernels(library: Path, folder: Path) -> set[str]:
    """C++ symbols of the backend's own that no library beside it defines."""
    wanted = _symbols("--undefined-only", library)
    own = {name for name in wanted if name.startswith("_Z") and OWN_KERNEL.search(name)}
    return own - _symbols("--defined-only", next(folder.glob("libggml-base.so")))


def _symbols(which: str, library: Path) -> set[str]:
    lines = run("nm", "-D", which, library).splitlines()
    return {line.split()[-1].partition("@")[0] for line in lines if line.strip()}


def collect(build: Path, pack: Path) -> Path:
    """Strip programs and libraries into one archive; the path of it."""
    staged = pack / "staged"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    for path in _binaries(build / "bin"):
        target = staged / path.name
        if path.is_symlink():
            target.symlink_to(path.readlink())
        else:
            shutil.copy2(path, target)
            run("strip", "--strip-unneeded", target)
    # The one library of the compiler's that a bare machine may lack.
    shutil.copy2(run("cc", "-print-file-name=libgomp.so.1").strip(), staged / "libgomp.so.1")
    archive = pack / "binaries.tar.xz"
    run("tar", "-C", staged, "-cf", archive, "-I", "xz -6 -T0", ".")
    shutil.rmtree(staged)
    return archive


def _binaries(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if ".so" in path.name or path.name in PROGRAMS:
            yield path


def pack_wheels(lock: Path, pack: Path, python: str) -> None:
    """Download what the lock pins for the GPU machine's Python, and add the binding."""
    names = [line.split()[0] for line in lock.read_text().splitlines() if line[:1].isalpha()]
    wanted = [name for name in names if name.partition("==")[0] not in NOT_PACKED]
    systems = [f"--platform=manylinux_2_{n}_x86_64" for n in MANYLINUX]
    systems += [f"--platform=manylinux{n}_x86_64" for n in ("2014", "2010", "1")]
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    run(*pip, f"--python-version={python}", *systems, "-d", str(pack / "wheels"), *wanted)
    pack_binding(pack / "wheels")


def pack_binding(folder: Path) -> None:
    """The installed llama-cpp-python without its libraries, as something that can be unzipped."""
    found = metadata.distribution("llama_cpp_python")
    path = folder / f"llama_cpp_python-{found.version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in found.files or ():
            if file.suffix == ".py" or file.name == "METADATA":
                wheel.write(str(found.locate_file(file)), str(file))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--source", type=Path, required=True, help="llama.cpp; copied first")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pack", type=Path)
    parser.add_argument(
        "--cublas", type=Path, help="nvidia/cu13 of an unpacked nvidia-cublas wheel"
    )
    parser.add_argument("--architecture", default="90")
    parser.add_argument("--prune", action="store_true", help="only what the tables need")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--lock", type=Path, default=Path("requirements.lock"))
    parser.add_argument("--python", default="3.12", help="of the machine the pack is for")
    options = parser.parse_args(arguments)
    tree, build = options.work / "src", options.work / "build"
    if not tree.exists():
        shutil.copytree(options.source, tree)
        if options.prune:
            prune(tree)
    configure(tree, build, options.architecture, options.cublas)
    compile_all(build, options.jobs)
    if options.pack:
        archive = collect(build, options.pack)
        pack_wheels(options.lock, options.pack, options.python)
        print(f"{archive}: {archive.stat().st_size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
