"""Tests mirror the rooms, and docs/architecture.md says where everything else is tested."""

import re
from pathlib import Path

from tests.test_packaging import PACKAGE, ROOT, modules

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
TESTS = ROOT / "tests"


def rows(heading: str) -> dict[str, str]:
    """The second cells of a table by its first ones, each path of them for itself."""
    table = re.search(rf"{re.escape(heading)}\n\|---\|---\|\n((?:\|.*\n)+)", PAGE)
    assert table is not None, f"docs/architecture.md has no table {heading}"
    cells = [line.strip("|\n ").split(" | ") for line in table[1].splitlines()]
    return {path: second for first, second in cells for path in re.findall(r"`([^`]+)`", first)}


def mirrors() -> dict[str, Path]:
    """For every module of the library the test file of its name."""
    files = [file for file in modules().values() if file.name != "__init__.py"]
    found = {}
    for file in files:
        parts = file.relative_to(ROOT).parts
        parts = parts[1:] if parts[:2] == (PACKAGE, "cli") else parts
        found["/".join(file.relative_to(ROOT).parts)] = (
            TESTS.joinpath(*parts[:-1]) / f"test_{parts[-1]}"
        )
    return found


def test_every_module_has_its_test_file_or_a_row_that_names_another() -> None:
    elsewhere = rows("| module | tested in |")
    missing = {module for module, file in mirrors().items() if not file.exists()}
    assert missing == elsewhere.keys()
    for module, where in elsewhere.items():
        (file,) = re.findall(r"`(tests/[\w/]+\.py)`", where)
        assert (ROOT / file).is_file(), module


def test_every_test_file_has_its_module_or_a_row_that_says_what_it_follows() -> None:
    files = {file for file in TESTS.rglob("test_*.py") if file.parent != TESTS}
    others = files - set(mirrors().values())
    assert {str(file.relative_to(ROOT)) for file in others} == rows("| file | follows |").keys()
