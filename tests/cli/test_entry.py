"""Entry points load what they call, and nothing before."""

import subprocess
import sys
from pathlib import Path

import pytest

from mavos_deploy.cli import entry

posix = pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends processes there")

# A script as pip makes it, that starts a process which tells what it has loaded.
SCRIPT = """
import sys
from mavos_deploy.cli.entry import mavos_run
from mavos_deploy.runtime.system.child import Child
from told import loaded

if __name__ == "__main__":
    with Child.calling("the child", loaded) as child:
        print(child.result())
"""

# A module beside that script.
TOLD = """
import sys

def loaded():
    return sorted(name for name in sys.modules if name.startswith(("mavos_deploy.cli", "typer")))
"""


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_process_of_a_command_loads_no_command(tmp_path: Path) -> None:
    script = tmp_path / "mavos-run"
    script.write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "told.py").write_text(TOLD, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.strip() == "['mavos_deploy.cli', 'mavos_deploy.cli.entry']"


def test_a_name_of_no_command_is_no_entry_point() -> None:
    with pytest.raises(AttributeError, match="mavos_walk"):
        getattr(entry, "mavos_walk")  # noqa: B009  # as an import of that name does


def interrupted(received: str, before: str = "") -> "subprocess.CompletedProcess[str]":
    """A command that receives a signal while its modules load."""
    return run(
        "import os, signal\n"
        f"{before}\n"
        "from mavos_deploy.cli import entry\n"
        f"def load(name): os.kill(os.getpid(), signal.{received}); raise SystemExit(7)\n"
        "entry.import_module = load\n"
        "entry.mavos_run()\n"
    )


@posix
@pytest.mark.parametrize("received", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_while_modules_load_ends_as_one_in_a_command_does(received: str) -> None:
    # Under `nohup`, which tests may run under too, SIGHUP is ignored.
    ended = interrupted(received, f"signal.signal(signal.{received}, signal.SIG_DFL)")
    assert ended.returncode == entry.INTERRUPTED
    assert ended.stderr == "mavos-run: interrupted\n"


@posix
def test_an_interrupt_ends_with_standard_error_closed_too() -> None:
    ended = interrupted("SIGINT", "os.close(2)")
    assert ended.returncode == entry.INTERRUPTED
    assert ended.stderr == ""


@posix
def test_a_closed_terminal_ends_no_command_under_nohup() -> None:
    assert interrupted("SIGHUP", "signal.signal(signal.SIGHUP, signal.SIG_IGN)").returncode == 7


def test_the_command_is_called() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['mavos-run', '--version']\n"
        "from mavos_deploy.cli.entry import mavos_run\n"
        "mavos_run()\n"
    )
    ended = run(code)
    assert ended.returncode == 0
    assert ended.stdout.startswith("mavos-deploy ")
