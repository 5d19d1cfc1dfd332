"""The program `mavos`, and what all commands have in common."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from mavos_deploy import __version__
from mavos_deploy.cli.entry import COMMANDS

Ended = subprocess.CompletedProcess[str]
Call = Callable[..., Ended]
ROOT = Path(__file__).resolve().parents[2]

HEAVY = ("torch", "onnx", "onnxruntime", "openvino", "tensorrt", "av", "ray", "tritonclient")
# Entries that make no sense without the name before them, and clauses that stand for a noun.
RIDDLES = (
    r"(?:^|[.:;] )(?:Of|That|Whose|Likewise|From all) ",
    r"found out",
    r"does not serve",
    r"nothing else was said",
    r"\b[Ww]hat (?:is|was|it is) (?:there|given|recorded|compared)",
    r"\bof the kind that\b",
)

each_command = pytest.mark.parametrize("command", COMMANDS)


@cache
def help_of(*words: str) -> str:
    """A help page as a terminal of 80 columns shows it."""
    code = "from mavos_deploy.cli.program import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, *words, "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80"},
    )
    return ended.stdout


def entries(page: str) -> dict[str, str]:
    """The text of each option and argument of a help page."""
    found: dict[str, str] = {}
    name = ""
    for line in page.partition("\nOptions:\n")[2].splitlines():
        if match := re.match(r"  (?:-\w, )?(--[\w-]+)", line):
            name = match[1]
            found[name] = re.sub(r"^  \S+(?:, \S+)?(?: \S+)?(?:  +|$)", "", line)
        else:
            found[name] += " " + line.strip()
    return {option: " ".join(text.split()) for option, text in found.items()}


def test_every_command_is_an_entry_point_and_the_other_way_round() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    scripts = dict(re.findall(r'^(mavos[\w-]*) = "(.*)"$', text, re.MULTILINE))
    names = ["mavos", *(f"mavos-{command}" for command in COMMANDS)]
    places = [f"mavos_deploy.cli.entry:{name.replace('-', '_')}" for name in names]
    assert scripts == dict(zip(names, places, strict=True))


@each_command
def test_a_command_has_one_line_in_the_list_of_commands(command: str) -> None:
    listed = help_of().partition("\nCommands:\n")[2].splitlines()
    (line,) = [line for line in listed if line.split()[0] == command]
    assert line.endswith(".")
    assert not line.endswith("...")
    assert len(line) <= 80
    assert len(listed) == len(COMMANDS)


@each_command
def test_every_command_can_be_quiet_speak_json_and_name_its_version(
    call: Call, command: str
) -> None:
    assert {"--quiet", "--json", "--version"} <= entries(help_of(command)).keys()
    for ended in (call(f"mavos-{command}", "--version"), call("mavos", command, "--version")):
        assert (ended.returncode, ended.stdout) == (0, f"mavos-deploy {__version__}\n")


@each_command
def test_help_reads_alone(command: str) -> None:
    page = help_of(command)
    about = page.partition("\n\n")[2].partition("\n\nOptions")[0]
    for text in (*entries(page).values(), " ".join(about.split())):
        assert text, command
        for riddle in RIDDLES:
            assert not re.search(riddle, text), text


@each_command
def test_an_option_that_may_be_left_out_has_its_default_in_its_help(command: str) -> None:
    page = help_of(command)
    for option, text in entries(page).items():
        flag = re.search(rf"^  (?:-\w, )?{option}(?: {{2}}|$)", page, re.MULTILINE)
        told = re.search(r"[Dd]efault|\[required\]|[Ii]nstead of|[Nn]eeded", text)
        assert flag or told, f"{option}: {text}"


def test_the_program_names_its_version_and_an_unknown_command(call: Call) -> None:
    assert call("mavos", "--version").stdout == f"mavos-deploy {__version__}\n"
    ended = call("mavos", "exprot")
    assert ended.returncode == 2
    assert "No such command 'exprot'" in ended.stderr
    ended = call("mavos")
    assert ended.returncode == 2
    assert all(f"  {command} " in ended.stderr for command in COMMANDS)


def imported(*words: str) -> set[str]:
    """Modules that are imported when a program has printed its help."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('\\nIMPORTED', *sys.modules))\n"
        "from mavos_deploy.cli.program import main\nmain()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *words, "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return set(ended.stdout.partition("\nIMPORTED ")[2].split())


def test_help_imports_no_heavy_library() -> None:
    found = imported()
    assert "mavos_deploy.cli.export" in found
    assert not found & set(HEAVY)


def test_a_command_imports_no_other_one() -> None:
    found = imported("doctor")
    commands = {f"mavos_deploy.cli.{module}" for module in COMMANDS.values()}
    assert found & commands == {"mavos_deploy.cli.doctor"}
