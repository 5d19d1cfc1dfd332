"""What is installed: every package, every entry point, and imports in one direction only."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomllib")

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "mavos_deploy"
FOLDERS = ("models", "runtime", "evaluation", "calibration", "export")
NOT_INSTALLED = ("tests", "docs", "examples", "benchmarks", "tools", "build", "dist")

EXPORT_ONLY = ("torch", "onnx", "onnxscript", "onnxruntime.quantization")

each_folder = pytest.mark.parametrize("folder", FOLDERS)


def pyproject() -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return loaded


def package_folders() -> dict[str, Path]:
    """Every folder with Python files that must be installed, by its package name."""
    found = {PACKAGE: ROOT / PACKAGE, f"{PACKAGE}.cli": ROOT / PACKAGE / "cli"}
    tops = [
        path
        for path in ROOT.iterdir()
        if path.is_dir()
        and path.name not in (*NOT_INSTALLED, PACKAGE)
        and not path.name.startswith(".")
    ]
    for top in tops:
        for folder in (top, *(path for path in top.rglob("*") if path.is_dir())):
            if any(folder.glob("*.py")) and "__pycache__" not in folder.parts:
                found[".".join((PACKAGE, *folder.relative_to(ROOT).parts))] = folder
    return found


def test_every_folder_with_python_files_is_a_listed_package() -> None:
    tool = pyproject()["tool"]["setuptools"]
    folders = package_folders()
    assert set(tool["packages"]) == set(folders)
    for package, folder in folders.items():
        assert (folder / "__init__.py").is_file(), f"{folder} has no __init__.py"
        top, _, rest = package.removeprefix(f"{PACKAGE}.").partition(".")
        inside = f"{PACKAGE}/cli" if top == "cli" else f"{top}/{rest.replace('.', '/')}"
        at = tool["package-dir"].get(package) or inside
        assert (ROOT / at).resolve() == folder.resolve(), package


@each_folder
def test_folder_has_a_relative_link_in_the_package(folder: str) -> None:
    link = ROOT / PACKAGE / folder
    assert link.is_symlink()
    assert link.readlink() == Path("..") / folder
    assert link.resolve() == ROOT / folder


def test_package_holds_no_link_to_anything_else() -> None:
    links = {path.name for path in (ROOT / PACKAGE).iterdir() if path.is_symlink()}
    assert links == set(FOLDERS)


def modules_of(folder: str) -> list[str]:
    """Names of all modules of a folder."""
    names = []
    for file in sorted((ROOT / folder).rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        names.append(".".join((PACKAGE, *(part for part in parts if part != "__init__"))))
    return names


def test_runtime_imports_without_torch_and_what_only_export_needs() -> None:
    siblings = [f"{PACKAGE}.{folder}" for folder in FOLDERS if folder != "runtime"]
    script = f"""
import importlib, importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if any(name == b or name.startswith(b + ".") for b in {[*EXPORT_ONLY, *siblings]!r}):
            raise ImportError(name + " is blocked here")

