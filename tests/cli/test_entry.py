"""Entry points load what they call, and nothing before."""

import subprocess
import sys
from pathlib import Path

import pytest

from mavos_deploy.cli import entry

# A script as pip makes it, that starts a process which tells what it has loaded.
SCRIPT = """
import sys
from mavos_deploy.cli.entry import mavos_run
from mavos_deploy.runtime.system.child import Child
from tests.cli.test_entry import loaded

if __name__ == "__main__":
    with Child.calling("the child", loaded) as child:
        print(child.result())
"""


def loaded() -> list[str]:
    return sorted(name for name in sys.modules if name.startswith(("mavos_deploy.cli", "typer")))


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_process_of_a_command_loads_no_command(tmp_path: Path) -> None:
    script = tmp_path / "mavos-run"
    script.write_text(SCRIPT, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.strip() == "['mavos_deploy.cli', 'mavos_deploy.cli.entry']"


def test_a_name_of_no_command_is_no_entry_point() -> None:
    with pytest.raises(AttributeError, match="mavos_walk"):
        getattr(entry, "mavos_walk")  # noqa: B009  # as an import of that name does


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends processes there")
@pytest.mark.parametrize("stderr", ["", "os.close(2)\n"], ids=["", "standard error closed"])
def test_an_interrupt_while_modules_load_ends_as_one_in_a_command_does(stderr: str) -> None:
    code = (
        "import os, signal\n"
        "from mavos_deploy.cli import entry\n"
        f"{stderr}"
        "def load(name): os.kill(os.getpid(), signal.SIGINT)\n"
        "entry.import_module = load\n"
        "entry.mavos_run()\n"
    )
    ended = run(code)
    assert ended.returncode == entry.INTERRUPTED
    assert ended.stderr == ("" if stderr else "mavos-run: interrupted\n")


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
