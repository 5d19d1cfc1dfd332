"""Every attribute of TensorRT that the code touches is listed with its versions, and exists.

The versions in tests/data/tensorrt_api.csv were checked in the Python bindings of 10.0.1, 10.1.0,
10.3.0, 10.7.0, 10.8.0, 10.9.0, 10.12.0, 10.16.1, 11.0.0 and 11.4.0, whose names can be read without
a GPU; `tensorrt_10_since` is the first of them that has the attribute. The sources are NVIDIA's
pages.
"""

import ast
import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = "runtime/backends"
TABLE = ROOT / "tests" / "data" / "tensorrt_api.csv"
CUDA_TABLE = ROOT / "tests" / "data" / "cuda_api.csv"


@dataclass(frozen=True)
class Source:
    """A file that touches the libraries.

    Attributes:
        file: From the root.
        classes: What names in it stand for.
        own: Names whose attributes are Python's or our own.
        enumerations: Their members are chosen by name at run time.
    """

    file: str
    classes: dict[str, str]
    own: str
    enumerations: tuple[str, ...]


SOURCES = (
    Source(
        "export/tensorrt_build.py",
        {
            "trt": "",
            "builder": "Builder",
            "network": "INetworkDefinition",
            "parser": "OnnxParser",
            "config": "IBuilderConfig",
            "profile": "IOptimizationProfile",
            "cache": "ITimingCache",
            "plan": "IHostMemory",
        },
        "self task engine flags logger path file temporary contextlib hashlib capability text "
        "names shapes name features Hardware Library",
        ("HardwareCompatibilityLevel", "PreviewFeature"),
    ),
    Source(
        f"{BACKENDS}/tensorrt_library.py",
        {"trt": ""},
        "self name message error errors str dict Library",
        (),
    ),
    Source(
        f"{BACKENDS}/tensorrt_device.py",
        {
            "trt": "",
            "self._trt": "",
            "runtime": "Runtime",
            "engine": "ICudaEngine",
            "context": "IExecutionContext",
            "self._execution": "IExecutionContext",
            "config": "IRuntimeConfig",
        },
        "self library bundle entry path spec gpu shapes addresses device weakref warnings kernels "
        "block TYPES re Library",
        ("DataType",),
    ),
    Source(
        f"{BACKENDS}/tensorrt_cache.py",
        {
            "config": "IRuntimeConfig",
            "kernels": "IRuntimeCache",
            "self._kernels": "IRuntimeCache",
        },
        "self engine plans hashlib temporary",
        (),
    ),
)
CUDA = {
    "self._cuda": ("pycuda.driver", ""),
    "cuda": ("pycuda.driver", ""),
    "self._stream": ("pycuda.driver", "Stream"),
    "self._context": ("pycuda.driver", "Context"),
    "self._beside": ("pycuda.driver", "Stream"),
    "stream": ("pycuda.driver", "Stream"),
    "beside": ("pycuda.driver", "Stream"),
    "self._made": ("pycuda.driver", "Event"),
    "block.event": ("pycuda.driver", "Event"),
    "driver": ("cuda.bindings.driver", ""),
    "self._driver": ("cuda.bindings.driver", ""),
}


def rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def chains(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every chain of attributes from a name, such as `trt.Logger.Severity`, with its line."""
    inner = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or id(node) in inner:
            continue
        parts = [node.attr]
        base: ast.expr = node.value
        while isinstance(base, ast.Attribute):
            parts.insert(0, base.attr)
            base = base.value
        if isinstance(base, ast.Name):  # not of the result of a call or of a text
            yield ".".join([base.id, *parts]), node.lineno


def split(chain: str, known: Iterable[str]) -> tuple[str, str] | None:
    """The longest known start of a chain, and the rest."""
    for start in sorted(known, key=len, reverse=True):
        if chain.startswith(f"{start}."):
            return start, chain.removeprefix(f"{start}.")
    return None


def touched() -> set[str]:
    """Attributes of TensorRT that the sources touch, such as `Builder.create_network`."""
    found = set()
    for source in SOURCES:
        tree = ast.parse((ROOT / source.file).read_text(encoding="utf-8"))
        for chain, line in chains(tree):
            if source.file.startswith("runtime") and split(chain, CUDA):
                continue
            if parts := split(chain, source.classes):
                owner, attribute = source.classes[parts[0]], parts[1]
                whole = f"{owner}.{attribute}" if owner else attribute
                found.add(re.sub(r"\.__(?!version)\w+$", "", whole))
            else:
                base = chain.partition(".")[0]
                assert base in source.own.split(), (
                    f"{source.file}:{line}: is {base} an object of TensorRT?"
                )
        texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
        for row in rows():
            enumeration, _, member = row["attribute"].rpartition(".")
            if enumeration in source.enumerations and member in texts:
                found.add(row["attribute"])
    return found


def cuda_touched() -> set[tuple[str, str]]:
    """Attributes of PyCUDA and CUDA's bindings that the backends touch."""
    found = set()
    for file in (ROOT / BACKENDS).glob("*.py"):
        for chain, _ in chains(ast.parse(file.read_text(encoding="utf-8"))):
            if (parts := split(chain, CUDA)) and not parts[1].startswith("_"):
                library, owner = CUDA[parts[0]]
                found.add((library, f"{owner}.{parts[1]}" if owner else parts[1]))
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


def test_the_table_of_cuda_lists_exactly_what_the_code_touches() -> None:
    with CUDA_TABLE.open(encoding="utf-8", newline="") as file:
        listed = {(row["library"], row["attribute"]) for row in csv.DictReader(file)}
    # What is called on an object that a call has made can't be seen in the source.
    of_results = {
        *("Context.detach", "Context.handle", "Device.retain_primary_context"),
        "DeviceAllocation.free",
    }
    assert {(lib, name) for lib, name in listed if name not in of_results} == cuda_touched()


def test_cuda_bindings_have_what_the_code_touches() -> None:
    driver = pytest.importorskip("cuda.bindings.driver")
    for library, attribute in cuda_touched():
        if library == "cuda.bindings.driver":
            found: object = driver
            for part in attribute.split("."):
                found = getattr(found, part)


def test_no_other_file_touches_tensorrt() -> None:
    sources = {ROOT / source.file for source in SOURCES}
    for folder in ("export", "runtime", "calibration", "models"):
        for file in (ROOT / folder).rglob("*.py"):
            if file not in sources:
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
