"""Docstrings, help texts and pages hold sentences that make sense without the name before them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("models", "runtime", "evaluation", "calibration", "export", "mavos_deploy/cli")
FILES = sorted(
    [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    + list((ROOT / "mavos_deploy").glob("*.py"))
)
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
RIDDLE = re.compile(r"(Of|That|Whose|Likewise)\b", re.IGNORECASE)
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")


def entries_of(docstring: str) -> Iterator[str]:
    """Each entry of a docstring's sections, without the name before it, and its first sentence."""
    yield docstring
    section = ""
    for line in docstring.splitlines():
        heading = re.fullmatch(r"(\w+):", line)
        if heading or not line.strip():
            section = heading[1] if heading else section
        elif section in SECTIONS and re.match(r" {4}\S", line):
            name, _, text = line.partition(": ")
            yield text if text and re.fullmatch(r" {4}\*{0,2}[\w., *]+", name) else line.strip()
        elif not line.startswith(" "):
            section = ""


def texts_of(file: Path) -> Iterator[tuple[int, str]]:
    """Docstrings' entries and help texts of a file, with their lines."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            docstring = ast.get_docstring(node)
            line = getattr(node, "lineno", 1)
            yield from ((line, entry) for entry in entries_of(docstring or ""))
        elif isinstance(node, ast.keyword) and node.arg == "help":
            for part in ast.walk(node.value):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.lineno, part.value
                    break


def test_docstrings_and_help_texts_begin_with_no_riddle() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for file in FILES
        for line, text in texts_of(file)
        if RIDDLE.match(text)
    ]
    assert not found, "\n".join(found)


def parts_of(page: Path) -> Iterator[tuple[int, str]]:
    """Paragraphs, items of lists and cells of tables, with their lines; code is left out."""
    code, before = False, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            code = not code
        elif code or line.startswith("    "):
            pass
        elif line.startswith("|"):
            yield from ((number, cell.strip()) for cell in line.strip("|").split("|"))
        elif item := re.match(r" *(?:[-*>]|\d+\.) +(.*)", line):
            yield number, item[1]
        elif not before.strip():
            yield number, line.strip()
        before = line


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES]
)
def test_pages_begin_nothing_with_a_riddle(page: Path) -> None:
    found = [
        f"{number}: {text}" for number, text in parts_of(page) if RIDDLE.match(text.strip('*`"'))
    ]
    assert not found, "\n".join(found)
