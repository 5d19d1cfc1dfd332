"""Builds a CUDA driver made of host memory, and PyCUDA against it, for machines without a GPU.

    python tools/host_cuda.py --output build/host-cuda

The driver is tools/host_cuda.c; that file says what it checks. PyCUDA comes as source from the
package index, CUDA's headers from NVIDIA's packages there (3 MB). It takes a C++ compiler, `nm` and
Python's headers, no CUDA toolkit, and about two minutes; a second run only builds the driver again.
To use both, start Python with `lib` of the folder in LD_LIBRARY_PATH and `python` in PYTHONPATH.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from zipfile import ZipFile

SOURCES = tuple(map(Path(__file__).with_name, ("host_cuda.c", "host_cuda_streams.c")))
PYCUDA = "pycuda==2026.1"
HEADERS = (
    "nvidia-cuda-runtime==13.5.37",
    "nvidia-cuda-crt==13.5.37",
    "nvidia-cuda-profiler-api==13.5.25",
)
SONAME = "libcuda.so.1"
BUILT = "built-with.txt"  # packages that a folder was built with, written last
REFUSED = 801  # CUDA_ERROR_NOT_SUPPORTED


class BuildError(Exception):
    """Something can't be built; the message says what failed."""


class DownloadError(BuildError):
    """A package can't be downloaded."""


def run(*command: str | Path, folder: Path | None = None) -> str:
    """Run a program and return its output.

    Raises:
        BuildError: It is missing or failed.
    """
    try:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BuildError(f"{command[0]} is not installed") from None
    if ran.returncode:
        said = (ran.stderr.strip() or ran.stdout.strip()).splitlines()[-10:]
        raise BuildError("\n".join([f"{' '.join(map(str, command))} failed:", *said]))
    return ran.stdout


def symbols(library: Path, which: str) -> set[str]:
    """Functions of CUDA's driver that a library defines or leaves to others.

    Args:
        library: A shared library.
        which: `--defined-only` or `--undefined-only`.
    """
    listed = run("nm", "-D", which, library)
    return set(re.findall(r" [TU] (cu[A-Z]\w*)", listed))


def build_driver(output: Path, users: list[Path]) -> None:
    """Compile the driver.

    Args:
        output: The folder with CUDA's headers in `include`; gets `lib`.
        users: Libraries that need the driver. What they need and the driver lacks is there as a
            function that isn't supported, because Python loads no library with an open end.
    """
    folder = output / "lib"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output) as scratch:
        library, stubs = Path(scratch) / SONAME, Path(scratch) / "stubs.c"
        stubs.touch()
        command: list[str | Path] = ["cc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror"]
        command += ["-shared", "-fPIC", f"-Wl,-soname,{SONAME}", "-I", output / "include"]
        command += ["-o", library, *SOURCES, stubs, "-ldl", "-lpthread"]
        run(*command)
        needed = {name for user in users for name in symbols(user, "--undefined-only")}
        missing = sorted(needed - symbols(library, "--defined-only"))
        stubs.write_text("".join(f"int {name}(void) {{ return {REFUSED}; }}\n" for name in missing))
        run(*command)
        library.replace(folder / SONAME)  # at once: a program may be loading the one before
    link = folder / "libcuda.so"
    if not link.is_symlink():
        link.symlink_to(SONAME)


def fetch_headers(output: Path) -> None:
    """Download CUDA's headers into `include`."""
    with tempfile.TemporaryDirectory() as scratch:
        download(scratch, "--only-binary=:all:", *HEADERS)
        for wheel in Path(scratch).glob("*.whl"):
            with ZipFile(wheel) as archive:
                archive.extractall(scratch)
        (found,) = Path(scratch).glob("nvidia/*/include")
        shutil.copytree(found, output / "include")


def build_pycuda(output: Path) -> None:
    """Compile PyCUDA against the driver, into `python`."""
    with tempfile.TemporaryDirectory() as scratch:
        download(scratch, "--no-binary=pycuda", PYCUDA)
        (archive,) = Path(scratch).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        source = Path(scratch) / archive.name.removesuffix(".tar.gz")
        configure = ["configure.py", "--no-cuda-enable-curand"]
        configure += [f"--cuda-inc-dir={output / 'include'}"]
        configure += [f"--cudadrv-lib-dir={output / 'lib'}"]
        run(sys.executable, *configure, folder=source)
        install = ("pip", "install", "--quiet", "--no-deps", "--target", output / "python", source)
        run(sys.executable, "-m", *install)


def download(folder: str, kind: str, *packages: str) -> None:
    """Download packages without those that they need.

    Args:
        folder: Where they go.
        kind: pip's option that chooses source or wheels, with its value.
        packages: Names with versions.

    Raises:
        DownloadError: One of them can't be had.
    """
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
    try:
        run(*pip, kind, "--dest", folder, *packages)
    except BuildError as error:
        raise DownloadError(str(error)) from error


def build(output: Path) -> None:
    """Fill the folder with `include`, `lib` and `python`, as far as they aren't there.

    Args:
        output: The folder; made if it is missing.

    Raises:
        BuildError: A program or a package is missing, or a part doesn't compile.
    """
    version = "{}.{}".format(*sys.version_info[:2])
    wanted = "\n".join([f"Python {version}", PYCUDA, *HEADERS, ""])
    stamp = output / BUILT
    if not stamp.is_file() or stamp.read_text() != wanted:
        for part in ("include", "lib", "python"):
            shutil.rmtree(output / part, ignore_errors=True)
        output.mkdir(parents=True, exist_ok=True)
        fetch_headers(output)
        build_driver(output, [])
        build_pycuda(output)
    build_driver(output, sorted((output / "python/pycuda").glob("_driver*.so")))
    stamp.write_text(wanted)


def build_without_pycuda(output: Path) -> None:
    """Fill the folder with `include` and `lib`, for programs that are no Python.

    Args:
        output: The folder; made if it is missing.

    Raises:
        BuildError: A program or a package is missing, or the driver doesn't compile.
    """
    if not (output / "include").is_dir():
        output.mkdir(parents=True, exist_ok=True)
        fetch_headers(output)
    build_driver(output, [])


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder to fill")
    output: Path = parser.parse_args().output.resolve()
    if output.is_dir() and any(output.iterdir()) and not (output / "include").is_dir():
        print(f"{output} holds something else; choose another folder", file=sys.stderr)
        return 2
    try:
        build(output)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"built {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
