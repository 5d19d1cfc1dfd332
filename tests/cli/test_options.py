"""Values of options that several commands share."""

from types import SimpleNamespace
from typing import Any

import pytest

from mavos_deploy.cli import options
from mavos_deploy.cli.console import Console
from mavos_deploy.cli.options import names_of, one_line_of, open_named

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (None, None),
        ("a", ["a"]),
        ("b,a", ["b", "a"]),
        ("a,,", ["a"]),
        ("a, b ,", ["a", "b"]),
        ("", []),
    ],
)
def test_names_are_between_commas(given: str | None, names: list[str] | None) -> None:
    assert names_of(given) == names


def test_a_reason_names_its_backend_once_and_is_one_line() -> None:
    assert one_line_of("x", "x: it\n fails") == "x (it fails)"
    assert one_line_of("x", "no y") == "x (no y)"


@pytest.mark.parametrize("quiet", [False, True])
def test_auto_says_what_it_took_also_where_it_must_be_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, quiet: bool
) -> None:
    class Chosen:
        traits = SimpleNamespace(name="third")

    refused = {"first": "first: no GPU", "second": "not installed"}
    monkeypatch.setattr(options, "choose_backend", lambda *given: (Chosen(), refused))
    nothing: Any = None
    backend: Any = open_named(Console(quiet=quiet), nothing, None, "auto")
    assert isinstance(backend, Chosen)
    said = (
        "backend third, the first in order of preference that works here; not first (no GPU); "
        "second (not installed)\n"
    )
    assert capsys.readouterr().err == said


def test_a_named_backend_is_opened_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(options, "open_backend", lambda *given, ahead: (*given, ahead))
    bundle: Any = "bundle"
    opened: Any = open_named(Console(), bundle, 3, "some")
    assert opened == ("bundle", 3, "some", False)
    assert capsys.readouterr().err == ""
