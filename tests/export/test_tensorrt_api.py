"""Every attribute of TensorRT that the code touches is listed with its versions, and exists.

The versions in tests/data/tensorrt_api.csv were checked in the Python bindings of 10.0.1, 10.3.0,
10.7.0, 10.8.0, 10.9.0, 10.12.0, 10.16.1, 11.0.0 and 11.4.0, whose names can be read without a GPU;
`tensorrt_10_since` is the first of them that has the attribute. The sources are NVIDIA's pages.
"""

import ast
import csv
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "export" / "tensorrt_build.py"
TABLE = ROOT / "tests" / "data" / "tensorrt_api.csv"

# What the names in the source stand for.
CLASSES = {
    "trt": "",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "cache": "ITimingCache",
    "plan": "IHostMemory",
}
# Names whose attributes are Python's or our own.
OWN = {"task", "flags", "self", "logger", "path", "file", "temporary", "contextlib", "name"}
OWN |= {"capability", "text", "names", "shapes", "message", "dict", "error"}


def rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def touched() -> set[str]:
    """Attributes that the source touches, such as `Builder.create_network`."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    inner = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or id(node) in inner:
            continue
        parts = [node.attr]
        base: ast.expr = node.value
        while isinstance(base, ast.Attribute):
            parts.insert(0, base.attr)
            base = base.value
        if not isinstance(base, ast.Name):
            continue  # of the result of a call or of a text
        if base.id in CLASSES:
            names = [part for part in (CLASSES[base.id], *parts) if part]
            found.add(".".join(n for n in names if n == "__version__" or not n.startswith("__")))
        else:
            assert base.id in OWN, f"line {node.lineno}: is {base.id} an object of TensorRT?"
    # Members of enumerations that are chosen by name at run time.
    texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
    for row in rows():
        enumeration, _, member = row["attribute"].rpartition(".")
        if enumeration == "HardwareCompatibilityLevel" and member in texts:
            found.add(row["attribute"])
    return found


@pytest.fixture(scope="module")
def tensorrt_rtx() -> ModuleType:
    module: ModuleType = pytest.importorskip("tensorrt_rtx")
    return module


def test_the_table_lists_exactly_what_the_code_touches() -> None:
    listed = {row["attribute"] for row in rows()}
    # Reading a class on the way to its member is no use of its own.
    on_the_way = {name for name in listed if any(other.startswith(f"{name}.") for other in listed)}
    assert listed - on_the_way <= touched(), "listed, but not touched"
    assert touched() <= listed, "touched, but not listed"


def test_only_one_file_touches_the_builder() -> None:
    for folder in ("export", "runtime", "calibration", "models"):
        for file in (ROOT / folder).rglob("*.py"):
            if file != SOURCE:
                used = set(re.findall(r"\btrt\.(\w+)", file.read_text(encoding="utf-8")))
                assert used <= {"__version__"}, file


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["attribute"])
def test_a_row_says_since_when_and_where_it_is_documented(row: dict[str, str]) -> None:
    assert re.fullmatch(r"10\.\d+|never", row["tensorrt_10_since"])
    assert row["in_tensorrt_11"] in ("yes", "no")
    assert row["source"].startswith("https://docs.nvidia.com/")
    # What TensorRT lacks may only be used with TensorRT-RTX.
    assert (row["tensorrt_10_since"] == "never") == (row["in_tensorrt_11"] == "no")


@pytest.mark.tensorrt
@pytest.mark.parametrize("attribute", [row["attribute"] for row in rows()])
def test_tensorrt_rtx_has_the_attribute(attribute: str, tensorrt_rtx: ModuleType) -> None:
    found: object = tensorrt_rtx
    for part in attribute.split("."):
        found = getattr(found, part)
