"""What is printed as it is, and that a command which prints nothing starts without rich."""

import subprocess
import sys

import pytest

from mavos_deploy.cli.terminal import err, out

IMPORTED = """
import sys
from mavos_deploy.cli.console import Console
from mavos_deploy.cli.run import main
sys.argv = ["mavos-run", "--quiet"]
try:
    main()
except SystemExit as ended:
    assert ended.code == 2, ended.code
with Console(quiet=True).progress("work", 2) as advance:
    advance(1)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"rich", "pydantic"}))
"""


@pytest.mark.parametrize("text", ["[bold]a  b[/]", ":smile: 3/4", "x" * 300])
def test_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str], text: str) -> None:
    out.print(text)
    err.print(text)
    said = capsys.readouterr()
    assert (said.out, said.err) == (f"{text}\n", f"{text}\n")


def test_a_command_that_prints_nothing_imports_nothing_to_print_with() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
