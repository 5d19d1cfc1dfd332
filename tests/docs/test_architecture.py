"""docs/architecture.md names files that exist, and names that they define."""

import ast
import re
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def picture() -> Iterator[str]:
    """Paths in the picture of the house; indented lines lie in the folder above them."""
    folder = ""
    for line in PAGE.partition("```\n")[2].partition("```")[0].splitlines():
        name = line.split()[0]
        if not line.startswith(" "):
            folder = name
        yield name if name == folder else folder + name


def paths() -> list[str]:
    """Paths in the picture, in sentences and in tables; those with a <placeholder> left out."""
    spans = re.findall(r"`([\w.][\w./-]*(?:/|\.(?:py|md|toml|json)))`", PAGE)
    return sorted({*picture(), *spans})


@pytest.mark.parametrize("path", paths())
def test_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


def rows() -> list[tuple[str, str]]:
    """A file and a name that it should define, from every row of a table that gives both."""
    pairs = []
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for file, names in pairwise(cells):
            if re.fullmatch(r"`[\w/]+\.py`", file):
                found = re.findall(r"`([A-Za-z_][\w.]*)`", names)
                pairs += [(file.strip("`"), name) for name in found if not name.endswith(".py")]
    return pairs


def names_of(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """Names that a module or a class defines; those of a class as `Class.name`."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from names_of(node.body, f"{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))


@pytest.mark.parametrize(("file", "name"), rows())
def test_file_defines_the_name_beside_it(file: str, name: str) -> None:
    module = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in set(names_of(module.body))


def test_the_row_of_a_backend_that_the_page_shows_is_in_the_table() -> None:
    shown = re.search(r"```python\n(BackendKind.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    table = (ROOT / "runtime/backends/table.py").read_text(encoding="utf-8")
    assert textwrap.indent(shown[1].rstrip(), "    ") in table
