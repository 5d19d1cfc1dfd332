"""How a command ends: exit codes, one line for an error, and options that are refused."""

import json
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Annotated

import pytest
import typer

from mavos_deploy import __version__
from mavos_deploy.cli import options
from mavos_deploy.cli.launch import FAILED, forbid, forbid_others, launch, require
from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.runtime.system.interrupts import stops

Capture = pytest.CaptureFixture[str]
Start = Callable[..., int]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Run a function as the program `mavos-some`, and return its exit code."""
    before = {number: signal.getsignal(number) for number in stops()}

    def run(function: Callable[..., None], *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["mavos-some", *arguments])
        with pytest.raises(SystemExit) as ended:
            launch({"some": function}, "mavos-some")
        assert isinstance(ended.value.code, int)
        return ended.value.code

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        pytest.param(None, 0, "", id="success"),
        pytest.param(typer.Exit(FAILED), 1, "", id="failed-check"),
        pytest.param(MavosError("two\nlines"), 2, "mavos-some: error: two lines\n", id="input"),
        pytest.param(OSError(36, "too long"), 2, "mavos-some: error: [Errno 36] ", id="system"),
        pytest.param(MemoryError(), 2, "mavos-some: error: MemoryError; there is not", id="memory"),
        pytest.param(
            RuntimeError("can't start new thread"),
            2,
            "mavos-some: error: can't start new thread; no more threads",
            id="threads",
        ),
        pytest.param(
            ImportError("libx.so: failed to map segment from shared object"),
            2,
            "mavos-some: error: libx.so: failed to map segment from shared object; there is not",
            id="no-memory-for-a-library",
        ),
        pytest.param(BrokenPipeError(32, "Broken pipe"), 141, "", id="nobody-reads"),
        pytest.param(KeyboardInterrupt(), 130, "mavos-some: interrupted\n", id="interrupt"),
    ],
)
def test_the_end_of_a_command_is_an_exit_code_and_one_line_at_most(
    start: Start, capsys: Capture, error: BaseException | None, code: int, said: str
) -> None:
    def some() -> None:
        if error is not None:
            raise error

    assert start(some) == code
    heard = capsys.readouterr()
    assert heard.out == ""
    assert heard.err.startswith(said)
    assert len(heard.err.splitlines()) == bool(said)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_end_a_command_as_an_interrupt_does(
    start: Start, capsys: Capture, number: signal.Signals
) -> None:
    signal.signal(number, signal.SIG_DFL)  # as in a shell; the tests may run under nohup
    assert start(lambda: signal.raise_signal(number)) == 130
    assert capsys.readouterr().err == "mavos-some: interrupted\n"


def test_an_interrupt_before_the_command_begins_is_said_as_well(
    start: Start, capsys: Capture
) -> None:
    def interrupt(_: int) -> int:
        raise KeyboardInterrupt

    def some(count: Annotated[int, typer.Option(callback=interrupt)] = 0) -> None:
        pytest.fail("it began")

    assert start(some) == 130
    assert capsys.readouterr().err == "mavos-some: interrupted\n"


def test_a_command_under_nohup_goes_on(start: Start) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert start(lambda: signal.raise_signal(signal.SIGHUP)) == 0


def test_a_bug_of_ours_is_not_hidden(start: Start) -> None:
    def some() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        start(some)


def test_a_reader_that_has_gone_is_no_failed_check() -> None:
    code = (
        "from mavos_deploy.cli.console import Console\n"
        "from mavos_deploy.cli.launch import launch\n"
        "def some():\n"
        "    for _ in range(9999): Console().line('x' * 99)\n"
        "launch({'some': some}, 'mavos-some')"
    )
    arguments = [sys.executable, "-c", code]
    with subprocess.Popen(arguments, stdout=-1, stderr=-1) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_a_version_is_printed_before_anything_is_asked_for(start: Start, capsys: Capture) -> None:
    def some(needed: str, version: options.Version = False) -> None:
        raise AssertionError(needed)

    assert start(some, "--version") == 0
    assert capsys.readouterr().out == f"mavos-deploy {__version__}\n"


def test_bad_usage_is_exit_code_2(start: Start, capsys: Capture) -> None:
    def some(needed: str) -> None:
        raise AssertionError(needed)

    assert start(some) == 2
    assert "Missing argument" in capsys.readouterr().err


def test_missing_modules_are_named_with_their_extra() -> None:
    require("json", "typer", extra="export")
    with pytest.raises(MavosError) as error:
        require("json", "no_such_a", "no_such_b", extra="export,cpu")
    assert str(error.value) == (
        "no_such_a and no_such_b can't be found; install what this needs with "
        "pip install 'mavos-deploy[export,cpu]'"
    )


def some(
    context: typer.Context,
    bundle: Annotated[str, typer.Argument()] = "b",
    every: Annotated[int, typer.Option("-e", "--every")] = 1,
    for_what: Annotated[str, typer.Option("--for")] = "cpu",
    plain: Annotated[bool, typer.Option("--plain")] = False,
    only: Annotated[bool, typer.Option("--only")] = False,
) -> None:
    """Options of several kinds, all but `--only` meaningless beside `--only`."""
    if only:
        forbid_others(context, "only", because="is useless with --only")
    forbid(context, "every", "for_what", because="is useless here")
    print(json.dumps(context.params))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--every", "2"], "--every is useless here", id="another-value"),
        pytest.param(["--every", "1"], "--every is useless here", id="the-default"),
        pytest.param(["-e", "1"], "--every is useless here", id="short"),
        pytest.param(["--for", "cpu"], "--for is useless here", id="another-name"),
        pytest.param(["--only", "--plain"], "--plain is useless with --only", id="flag"),
        pytest.param(["--only", "b"], "BUNDLE is useless with --only", id="argument"),
    ],
)
def test_an_option_that_is_given_is_refused_whatever_its_value(
    start: Start, capsys: Capture, arguments: list[str], said: str
) -> None:
    assert start(some, *arguments) == 2
    assert capsys.readouterr().err == f"mavos-some: error: {said}\n"


@pytest.mark.parametrize("arguments", [[], ["--only"], ["b", "--plain"]])
def test_what_is_not_forbidden_or_not_given_passes(start: Start, arguments: list[str]) -> None:
    assert start(some, *arguments) == 0


def test_forbidding_is_an_error_of_input() -> None:
    assert issubclass(InputError, MavosError)


def test_a_warning_of_the_library_is_one_line_without_code(
    start: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)

    def some() -> None:
        warnings.showwarning(UserWarning("the memory is full"), UserWarning, "x.py", 3)

    assert start(some) == 0
    assert capsys.readouterr().err == "warning: the memory is full\n"
