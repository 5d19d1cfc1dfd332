"""Puts what the C++ runtime is built with into one folder: ONNX Runtime, and a JSON library.

    python tools/onnxruntime_prefix.py --output build/onnxruntime

ONNX Runtime's library comes from the Python package `onnxruntime` of this interpreter, its headers
from an npm package with the builds for phones. They are older than the library, which serves every
older interface. The headers of nlohmann/json come from the Python package `nlohmann-json`, if it is
installed; the system's own serve as well. A release of ONNX Runtime for C++ needs none of this:
give its folder to CMake as ONNXRUNTIME_ROOT.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

PACKAGE = "com.github.asus4.onnxruntime"
VERSION = "0.4.9"
NEEDED = "onnxruntime_cxx_api.h"


class PrefixError(Exception):
    """The folder can't be made; the message says what to do."""


def library() -> Path:
    """The shared library in the installed Python package.

    Raises:
        PrefixError: The package is missing, or holds no such library.
    """
    spec = find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        raise PrefixError("onnxruntime is not installed here; pip install 'mavos-deploy[cpu]'")
    folder = Path(spec.submodule_search_locations[0]) / "capi"
    return wheel_library(folder)


def wheel_library(folder: Path) -> Path:
    """The shared library in the folder `capi` of a package that is installed or unpacked.

    Raises:
        PrefixError: There is none.
    """
    found = sorted(folder.glob("libonnxruntime.so.*"))
    if not found:
        raise PrefixError(f"{folder} holds no libonnxruntime.so; only packages for Linux have one")
    return found[0]


def fetch_headers(folder: Path) -> None:
    """Download the npm package and take its headers.

    Args:
        folder: Where the headers go.

    Raises:
        PrefixError: There is no npm, or the download failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        command = ["npm", "pack", f"{PACKAGE}@{VERSION}", "--json", "--pack-destination", scratch]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise PrefixError(
                "npm is not installed, and the headers come through it; install npm, or give the "
                "headers of an ONNX Runtime release with --headers"
            ) from None
        if ran.returncode:
            last = (ran.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise PrefixError(f"npm pack {PACKAGE}@{VERSION} failed: {last}")
        name = json.loads(ran.stdout)[0]["filename"].replace("@", "").replace("/", "-")
        take_headers(Path(scratch) / name, folder)


def take_headers(archive: Path, folder: Path) -> None:
    """Copy the headers of one platform out of a npm package.

    Args:
        archive: The package, a .tgz file.
        folder: Where the headers go.

    Raises:
        PrefixError: The package has no C++ headers.
    """
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.isfile() and member.name.endswith(".h")]
        needed = [PurePosixPath(m.name).parent for m in members if m.name.endswith(NEEDED)]
        if not needed:
            raise PrefixError(f"{archive.name} holds no {NEEDED}")
        for member in members:
            path = PurePosixPath(member.name)
            content = tar.extractfile(member)
            if path.parent == min(needed) and content is not None:
                (folder / path.name).write_bytes(content.read())


def take_json(folder: Path) -> None:
    """Copy the headers of nlohmann/json out of its Python package, if that is installed."""
    spec = find_spec("nlohmann_json")
    if spec is not None and spec.submodule_search_locations:
        source = Path(spec.submodule_search_locations[0]) / "include/nlohmann"
        shutil.copytree(source, folder / "nlohmann", ignore=shutil.ignore_patterns("__pycache__"))


def make_prefix(output: Path, source: Path, headers: Path | None) -> None:
    """Fill the folder with `include/` and `lib/`.

    Args:
        output: The folder, which CMake takes as ONNXRUNTIME_ROOT; replaced if it is there.
        source: The shared library.
        headers: A folder with headers; None downloads them.

    Raises:
        PrefixError: A part is missing.
    """
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        made = Path(scratch) / "prefix"
        (made / "include").mkdir(parents=True)
        (made / "lib").mkdir()
        if headers is None:
            fetch_headers(made / "include")
        else:
            for header in headers.glob("*.h"):
                shutil.copy(header, made / "include")
        if not (made / "include" / NEEDED).is_file():
            raise PrefixError(f"{headers} holds no {NEEDED}")
        take_json(made / "include")
        shutil.copy(source, made / "lib" / source.name)
        for link in ("libonnxruntime.so.1", "libonnxruntime.so"):
            (made / "lib" / link).symlink_to(source.name)
        shutil.rmtree(output, ignore_errors=True)
        made.rename(output)


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder to make or replace")
    parser.add_argument(
        "--wheel",
        type=Path,
        help="an unpacked Python package to take the library from, such as one for aarch64 "
        "(default: the installed one)",
    )
    parser.add_argument(
        "--headers", type=Path, help="folder with the C++ headers (default: download them)"
    )
    options = parser.parse_args()
    output: Path = options.output.resolve()
    if output.exists() and not (output / "include" / NEEDED).is_file():
        print(f"{output} exists and is no such folder; choose another", file=sys.stderr)
        return 2
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        wheel = options.wheel
        source = wheel_library(wheel / "onnxruntime/capi") if wheel else library()
        make_prefix(output, source, options.headers)
    except PrefixError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"wrote {output}; now cmake ... -DONNXRUNTIME_ROOT={output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
