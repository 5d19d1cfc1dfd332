"""Calls of TensorRT have the arguments that the code gives, in the bindings of two generations.

The wheels with the bindings are a megabyte each and need no GPU: of the libraries behind them only
nine functions have to be there, which a stub has. Slow, because the wheels are downloaded:

    pytest -m slow tests/export/test_tensorrt_signatures.py
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or shutil.which("cc") is None, reason="for Linux with a C compiler"
    ),
]
TABLE = Path(__file__).resolve().parents[1] / "data" / "tensorrt_api.csv"
RELEASES = ("tensorrt_cu12_bindings==10.3.0", "tensorrt_cu13_bindings==11.4.0.106")
LIBRARIES = ("libnvinfer", "libnvonnxparser", "libnvinfer_plugin")
FUNCTIONS = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL"),
    *("createInferRuntime_INTERNAL", "createNvOnnxParser_INTERNAL"),
    *("createNvOnnxParserRefitter_INTERNAL", "getBuilderPluginRegistry"),
    *("getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins"),
)
# Names of the arguments that the code gives by position, the first ones of each call.
CALLS = {
    "Builder.build_serialized_network": ["network", "config"],
    "Builder.create_network": ["flags"],
    "IBuilderConfig.add_optimization_profile": ["profile"],
    "IBuilderConfig.create_timing_cache": ["serialized_timing_cache"],
    "IBuilderConfig.set_memory_pool_limit": ["pool", "pool_size"],
    "IBuilderConfig.set_preview_feature": ["feature", "enable"],
    "IBuilderConfig.set_timing_cache": ["cache", "ignore_mismatch"],
    "ICudaEngine.create_execution_context": ["strategy"],
    "ICudaEngine.get_tensor_dtype": ["name"],
    "ICudaEngine.get_tensor_name": ["index"],
    "ICudaEngine.get_tensor_shape": ["name"],
    "IExecutionContext.execute_async_v3": ["stream_handle"],
    "IExecutionContext.set_device_memory": ["memory", "size"],
    "IExecutionContext.set_input_shape": ["name", "shape"],
    "IExecutionContext.set_tensor_address": ["name", "memory"],
    "IExecutionContext.update_device_memory_size_for_shapes": [],
    "IOptimizationProfile.set_shape": ["input", "min", "opt", "max"],
    "OnnxParser.parse": ["model"],
    "Runtime.deserialize_cuda_engine": ["serialized_engine"],
}
READ = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("tensorrt", sys.argv[1])
library = importlib.util.module_from_spec(spec)
spec.loader.exec_module(library)
found = {}
for name in json.loads(sys.argv[2]):
    value = library
    for part in name.split("."):
        value = getattr(value, part, None)
    found[name] = None if value is None else str(value.__doc__)
print(json.dumps(found))
"""


@pytest.fixture(scope="module", params=RELEASES, ids=["10.3", "11.4"])
def found(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, str | None]]:
    """A release, and its descriptions of all attributes; None for those that it lacks."""
    folder = tmp_path_factory.mktemp("bindings")
    download = ["pip", "download", "--quiet", "--no-deps", "--dest", str(folder), request.param]
    got = subprocess.run(
        [sys.executable, "-m", *download], capture_output=True, text=True, check=False
    )
    if got.returncode:
        pytest.skip(f"{request.param} can't be downloaded: {got.stderr.strip()[-200:]}")
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(folder)
    (library,) = folder.rglob("tensorrt.so")
    release = request.param.partition("==")[2]
    source = folder / "stub.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
    for name in LIBRARIES:
        file = folder / f"{name}.so.{release.partition('.')[0]}"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", file, source], check=True)
    with TABLE.open(encoding="utf-8", newline="") as file_of_rows:
        names = {row["attribute"] for row in csv.DictReader(file_of_rows)} | CALLS.keys()
    ran = subprocess.run(
        [sys.executable, "-c", READ, str(library), json.dumps(sorted(names))],
        env={**os.environ, "LD_LIBRARY_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return release, json.loads(ran.stdout)


def test_the_release_has_what_the_table_says(found: tuple[str, dict[str, str | None]]) -> None:
    release, attributes = found
    major, minor = map(int, release.split(".")[:2])
    with TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            since = row["tensorrt_10_since"]
            if row["attribute"] == "__version__":  # of the package around the library
                continue
            if major == 11:
                expected = row["in_tensorrt_11"] == "yes"
            else:
                expected = since != "never" and int(since.partition(".")[2]) <= minor
            assert (attributes[row["attribute"]] is not None) == expected, row["attribute"]


@pytest.mark.parametrize("call", CALLS)
def test_a_call_takes_the_arguments_that_the_code_gives(
    found: tuple[str, dict[str, str | None]], call: str
) -> None:
    description = found[1][call]
    assert description is not None
    method = call.partition(".")[2]
    signatures = re.findall(rf"{method}\(self: [^,)]*,? ?(.*)\) -> ", description)
    names = [re.findall(r"(?:^|, )(\w+): ", signature) for signature in signatures]
    wanted = CALLS[call]
    assert any(given[: len(wanted)] == wanted for given in names), description
