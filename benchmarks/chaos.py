"""Disturb runs at random moments, and show that no result is wrong or lost unsaid.

    python benchmarks/chaos.py BUNDLE --minutes 60 --output chaos.json

Made-up videos are segmented again and again: one at a time, by two worker processes, and on a Ray
cluster of two nodes on this machine. At a random moment something is done to the run: processes
are killed or stopped for a while, the terminal is closed, the disk fills, memory is limited, the
clock jumps, a node dies. Then every mask that is there must be that of an undisturbed run, byte
for byte; exit code 0 must mean that all are there, and a run that ended by itself must say what
is missing. The same command once more must complete the rest and leave nothing else behind. Prints
a table, and exits with 1 if anything was otherwise. Linux only; filling a disk needs the right to
mount a tmpfs, and the clock libfaketime. What can't be done here is named and left out.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from mavos_deploy.evaluation.scenes.clip import iter_clip
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.masks.png import write_mask

VIDEOS, FRAMES = 4, 24
LONGEST = 180  # seconds until a run counts as hung, by default
DISK = 24  # KiB of the small disk, about half of what the masks take
START = "import sys; from mavos_deploy.cli.program import main; main()"

Digests = dict[str, str]  # SHA-256 of each mask, by its path in the output
Act = Callable[["Trial"], None]


@dataclass(frozen=True)
class Way:
    """One way to segment.

    Attributes:
        name: Name in the table.
        arguments: Arguments of `mavos`, without the output.
        again: Arguments that go on after a disturbance.
    """

    name: str
    arguments: tuple[str, ...]
    again: tuple[str, ...] = ()


@dataclass
class Trial:
    """One disturbed run.

    Attributes:
        process: The command.
        draw: Source of random choices.
        cluster: Ray's cluster, where there is one.
    """

    process: "subprocess.Popen[str]"
    draw: random.Random
    cluster: Any = None

    def children(self) -> list[int]:
        """Processes that the command has started."""
        found, parents = [], [self.process.pid]
        while parents:
            tasks = Path(f"/proc/{parents.pop()}/task")
            for task in list(tasks.iterdir()) if tasks.exists() else []:
                with suppress(OSError):
                    new = list(map(int, (task / "children").read_text().split()))
                    found += new
                    parents += new
        return found


@dataclass
class Row:
    """What came of one disturbance of one way."""

    trials: int = 0
    whole: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def _send(number: signal.Signals) -> Act:
    return lambda trial: trial.process.send_signal(number)


def _pause(trial: Trial) -> None:
    trial.process.send_signal(signal.SIGSTOP)
    time.sleep(trial.draw.uniform(0.2, 2))
    trial.process.send_signal(signal.SIGCONT)


def _kill_child(trial: Trial) -> None:
    if children := trial.children():
        with suppress(OSError):
            os.kill(trial.draw.choice(children), signal.SIGKILL)


def _kill_node(trial: Trial) -> None:
    for node in list(trial.cluster.worker_nodes)[:1]:
        trial.cluster.remove_node(node, allow_graceful=False)


def _nothing(_: Trial) -> None:
    pass


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}k", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def _limit_memory(draw: random.Random) -> Callable[[], None]:
    most = draw.randrange(400, 1600) << 20
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most))


ACTS: dict[str, Act] = {
    "kill -9": _send(signal.SIGKILL),
    "SIGTERM": _send(signal.SIGTERM),
    "SIGHUP": _send(signal.SIGHUP),
    "stop, continue": _pause,
    "kill -9 of a child": _kill_child,
    "full disk": _nothing,
    "no memory": _nothing,
    "clock steps": _nothing,
    "kill -9 of a node": _kill_node,
}

# Signals, below zero, that end a command by themselves where an act sends them.
DEATHS = {"kill -9": (-9,), "SIGTERM": (-15,), "SIGHUP": (-1,)}


class Chaos:
    """Disturbs runs of a bundle, and keeps count.

    Args:
        bundle: The bundle's folder.
        scratch: Folder for videos and results.
        seed: Seed of all choices.
        longest: Seconds until a run counts as hung.
    """

    def __init__(self, bundle: Path, scratch: Path, seed: int, longest: float = LONGEST) -> None:
        self._scratch = scratch
        self._longest = longest
        self._draw = random.Random(seed)
        self._cluster: Any = None
        self.rows: dict[tuple[str, str], Row] = {}
        self._data = scratch / "data"
        self._said = scratch / "said.txt"  # by the latest run
        self._make_videos(Bundle.open(bundle).manifest.size)
        common = ("--threads", "1", "--quiet")
        pictures = self._data / "JPEGImages/480p/video-0"
        first = self._data / "Annotations/480p/video-0/00000.png"
        self._ways = {
            "mavos-run": Way(
                "mavos-run",
                ("run", str(bundle), str(pictures), "--masks", str(first), *common),
                ("--overwrite",),
            ),
            "mavos-batch": Way("mavos-batch", ("batch", str(bundle), str(self._data), *common)),
        }
        batch = self._ways["mavos-batch"]
        self._ways["--workers 2"] = Way("--workers 2", (*batch.arguments, "--workers", "2"))
        self._expected = {
            name: self._undisturbed(way)
            for name, way in self._ways.items()
            if name != "--workers 2"
        }
        self._expected["--workers 2"] = self._expected["--ray"] = self._expected["mavos-batch"]

    def _make_videos(self, size: tuple[int, int]) -> None:
        height, width = (side - side % 2 for side in size)
        for number in range(VIDEOS):
            folders = [
                self._data / kind / "480p" / f"video-{number}"
                for kind in ("JPEGImages", "Annotations")
            ]
            for folder in folders:
                folder.mkdir(parents=True)
            clip = iter_clip(height, width, FRAMES, 2, 0, 0, number)
            for index, (frame, labels) in enumerate(clip):
                Image.fromarray(frame).save(folders[0] / f"{index:05d}.jpg", quality=95)
                if index == 0:
                    write_mask(folders[1] / f"{index:05d}.png", labels)

    def start_cluster(self) -> None:
        """Start a Ray cluster of two nodes, each with a raylet of its own."""
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        self._cluster.add_node(num_cpus=1)
        batch = self._ways["mavos-batch"]
        arguments = (*batch.arguments, "--ray", self._cluster.address)
        self._ways["--ray"] = Way("--ray", arguments)

    def stop_cluster(self) -> None:
        """End the cluster, if there is one."""
        if self._cluster is not None:
            self._cluster.shutdown()

    def pairs(self, without: set[str]) -> list[tuple[str, str]]:
        """Ways and what can be done to them."""
        of_ray = {"kill -9 of a node"}
        alone = {"kill -9 of a child"}
        return [
            (way, act)
            for way in self._ways
            for act in ACTS
            if act not in without
            and (act not in of_ray or way == "--ray")
            and (act not in alone or way == "--workers 2")
            and not (way == "--ray" and act in ("full disk", "no memory", "clock steps"))
        ]

    def disturb(self, name: str, act: str) -> None:
        """Disturb a run, check what is there, and go on undisturbed."""
        way, row = self._ways[name], self.rows.setdefault((name, act), Row())
        row.trials += 1
        if name == "--ray" and not self._cluster.worker_nodes:
            with suppress(Exception):  # a busy machine may take too long; the head works alone
                self._cluster.add_node(num_cpus=1)
        shutil.rmtree(self._scratch / "out", ignore_errors=True)
        disk = self._scratch / "out"
        output = disk / "masks"
        with _small_disk(disk) if act == "full disk" else nullcontext():
            code = self._run(way, output, act)
            self._judge(row, name, code, _digests(output), act)
        row.codes[code] += 1
        code = self._run(way, output, None, way.again)
        self._judge(row, name, code, _digests(output), None)
        if left := list(output.rglob(".*")):
            row.faults.append(f"left behind: {left[0].name}")

    def _undisturbed(self, way: Way) -> Digests:
        output = self._scratch / "expected" / way.name
        code = self._run(way, output, None)
        found = _digests(output)
        if code != 0 or not found:
            sys.exit(f"chaos.py: the undisturbed {way.name} ends with {code}")
        return found

    def _run(self, way: Way, output: Path, act: str | None, more: tuple[str, ...] = ()) -> int:
        """Run a command and disturb it; returns its exit code, or -1000 where it hung."""
        environment = dict(os.environ)
        if act == "clock steps":
            steps = self._draw.choice(("-1d", "+2d", "-15m", "+1h x50"))
            environment |= {"LD_PRELOAD": str(_faketime()), "FAKETIME": steps}
        command = [sys.executable, "-c", START, *way.arguments, "--output", str(output), *more]
        with self._said.open("wb") as said:
            process = subprocess.Popen(
                command,
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
                preexec_fn=_limit_memory(self._draw) if act == "no memory" else None,  # noqa: PLW1509
            )
        trial = Trial(process, self._draw, self._cluster)
        if act is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(self._draw.uniform(0.2, 12))
            if process.poll() is None:
                ACTS[act](trial)
        try:
            return process.wait(self._longest)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return -1000

    def _judge(self, row: Row, name: str, code: int, found: Digests, act: str | None) -> None:
        """Note what is wrong after a run that was disturbed by an act, or by nothing."""
        expected = self._expected[name]
        if wrong := [path for path, digest in found.items() if expected.get(path) != digest]:
            row.faults.append(f"{len(wrong)} wrong masks, {wrong[0]} for one")
        missing = set(expected) - set(found)
        if code == 0 and missing:
            row.faults.append(f"exit code 0 without {len(missing)} masks")
        if code == -1000:
            row.faults.append("it hung")
        elif code < 0 and code not in DEATHS.get(act or "", ()):
            row.faults.append(f"signal {-code} ended it, and nothing was said")
        said = self._said.read_text(encoding="utf-8", errors="replace")
        if code > 0 and (unsaid := _unsaid(code, missing, said)):
            row.faults.append(f"exit code {code}, and nothing was said of {', '.join(unsaid)}")
        if act is None and code != 0:
            row.faults.append(f"the run after it ends with {code}")
        if act is not None and not missing:
            row.whole += 1


def _digests(folder: Path) -> Digests:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*.png"))
        if not any(part.startswith(".") for part in file.relative_to(folder).parts)
    }


def _unsaid(code: int, missing: set[str], said: str) -> list[str]:  # owed for an exit code
    words = {130: ["interrupted"], 1: sorted({Path(path).parent.name for path in missing})}
    return [word for word in words.get(code, ["error: "]) if word not in said]


def _faketime() -> Path | None:
    places = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]
    return places[0] if places else None


def _impossible(scratch: Path) -> dict[str, str]:
    """Disturbances that can't be made here, with the reason."""
    found = {}
    try:
        with _small_disk(scratch / "probe"):
            pass
    except (OSError, subprocess.CalledProcessError):
        found["full disk"] = "no tmpfs may be mounted"
    if _faketime() is None:
        found["clock steps"] = "libfaketime isn't installed"
    if find_spec("ray") is None:
        found["kill -9 of a node"] = "Ray isn't installed"
    return found


