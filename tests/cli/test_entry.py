"""Entry points load what they call, and nothing before."""

import signal
import subprocess
import sys

import pytest


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_script_loads_no_command_until_it_calls_one() -> None:
    code = (
        "import sys\n"
        "from mavos_deploy.cli.entry import mavos_run\n"
        "print(sorted(name for name in sys.modules if name.startswith(('mavos_deploy', 'typer'))))"
    )
    loaded = "['mavos_deploy', 'mavos_deploy.cli', 'mavos_deploy.cli.entry']"
    assert run(code).stdout.strip() == loaded


@pytest.mark.skipif(sys.platform == "win32", reason="processes don't end by signals there")
def test_an_interrupt_while_modules_load_ends_the_process_without_a_word() -> None:
    code = (
        "import os, signal\n"
        "from mavos_deploy.cli import entry\n"
        "def load(name): os.kill(os.getpid(), signal.SIGINT)\n"
        "entry.import_module = load\n"
        "entry.mavos_run()\n"
    )
    ended = run(code)
    assert ended.returncode == -signal.SIGINT
    assert ended.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="processes don't end by signals there")
def test_an_interrupt_that_a_shell_has_made_ignored_stays_ignored() -> None:
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from mavos_deploy.cli import entry\n"
        "def load(name): os.kill(os.getpid(), signal.SIGINT); raise SystemExit(7)\n"
        "entry.import_module = load\n"
        "entry.mavos_run()\n"
    )
    assert run(code).returncode == 7


def test_the_command_is_called() -> None:
    ended = run("import sys; sys.argv = ['mavos-run', '--version']\n"
                "from mavos_deploy.cli.entry import mavos_run; mavos_run()")  # fmt: skip
    assert ended.returncode == 0
    assert ended.stdout.startswith("mavos-deploy ")
