"""The CPU limit of a container is found wherever its control groups are mounted."""

import os
from pathlib import Path

import pytest

from mavos_deploy.runtime.system import processors
from mavos_deploy.runtime.system.processors import granted_processors, usable_processors


def _process(folder: Path, membership: str, mounts: list[str], files: dict[str, str]) -> Path:
    """A procfs folder whose mounts lie in `folder`, with what the control groups say."""
    proc = folder / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(membership)
    (proc / "mountinfo").write_text("\n".join(m.replace("@", str(folder)) for m in mounts))
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc


V2 = "31 22 0:27 / @/sys rw,nosuid - cgroup2 cgroup2 rw"
V1 = "32 22 0:28 {root} @/sys/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct"


@pytest.mark.parametrize(
    ("membership", "mounts", "files", "granted"),
    [
        pytest.param("0::/\n", [V2], {"sys/cpu.max": "150000 100000\n"}, 1.5, id="v2-container"),
        pytest.param("0::/\n", [V2], {"sys/cpu.max": "max 100000\n"}, None, id="v2-no-limit"),
        pytest.param("0::/\n", [V2], {"sys/x": ""}, None, id="v2-root"),
        pytest.param(
            "0::/pod/app\n",
            [V2],
            {"sys/pod/cpu.max": "200000 100000", "sys/pod/app/cpu.max": "max 100000"},
            2.0,
            id="v2-limit-above",
        ),
        pytest.param(
            "0::/pod/app\n",
            [V2],
            {"sys/pod/cpu.max": "200000 100000", "sys/pod/app/cpu.max": "50000 100000"},
            0.5,
            id="v2-least-of-all-levels",
        ),
        pytest.param(
            "0::/../../other\n", [V2], {"sys/cpu.max": "300000 100000"}, 3.0, id="v2-outside"
        ),
        pytest.param(
            "9:memory:/a\n4:cpu,cpuacct:/docker/7f\n",
            [V1.format(root="/docker/7f")],
            {"sys/cpu/cpu.cfs_quota_us": "400000\n", "sys/cpu/cpu.cfs_period_us": "100000\n"},
            4.0,
            id="v1-container-that-sees-the-path-of-its-host",
        ),
        pytest.param(
            "4:cpu,cpuacct:/a/b\n",
            [V1.format(root="/")],
            {"sys/cpu/a/cpu.cfs_quota_us": "-1", "sys/cpu/a/cpu.cfs_period_us": "100000"},
            None,
            id="v1-no-limit",
        ),
        pytest.param(
            "4:cpu:/\n0::/\n",
            [V1.format(root="/"), "41 31 0:38 / @/sys/unified rw - cgroup2 cgroup2 rw"],
            {"sys/cpu/cpu.cfs_quota_us": "100000", "sys/cpu/cpu.cfs_period_us": "50000"},
            2.0,
            id="both-versions",
        ),
        pytest.param("0::/\n", [V2], {"sys/cpu.max": "rubbish"}, None, id="not-readable"),
    ],
)
def test_the_grant_is_found(
    tmp_path: Path, membership: str, mounts: list[str], files: dict[str, str], granted: float | None
) -> None:
    assert granted_processors(_process(tmp_path, membership, mounts, files)) == granted


def test_without_procfs_there_is_no_limit(tmp_path: Path) -> None:
    assert granted_processors(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("granted", "usable"),
    [
        pytest.param(None, 8, id="no-limit"),
        pytest.param(0.25, 1, id="a-quarter"),
        pytest.param(1.5, 2, id="one-and-a-half"),
        pytest.param(3.0, 3, id="three"),
        pytest.param(64.0, 8, id="more-than-there-are"),
    ],
)
def test_usable_processors_are_within_the_grant(
    monkeypatch: pytest.MonkeyPatch, granted: float | None, usable: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(processors, "granted_processors", lambda: granted)
    assert usable_processors() == usable