sys.meta_path.insert(0, Blocked())
for module in {modules_of("runtime")!r}:
    importlib.import_module(module)
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_commands_start_without_torch() -> None:
    script = f"""
import importlib, importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if any(name == b or name.startswith(b + ".") for b in {EXPORT_ONLY!r}):
            raise ImportError(name + " is blocked here")

sys.meta_path.insert(0, Blocked())
entry = importlib.import_module("{PACKAGE}.cli.entry")
for module in entry.COMMANDS.values():
    importlib.import_module("{PACKAGE}.cli." + module)
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def imports_of(file: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def modules() -> dict[str, Path]:
    """The file of every module of the library by its full name."""
    files = [*(ROOT / PACKAGE).glob("*.py"), *(ROOT / PACKAGE / "cli").glob("*.py")]
    for folder in FOLDERS:
        files += (ROOT / folder).rglob("*.py")
    found = {}
    for file in files:
        parts = file.relative_to(ROOT).with_suffix("").parts
        parts = parts if parts[0] == PACKAGE else (PACKAGE, *parts)
        found[".".join(part for part in parts if part != "__init__")] = file
    return found


def import_graph() -> dict[str, set[str]]:
    """For every module the modules of this library that it imports, inside functions too."""
    files = modules()
    graph: dict[str, set[str]] = {}
    for name, file in files.items():
        graph[name] = set()
        for line, target in imports_of(file):
            assert target.split(".")[0] not in FOLDERS, f"{file}:{line} imports {target}"
            if target.split(".")[0] == PACKAGE:
                module = target if target in files else target.rpartition(".")[0]
                assert module in files, f"{file}:{line} imports {target}"
                graph[name] |= {module} - {name}
    return graph


def room_of(file: Path) -> str:
    return str(file.parent.relative_to(ROOT))


def allowed_imports() -> dict[str, set[str]]:
    """The table of docs/architecture.md."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = re.search(r"\| room \| may import \|\n\|---\|---\|\n((?:\|.*\n)+)", page)
    assert table is not None, "docs/architecture.md has no table of rooms"
    rows = [row.strip("|").split("|") for row in table[1].splitlines()]
    rooms = {room.strip().strip("`") for room, _ in rows}
    return {
        room.strip().strip("`"): rooms
        if allowed.strip() == "everything"
        else {word.strip("`") for word in re.findall(r"`[^`]+`", allowed)}
        for room, allowed in rows
    }


def test_every_import_is_in_the_table_of_the_architecture() -> None:
    allowed, files = allowed_imports(), modules()
    assert {room_of(file) for file in files.values()} == allowed.keys()
    for name, targets in import_graph().items():
        room = room_of(files[name])
        for target in targets:
            other = room_of(files[target])
            assert other in (allowed[room] | {room, PACKAGE}), f"{name} imports {target}"


def test_the_table_allows_nothing_that_no_file_needs() -> None:
    files = modules()
    used: dict[str, set[str]] = {}
    for name, targets in import_graph().items():
        used.setdefault(room_of(files[name]), set()).update(room_of(files[t]) for t in targets)
    for room, allowed in allowed_imports().items():
        if room != f"{PACKAGE}/cli":
            assert allowed <= used[room], f"{room} doesn't import {allowed - used[room]}"


def test_no_file_imports_itself_through_others() -> None:
    graph = import_graph()
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_a_reader_of_a_folder_sees_at_most_18_entries() -> None:
    """Modules and folders; `__init__.py` stands for the folder itself."""
    for folder in FOLDERS:
        beside = ("__pycache__", "__init__.py")
        seen = [path for path in (ROOT / folder).iterdir() if path.name not in beside]
        assert len(seen) <= 18, folder


@pytest.mark.parametrize("folder", ["runtime", "evaluation", "calibration"])
def test_folder_never_imports_torch_or_onnx(folder: str) -> None:
    for file in sorted((ROOT / folder).rglob("*.py")):
        # What writes quantised graphs, which nothing imports until it is used.
        parts = ("", "_attention", "_norms", "_openvino", "_products", "_pairs")
        writers = [ROOT / "calibration" / f"quantise{part}.py" for part in parts]
        allowed = ("onnx",) if file in writers else ()
        for line, name in imports_of(file):
            package = name.split(".")[0]
            banned = package in ("torch", "onnx", "onnxscript") and package not in allowed
            assert not banned, f"{file}:{line}"


@pytest.mark.parametrize(("command", "target"), pyproject()["project"]["scripts"].items())
def test_entry_point_leads_to_a_command(command: str, target: str) -> None:
    module, _, name = target.partition(":")
    script, called = getattr(import_module(module), name).args
    assert script == command
    assert callable(import_module(f"{PACKAGE}.cli.{called}").main)


def test_version_is_the_newest_heading_of_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[?(\d[^\]\s]*)\]?", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == import_module(PACKAGE).__version__


def test_licence_and_type_marker_are_shipped() -> None:
    assert (ROOT / "LICENSE").is_file()
    assert (ROOT / PACKAGE / "py.typed").is_file()
    assert "py.typed" in pyproject()["tool"]["setuptools"]["package-data"][PACKAGE]
