"""Tables as they are printed, and commands that print lines without rich."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from rich.table import Table

from mavos_deploy.cli.console import Console, tell
from mavos_deploy.cli.terminal import print_table

REFUSED = """
import sys
from mavos_deploy.cli.console import Console
from mavos_deploy.cli.entry import COMMANDS
from mavos_deploy.cli.program import function_of
from mavos_deploy.cli.run import main
for command in COMMANDS:
    function_of(command)
sys.argv = ["mavos-run", "clip.mp4", "--masks", "first.png"]
say = Console()
say.line("[bold]a  b[/] :smile:")
say.warn("look out")
with say.progress("work", 2) as advance:
    advance(1)
try:
    main()
finally:
    print(sorted({name.partition(".")[0] for name in sys.modules} & {"rich", "pydantic"}))
"""
# While a bar is drawn.
DRAWN = """
from mavos_deploy.cli.console import Console
say = Console()
with say.progress("work", 2) as advance:
    advance(1)
    say.line("a line")
    say.warn("a" * 200)
    say.warn("b\\rc\\x07")
"""


@pytest.mark.parametrize("stderr", [False, True])
@pytest.mark.parametrize("width", [0, 200])
def test_a_table_is_printed_as_it_is(
    capsys: pytest.CaptureFixture[str], stderr: bool, width: int
) -> None:
    table = Table("file")
    table.add_row("[bold]a  b[/] :smile:")
    print_table(table, stderr=stderr, width=width)
    said = capsys.readouterr()
    assert "[bold]a  b[/] :smile:" in (said.err if stderr else said.out)
    assert not (said.out if stderr else said.err)


def test_lines_and_errors_are_printed_without_importing_rich() -> None:
    done = subprocess.run(
        [sys.executable, "-c", REFUSED], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == "[bold]a  b[/] :smile:\n[]\n"
    assert done.stderr.startswith("warning: look out\nmavos-run: error: got clip.mp4 alone")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_closed_stream_takes_lines_and_ends_nothing(
    stream: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    say = Console()
    monkeypatch.setattr(sys, stream, None)
    say.line("a line")
    say.warn("look out")
    with say.progress("work", 2) as advance:
        advance(1)
    monkeypatch.undo()
    said = capsys.readouterr()
    kept = {"stdout": ("", "warning: look out\n"), "stderr": ("a line\n", "")}
    assert (said.out, said.err) == kept[stream]


def test_lines_and_warnings_stay_whole_while_a_bar_is_drawn() -> None:
    pty = pytest.importorskip("pty", reason="no pseudo-terminal on this system")
    terminal, end = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", DRAWN], check=True, stdout=subprocess.PIPE, stderr=end
    )
    os.close(end)
    seen = b""
    with suppress(OSError):  # the end, on Linux
        while read := os.read(terminal, 1 << 16):
            seen += read
    os.close(terminal)
    assert done.stdout == b"a line\n"
    assert b"work" in seen
    assert b"warning: " + b"a" * 200 + b"\r\n" in seen
    assert rb"warning: b\x0dc\x07" in seen


def test_lines_of_several_threads_stay_whole(capfd: pytest.CaptureFixture[str]) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: tell(str(number) * 20), [1, 2, 3, 4] * 500))
    finally:
        sys.setswitchinterval(interval)
    assert sorted(capfd.readouterr().err.split()) == sorted(str(n) * 20 for n in [1, 2, 3, 4] * 500)
