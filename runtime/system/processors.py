"""The number of processors that this process may use: affinity, and its container's CPU limit."""

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path, PurePosixPath

PROC = Path("/proc/self")


def usable_processors() -> int:
    """Processors that this process may keep busy.

    It is the smallest of three numbers: processors that exist, processors that the process may run
    on (`taskset`, cpusets), and the grant of the control groups around it (`docker run --cpus`,
    Kubernetes limits). A share of a processor counts as a whole one: the kernel pauses threads
    beyond the grant in the middle of their work.
    """
    if hasattr(os, "sched_getaffinity"):
        available = len(os.sched_getaffinity(0))
    else:
        available = os.cpu_count() or 1
    granted = granted_processors()
    return available if granted is None else max(1, min(available, ceil(granted)))


def granted_processors(proc: Path = PROC) -> float | None:
    """Processors that the control groups around this process grant; None without a limit.

    Args:
        proc: The process's folder of procfs.

    Returns:
        Smallest grant of all levels, in processors; 0.5 is half the time of one.

    Source: cgroups(7), and `cpu.max` and `cpu.cfs_quota_us` in the kernel's cgroup documentation.
    """
    limits = [_limit(folder) for folder in _groups(proc)]
    return min((limit for limit in limits if limit is not None), default=None)


def _groups(proc: Path) -> Iterator[Path]:
    """Folders of the process's CPU control groups, from its own up to the top of the mount."""
    try:
        memberships = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:  # not Linux, or procfs is hidden
        return
    of_hierarchy: dict[str, str] = {}
    for line in memberships:
        hierarchy, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):
            of_hierarchy["cgroup"] = path
        elif hierarchy == "0":
            of_hierarchy["cgroup2"] = path
    for line in mounts:
        mount, _, filesystem = line.partition(" - ")
        kind, _, options = filesystem.split(" ")[:3]
        if kind not in of_hierarchy or (kind == "cgroup" and "cpu" not in options.split(",")):
            continue
        root, point = mount.split(" ")[3:5]
        own = PurePosixPath(of_hierarchy[kind])
        # A container sees its own group as the root of what is mounted, but may still be told the
        # path that the host knows; from outside of the mount there is only its top to look at.
        below = own.relative_to(root) if own.is_relative_to(root) else PurePosixPath()
        top = Path(point)
        folder = top if ".." in below.parts else top / below
        yield folder
        while folder != top:
            folder = folder.parent
            yield folder


def _limit(folder: Path) -> float | None:
    """The limit of one control group, in processors."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        limited = quota != "max" and int(quota) > 0 and int(period) > 0
        return int(quota) / int(period) if limited else None
    except (OSError, ValueError):  # no limit at this level, or none that can be read
        return None
