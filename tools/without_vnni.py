"""Runs a command as if this processor had no AVX-512, VNNI and AMX, at full speed.

    python tools/without_vnni.py mavos-bench lite-241x433-int8 --backend onnxruntime-cpu

The releases of ONNX Runtime and OpenVINO have no switch for that: they ask the processor with the
instruction cpuid. This copies both packages, replaces cpuid in their libraries by an illegal
instruction of the same length, and preloads without_vnni.c, which handles it and answers without
those extensions. What runs is the code that a processor with AVX2 alone would run. Clock, caches
and units are this processor's.

Needs an x86-64 processor with Linux, gcc and objdump (Debian's binutils).
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("onnxruntime", "openvino")
CPUID, ILLEGAL = b"\x0f\xa2", b"\x0f\x0b"  # cpuid and ud2
# Disassembling starts this many bytes before. Instructions differ in length, so that a start may
# be amid one; after a few, the disassembler is in step again. It stops after whole instructions.
STARTS = (64, 96, 128)
LONGEST = 16
LACKING = re.compile(r"avx512\w*|avx_vnni\w*|avx_ne_convert|avx10\w*|amx_\w*")
SOURCE = Path(__file__).with_suffix(".c")


class MaskError(Exception):
    """The libraries can't be changed; the message says what to do."""


def prepare(folder: Path) -> dict[str, str]:
    """Fill a folder with what a program needs to see a processor without VNNI.

    Args:
        folder: Empty or new folder.

    Returns:
        Environment variables for the program, beside those of this process.

    Raises:
        MaskError: A tool is missing, the folder holds something, or no library with the
            instruction was found.
    """
    for tool in ("gcc", "objdump"):
        if shutil.which(tool) is None:
            raise MaskError(f"{tool} is not installed: apt-get install gcc binutils")
    if not Path("/proc/cpuinfo").exists():
        raise MaskError("there is no /proc/cpuinfo; this needs Linux")
    folder = folder.resolve()
    if set(str(folder)) & {" ", ":"}:
        raise MaskError(f"{folder} holds a space or a colon, where LD_PRELOAD is cut; name another")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MaskError(f"{folder} is not an empty folder; name a new one")
    folder.mkdir(parents=True, exist_ok=True)
    handler = folder / "without_vnni.so"
    compile_it = [
        "gcc",
        "-O1",
        "-Wall",
        "-shared",
        "-fPIC",
        str(SOURCE),
        "-o",
        str(handler),
        "-ldl",
    ]
    if subprocess.run(compile_it, check=False).returncode != 0:
        raise MaskError("gcc can't compile the handler (see above); apt-get install libc6-dev")
    packages = folder / "packages"
    replaced = sum(_copied(name, packages) for name in PACKAGES)
    if not replaced:
        raise MaskError("no library asks the processor; pip install onnxruntime openvino first")
    about = folder / "cpuinfo"
    about.write_text(LACKING.sub("", Path("/proc/cpuinfo").read_text()))
    path = os.pathsep.join(filter(None, [str(packages), os.environ.get("PYTHONPATH")]))
    preload = " ".join(filter(None, [str(handler), os.environ.get("LD_PRELOAD")]))
    return {"LD_PRELOAD": preload, "PYTHONPATH": path, "WITHOUT_VNNI_CPUINFO": str(about)}


def _copied(name: str, folder: Path) -> int:
    """Copy a package and replace the instruction in its libraries; the number of places."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return 0
    target = folder / name
    # Plugins for other devices are large, and nothing here uses them.
    other = shutil.ignore_patterns("*gpu_plugin*", "*npu_plugin*", "__pycache__")
    shutil.copytree(spec.submodule_search_locations[0], target, symlinks=True, ignore=other)
    libraries = (path for path in sorted(target.rglob("*.so*")) if not path.is_symlink())
    return sum(_replace(path) for path in libraries if path.is_file() and _is_elf(path))


def _is_elf(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def _replace(library: Path) -> int:
    data = bytearray(library.read_bytes())
    count = 0
    for start, offset, size in _code(library):
        for found in re.finditer(re.escape(CPUID), bytes(data[offset : offset + size])):
            if _is_instruction(library, start, start + found.start()):
                place = offset + found.start()
                data[place : place + len(ILLEGAL)] = ILLEGAL
                count += 1
    if count:
        library.write_bytes(data)
    return count


def _code(library: Path) -> list[tuple[int, int, int]]:
    """Address, place in the file and size in bytes of each section of code."""
    words = ["objdump", "--section-headers", "--wide", str(library)]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in text.splitlines() if "CODE" in line)
    return [(int(row[3], 16), int(row[5], 16), int(row[2], 16)) for row in rows]


def _is_instruction(library: Path, first: int, address: int) -> bool:
    """Whether the bytes are an instruction, and not a part of a longer one."""
    agreed = 0
    for back in STARTS:
        start, stop = max(first, address - back), address + LONGEST
        words = ["objdump", "--disassemble", "--no-show-raw-insn", str(library)]
        words += [f"--start-address={start}", f"--stop-address={stop}"]
        text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        agreed += re.search(rf"^\s*{address:x}:\s+cpuid", text, re.MULTILINE) is not None
    return agreed > len(STARTS) // 2


def main(words: list[str] | None = None) -> int:
    """Parse the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Runs a command as if this processor had no AVX-512, VNNI and AMX.",
        usage="%(prog)s [--folder DIR] COMMAND ...",
    )
    parser.add_argument("--folder", type=Path, help="keep the changed copies here, new or empty")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(words)
    if not given.command:
        parser.error("give a command to run")
    with tempfile.TemporaryDirectory(prefix="without-vnni-") as scratch:
        try:
            variables = prepare(given.folder or Path(scratch))
        except (MaskError, OSError, subprocess.CalledProcessError) as error:
            print(f"without_vnni: {error}", file=sys.stderr)
            return 1
        environment = {**os.environ, **variables}
        try:
            return subprocess.run(given.command, env=environment, check=False).returncode
        except OSError as error:
            print(f"without_vnni: {given.command[0]} can't be run ({error})", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
