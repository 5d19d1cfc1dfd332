"""What is heard of a command: standard output and standard error, with --json and --quiet."""

import json

import pytest
from rich.table import Table

from mavos_deploy.cli.console import Console, one_by_one

Capture = pytest.CaptureFixture[str]


def speak(say: Console) -> None:
    say.line("a line")
    say.fault("a fault")
    say.note("a note")
    say.result({"a": [1]})
    say.warn("look out")
    with say.progress("work", 2) as advance:
        advance(1)


@pytest.mark.parametrize(
    ("say", "out", "err"),
    [
        pytest.param(
            Console(), "a line\na fault\n", "a note\nwarning: look out\n", id="for-a-person"
        ),
        pytest.param(Console(quiet=True), "", "a fault\na note\nwarning: look out\n", id="quiet"),
        pytest.param(
            Console(json=True),
            '{\n  "a": [\n    1\n  ]\n}\n',
            "a note\nwarning: look out\n",
            id="json",
        ),
        pytest.param(
            Console(json=True, quiet=True),
            '{\n  "a": [\n    1\n  ]\n}\n',
            "a note\nwarning: look out\n",
            id="json-and-quiet",
        ),
    ],
)
def test_every_kind_of_message_goes_where_it_belongs(
    capsys: Capture, say: Console, out: str, err: str
) -> None:
    speak(say)
    said = capsys.readouterr()
    assert (said.out, said.err) == (out, err)


def test_a_document_of_any_text_stays_one_document(capsys: Capture) -> None:
    document = {"path": "[bold]a  b:smile:" * 40}
    Console(json=True).result(document)
    assert json.loads(capsys.readouterr().out) == document


def test_a_table_takes_the_width_that_it_needs(capsys: Capture) -> None:
    table = Table("name", "figure")
    table.add_row("n" * 60, "f" * 60)
    Console().line(table, width=132)
    said = capsys.readouterr().out
    assert "n" * 60 in said
    assert "f" * 60 in said
    assert "…" not in said


def test_steps_are_counted_one_by_one() -> None:
    done: list[int] = []
    step = one_by_one(done.append)
    for _ in range(3):
        step()
    assert done == [1, 2, 3]
