"""Fuzzes the doors of `targets.py`; docs/fuzzing.md says how, and what to do about a finding.

python -m tests.fuzz.run --seconds 60              all targets, one on each processor
python -m tests.fuzz.run pictures --seconds 600    one of them
python -m tests.fuzz.run pictures crash-0123       the target with the bytes of a file
"""

import argparse
import operator
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mavos_deploy.errors import MavosError

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

SLOWEST = 10  # seconds for one input
MEMORY = 2500  # MiB; PyTorch alone takes 400
FINDINGS = Path("build/fuzz")
# In Python's order of the instruction COMPARE_OP.
COMPARISONS = (operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge)


def main() -> None:
    """Run what the command line asks for; exit with 1 after a finding."""
    parser = argparse.ArgumentParser(description="Fuzz what reads files, requests and answers.")
    parser.add_argument("target", nargs="?", help="one target; default: all, one on each processor")
    parser.add_argument("file", nargs="?", type=Path, help="run the target with its bytes only")
    parser.add_argument("--seconds", type=int, default=60, help="for each target; default: 60")
    parser.add_argument("--seed", type=int, default=1, help="of the random changes; default: 1")
    parser.add_argument("--list", action="store_true", help="print the names of all targets")
    parser.add_argument("--write-seeds", type=Path, metavar="DIR", help="write a target's seeds")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file is not None:
        with tempfile.TemporaryDirectory() as folder:
            with suppress(MavosError):
                _door(options.target, Path(folder))(options.file.read_bytes())
            print(f"{options.target}: no finding")
    elif options.inside:
        _fuzz(options.target, options.seconds, options.seed)
    elif options.list:
        print("\n".join(_targets()))
    elif options.write_seeds is not None:
        _write_seeds(_targets()[options.target], options.write_seeds)
    else:
        # Not at the top: the fuzzer itself has to import what it watches.
        from mavos_deploy.runtime.system.processors import usable_processors

        names = [options.target] if options.target else list(_targets())
        start = partial(_start, seconds=options.seconds, seed=options.seed)
        with ThreadPoolExecutor(usable_processors()) as beside:  # each waits for a process
            fine = dict(zip(names, beside.map(start, names), strict=True))
        if found := [name for name, well in fine.items() if not well]:
            sys.exit(f"findings in {', '.join(found)}; the inputs are in {FINDINGS}")


def _start(name: str, seconds: int, seed: int) -> bool:
    """Fuzz one target in a process of its own, and print a line; returns whether all was well."""
    FINDINGS.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.run", name, "--inside"]
    command += ["--seconds", str(seconds), "--seed", str(seed)]
    started = time.monotonic()
    ended = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    took = time.monotonic() - started
    runs = re.findall(r"^(?:Done|#)(?: )?(\d+)", ended.stderr, re.MULTILINE)
    coverage = re.findall(r"cov: (\d+) ft: (\d+)", ended.stderr)
    reached = f", coverage {coverage[-1][0]}, features {coverage[-1][1]}" if coverage else ""
    said = f"{name}: {runs[-1] if runs else 0} inputs in {took:.0f} s{reached}"
    print(f"{said}\n", end="", flush=True)  # at once, because others run beside it
    if ended.returncode:
        tail = "\n".join(ended.stderr.splitlines()[-40:])
        print(f"{name}:\n{tail}\n", end="", file=sys.stderr)
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


def _fuzz(name: str, seconds: int, seed: int) -> None:
    if find_spec("atheris") is None:
        print("atheris isn't installed: random changes without coverage", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            _mutate(name, Path(folder), seconds, seed)
        return
    with tempfile.TemporaryDirectory() as folder:
        options = [f"-max_total_time={seconds}", f"-seed={seed}", f"-timeout={SLOWEST}"]
        options += [f"-rss_limit_mb={MEMORY}", f"-artifact_prefix={FINDINGS}/{name}-"]
        corpus = Path(folder, "corpus")
        _import_instrumented()
        _write_seeds(_targets()[name], corpus)
        _with_atheris(name, Path(folder, "work"), [sys.argv[0], *options, str(corpus)])


def fuzz_with_arguments(name: str) -> None:
    """Fuzz a target with the command line's options for libFuzzer, as ClusterFuzzLite gives them.

    Args:
        name: Name of the target.
    """
    with tempfile.TemporaryDirectory() as folder:
        _with_atheris(name, Path(folder, "work"), sys.argv)


def _import_instrumented() -> None:
    """Import the library so that coverage of it is counted; only the first import can do that."""
    import atheris

    with atheris.instrument_imports(include=["mavos_deploy"]):
        import tests.fuzz.targets  # noqa: F401


def _free_arrays() -> None:
    """Compare arrays past atheris 3.0, which never frees what a comparison makes.

    Instrumented code calls a function of atheris, and `Fuzz` puts another in its place.
    """
    import atheris
    import numpy as np
    from atheris.version_dependent import CMP_OP_SHIFT_AMOUNT

    trace = atheris._trace_cmp

    def compared(left: Any, right: Any, number: int, *rest: object) -> object:  # noqa: ANN401
        if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
            return COMPARISONS[number >> CMP_OP_SHIFT_AMOUNT](left, right)
        return trace(left, right, number, *rest)

    atheris._trace_cmp = compared


def _with_atheris(name: str, folder: Path, arguments: list[str]) -> None:
    import atheris

    _import_instrumented()
    from tests.fuzz.targets import LARGEST, TARGETS

    folder.mkdir()
    with atheris.instrument_imports(include=["mavos_deploy"]):
        door = TARGETS[name].prepare(folder)  # some import what only they need

    begun = False

    def once(content: bytes) -> None:
        nonlocal begun
        if not begun:
            begun = True
            _free_arrays()
        with suppress(MavosError):
            door(content)

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
