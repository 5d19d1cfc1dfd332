"""Fuzzes the doors of `targets.py`; docs/fuzzing.md says how, and what to do about a finding.

python -m tests.fuzz.run --seconds 60              all targets, one after the other
python -m tests.fuzz.run pictures --seconds 600    one of them
python -m tests.fuzz.run pictures crash-0123       the target with the bytes of a file
"""

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mavos_deploy.errors import MavosError

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

SLOWEST = 10  # seconds for one input
MEMORY = 2500  # MiB; PyTorch alone takes 400
GROWN_MEMORY = 1500 << 20  # bytes after which a fresh process goes on
GROWN = 75  # its exit status
LOOKS = 200  # inputs between two looks at the memory
FINDINGS = Path("build/fuzz")


def main() -> None:
    """Run what the command line asks for; exit with 1 after a finding."""
    parser = argparse.ArgumentParser(description="Fuzz what reads files, requests and answers.")
    parser.add_argument("target", nargs="?", help="one target; default: all, one after the other")
    parser.add_argument("file", nargs="?", type=Path, help="run the target with its bytes only")
    parser.add_argument("--seconds", type=int, default=60, help="for each target; default: 60")
    parser.add_argument("--seed", type=int, default=1, help="of the random changes; default: 1")
    parser.add_argument("--list", action="store_true", help="print the names of all targets")
    parser.add_argument("--write-seeds", type=Path, metavar="DIR", help="write a target's seeds")
    parser.add_argument("--inside", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file is not None:
        with tempfile.TemporaryDirectory() as folder:
            with suppress(MavosError):
                _door(options.target, Path(folder))(options.file.read_bytes())
            print(f"{options.target}: no finding")
    elif options.inside is not None:
        _fuzz(options.target, options.seconds, options.seed, options.inside)
    elif options.list:
        print("\n".join(_targets()))
    elif options.write_seeds is not None:
        _write_seeds(_targets()[options.target], options.write_seeds)
    else:
        names = [options.target] if options.target else list(_targets())
        found = [name for name in names if not _start(name, options.seconds, options.seed)]
        if found:
            sys.exit(f"findings in {', '.join(found)}; the inputs are in {FINDINGS}")


def _start(name: str, seconds: int, seed: int) -> bool:
    """Fuzz one target in processes of its own, and print a line; returns whether all was well.

    atheris 3.0 never frees an array that a comparison in instrumented code makes. So a process that
    has grown ends, and the next goes on with the inputs that it found.
    """
    FINDINGS.mkdir(parents=True, exist_ok=True)
    started, inputs, reached = time.monotonic(), 0, ""
    with tempfile.TemporaryDirectory() as folder:
        while True:
            left = max(1, round(started + seconds - time.monotonic()))
            command = [sys.executable, "-m", "tests.fuzz.run", name, "--inside", folder]
            command += ["--seconds", str(left), "--seed", str(seed)]
            ended = subprocess.run(
                command, capture_output=True, text=True, check=False, errors="replace"
            )
            took = time.monotonic() - started
            runs = re.findall(r"^(?:Done|#)(?: )?(\d+)", ended.stderr, re.MULTILINE)
            inputs += int(runs[-1]) if runs else 0
            coverage = re.findall(r"cov: (\d+) ft: (\d+)", ended.stderr)
            reached = (
                f", coverage {coverage[-1][0]}, features {coverage[-1][1]}" if coverage else ""
            )
            if ended.returncode != GROWN:
                break
            if took >= seconds:
                ended.returncode = 0
                break
            seed += 1
    print(f"{name}: {inputs} inputs in {took:.0f} s{reached}", flush=True)
    if ended.returncode:
        print("\n".join(ended.stderr.splitlines()[-40:]), file=sys.stderr)
    return ended.returncode == 0


def _targets() -> "dict[str, Target]":
    from tests.fuzz.targets import TARGETS

    return TARGETS


def _door(name: str, folder: Path) -> Callable[[bytes], object]:
    if name not in _targets():
        sys.exit(f"no target {name}; there are {', '.join(_targets())}")
    return _targets()[name].prepare(folder)


def _write_seeds(target: "Target", folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate([*target.seeds(), *target.corpus().values()]):
        (folder / f"{number:04d}").write_bytes(content)


def _fuzz(name: str, seconds: int, seed: int, folder: Path) -> None:
    if find_spec("atheris") is None:
        print("atheris isn't installed: random changes without coverage", file=sys.stderr)
        _mutate(name, folder, seconds, seed)
        return
    options = [f"-max_total_time={seconds}", f"-seed={seed}", f"-timeout={SLOWEST}"]
    options += [f"-rss_limit_mb={MEMORY}", f"-artifact_prefix={FINDINGS}/{name}-"]
    _import_instrumented()
    _write_seeds(_targets()[name], folder / "corpus")
    work = Path(tempfile.mkdtemp(dir=folder))
    _with_atheris(name, work, [sys.argv[0], *options, str(folder / "corpus")], GROWN)


def fuzz_with_arguments(name: str) -> None:
    """Fuzz a target with the command line's options for libFuzzer, as ClusterFuzzLite gives them.

    Args:
        name: Name of the target.
    """
    # Status 0 says that the process is done. A merge would leave out the rest, so it grows on.
    merges = any(argument.startswith("-merge") for argument in sys.argv)
    with tempfile.TemporaryDirectory() as folder:
        _with_atheris(name, Path(folder), sys.argv, None if merges else 0)


def _import_instrumented() -> None:
    """Import the library so that coverage of it is counted; only the first import can do that."""
    import atheris

    with atheris.instrument_imports(include=["mavos_deploy"]):
        import tests.fuzz.targets  # noqa: F401


def _with_atheris(name: str, folder: Path, arguments: list[str], grown: int | None) -> None:
    """Fuzz until libFuzzer ends, or until the process has grown.

    Args:
        name: Name of the target.
        folder: Folder for the door's files.
        arguments: For libFuzzer.
        grown: Exit status of a process that has grown; None to let it grow.
    """
    import atheris

    _import_instrumented()
    from mavos_deploy.runtime.system.machine import resident_bytes
    from tests.fuzz.targets import LARGEST, TARGETS

    looks = grown is not None and sys.platform == "linux"
    with atheris.instrument_imports(include=["mavos_deploy"]):
        door = TARGETS[name].prepare(folder)  # some import what only they need

    count = 0

    def once(content: bytes) -> None:
        nonlocal count
        with suppress(MavosError):
            door(content)
        count += 1
        if looks and not count % LOOKS and resident_bytes() > GROWN_MEMORY:
            print(f"Done {count}", file=sys.stderr, flush=True)
            os._exit(grown or 0)  # libFuzzer's own limit would be a finding

    atheris.Setup([*arguments, f"-max_len={LARGEST}"], once)
    atheris.Fuzz()


def _mutate(name: str, folder: Path, seconds: int, seed: int) -> None:
    """Try random changes of the seeds, where there is no atheris."""
    from tests.fuzz.draws import mutated

    target, draw = _targets()[name], random.Random(seed)
    inputs = [*target.seeds(), *target.corpus().values()]
    door = target.prepare(folder)
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        content = mutated(draw.choice(inputs), draw)
        try:
            with suppress(MavosError):
                door(content)
        except BaseException:
            (FINDINGS / f"{name}-crash-{seed}-{count}").write_bytes(content)
            raise
        count += 1
    print(f"Done {count}", file=sys.stderr)


if __name__ == "__main__":
    main()