def main() -> int:
    """Disturb runs until the time is over; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=float, default=60, help="default: 60")
    parser.add_argument("--seed", type=int, default=1, help="of all choices; default: 1")
    parser.add_argument(
        "--patience", type=float, default=LONGEST, help="seconds until a run counts as hung"
    )
    parser.add_argument("--no-ray", action="store_true", help="leave the Ray cluster out")
    parser.add_argument("--output", type=Path, help="write the table as JSON")
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="chaos-") as folder:
        chaos = Chaos(arguments.bundle.resolve(), Path(folder), arguments.seed, arguments.patience)
        without = _impossible(Path(folder))
        for act, reason in without.items():
            print(f"left out: {act}, because {reason}")
        try:
            if not arguments.no_ray and find_spec("ray") is not None:
                chaos.start_cluster()
            end = time.monotonic() + 60 * arguments.minutes
            pairs = chaos.pairs(set(without))
            while time.monotonic() < end:
                for way, act in random.Random(arguments.seed).sample(pairs, len(pairs)):
                    if time.monotonic() < end:
                        chaos.disturb(way, act)
        finally:
            chaos.stop_cluster()
    print(_table(chaos.rows))
    if arguments.output is not None:
        rows = [
            {"way": way, "act": act, **vars(row), "codes": dict(row.codes)}
            for (way, act), row in chaos.rows.items()
        ]
        arguments.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    faults = [fault for row in chaos.rows.values() for fault in row.faults]
    print(f"{sum(row.trials for row in chaos.rows.values())} trials, {len(faults)} faults")
    for fault in faults:
        print(f"  {fault}")
    return 1 if faults else 0


def _table(rows: dict[tuple[str, str], Row]) -> str:
    lines = ["| run | what was done to it | times | whole all the same | exit codes | faults |"]
    lines.append("|---|---|---|---|---|---|")
    for (way, act), row in sorted(rows.items()):
        codes = ", ".join(f"{code}: {count}" for code, count in sorted(row.codes.items()))
        lines.append(
            f"| {way} | {act} | {row.trials} | {row.whole} | {codes} | {len(row.faults)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
