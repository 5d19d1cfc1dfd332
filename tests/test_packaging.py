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
FOLDERS = ("models", "runtime", "calibration", "export")
NOT_INSTALLED = ("tests", "docs", "examples", "benchmarks", "build", "dist")

# Which of the other folders a folder may import.
MAY_IMPORT: dict[str, set[str]] = {
    "models": set(),
    "runtime": set(),
    "calibration": {"runtime"},
    "export": {"models", "runtime", "calibration"},
}
EXPORT_ONLY = ("torch", "onnx", "onnxscript", "onnxruntime.quantization")

each_folder = pytest.mark.parametrize("folder", FOLDERS)


def pyproject() -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return loaded


def package_folders() -> dict[str, Path]:
    """Every folder with Python files that must be installed, by its package name."""
    found = {PACKAGE: ROOT / PACKAGE}
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
        at = tool["package-dir"].get(package) or f"{top}/{rest.replace('.', '/')}"
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
importlib.import_module("{PACKAGE}.export.cli")
importlib.import_module("{PACKAGE}.export.build_cli")
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


@each_folder
def test_folder_imports_only_the_folders_it_may(folder: str) -> None:
    allowed = MAY_IMPORT[folder] | {folder}
    for file in sorted((ROOT / folder).rglob("*.py")):
        for line, name in imports_of(file):
            parts = name.split(".")
            where = f"{file.relative_to(ROOT)}:{line} imports {name}"
            assert parts[0] not in FOLDERS, where
            if parts[0] == PACKAGE and len(parts) > 1 and parts[1] in FOLDERS:
                assert parts[1] in allowed, where


@pytest.mark.parametrize("folder", ["runtime", "calibration"])
def test_folder_never_imports_torch_or_onnx(folder: str) -> None:
    for file in sorted((ROOT / folder).rglob("*.py")):
        # What writes quantised graphs, which nothing imports until it is used.
        writers = [ROOT / "calibration" / f"quantise{part}.py" for part in ("", "_attention")]
        allowed = ("onnx",) if file in writers else ()
        for line, name in imports_of(file):
            package = name.split(".")[0]
            banned = package in ("torch", "onnx", "onnxscript") and package not in allowed
            assert not banned, f"{file}:{line}"


@pytest.mark.parametrize(("command", "target"), pyproject()["project"]["scripts"].items())
def test_entry_point_leads_to_a_function(command: str, target: str) -> None:
    module, _, function = target.partition(":")
    assert callable(getattr(import_module(module), function)), command


def test_version_is_the_newest_heading_of_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[?(\d[^\]\s]*)\]?", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == import_module(PACKAGE).__version__


def test_licence_and_type_marker_are_shipped() -> None:
    assert (ROOT / "LICENSE").is_file()
    assert (ROOT / PACKAGE / "py.typed").is_file()
    assert "py.typed" in pyproject()["tool"]["setuptools"]["package-data"][PACKAGE]
