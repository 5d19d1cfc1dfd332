"""Locks are held by one process at a time, and freed however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mavos_deploy.runtime.system import locks
from mavos_deploy.runtime.system.locks import HeldError, Lock, holder

HOLD = """
import sys, time
from pathlib import Path
from mavos_deploy.runtime.system.locks import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_lock_is_held_once_and_names_its_holder(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "l")
    with pytest.raises(HeldError, match=rf"^process {os.getpid()} on .* holds it$"):
        Lock(tmp_path / "l")
    assert holder(tmp_path / "l") == f"process {os.getpid()} on {os.uname().nodename}"
    lock.remove()
    assert holder(tmp_path / "l") is None
    assert not (tmp_path / "l").exists()
    Lock(tmp_path / "l").remove()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", HOLD, str(tmp_path / "l")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert holder(tmp_path / "l") == f"process {process.pid} on {os.uname().nodename}"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / "l").exists()
    Lock(tmp_path / "l").remove()


def test_a_link_or_a_pipe_in_a_locks_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "l").symlink_to("victim")
    with pytest.raises(OSError, match="symbolic link"):
        Lock(tmp_path / "l")
    assert (tmp_path / "victim").read_text() == "mine"


def test_a_removed_lock_is_no_longer_in_place(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "l")
    assert lock.in_place()
    (tmp_path / "l").unlink()
    assert not lock.in_place()
    other = Lock(tmp_path / "l")
    lock.remove()  # and what another made of that name stays
    assert other.in_place()
    other.remove()


@pytest.mark.parametrize(
    ("text", "held"),
    [
        pytest.param("", False, id="nobody"),
        pytest.param(f"1 {os.uname().nodename}", True, id="a-living-process"),
        pytest.param(f"{2**22 + 5} {os.uname().nodename}", False, id="a-dead-process"),
        pytest.param("77 elsewhere", True, id="another-machine"),
        pytest.param(f"x {os.uname().nodename}", False, id="no-number"),
    ],
)
def test_without_locks_of_the_file_system_the_process_in_the_file_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, held: bool
) -> None:
    monkeypatch.setattr(locks, "_lock", lambda number: False)
    (tmp_path / "l").write_text(text)
    if held:
        with pytest.raises(HeldError, match="on "):
            Lock(tmp_path / "l")
    else:
        assert Lock(tmp_path / "l").in_place()
