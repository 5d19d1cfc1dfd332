"""Tables as they are printed, and commands that print lines without rich."""

import subprocess
import sys

import pytest
from rich.table import Table

from mavos_deploy.cli.terminal import print_table

REFUSED = """
import sys
from mavos_deploy.cli.console import Console
from mavos_deploy.cli.run import main
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


def test_lines_progress_and_errors_need_nothing_to_draw_with() -> None:
    done = subprocess.run(
        [sys.executable, "-c", REFUSED], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == "[bold]a  b[/] :smile:\n[]\n"
    assert done.stderr.startswith("warning: look out\nmavos-run: error: got clip.mp4 alone")
