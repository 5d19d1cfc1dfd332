"""This processor without AVX-512, VNNI and AMX, as `tools/without_vnni.py` makes it."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.runtime.backends.protocol import Array
from tools.without_vnni import prepare

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.backends.table import open_backend
bundle, backend, inputs, outputs, graph = sys.argv[1:]
runner = open_backend(Bundle.open(Path(bundle)), 1, backend)
np.savez(outputs, **runner.run(graph, dict(np.load(inputs))))
"""


def variables(folder: Path) -> dict[str, str]:
    """Environment variables for programs without those extensions; skips on other processors."""
    if platform.machine() != "x86_64" or sys.platform != "linux":
        pytest.skip("changes how x86-64 libraries on Linux see the processor")
    return {**os.environ, **prepare(folder), "PYTHONWARNINGS": "ignore"}


def run_graph(
    bundle: Path, backend: str, graph: str, inputs: dict[str, Array], folder: Path
) -> dict[str, Array]:
    """Outputs of a graph in a process without those extensions."""
    np.savez(folder / "inputs.npz", **inputs)  # type: ignore[arg-type]
    words = [sys.executable, "-c", PROGRAM, str(bundle), backend]
    words += [str(folder / "inputs.npz"), str(folder / "outputs.npz"), graph]
    ran = subprocess.run(
        words, env=variables(folder / "libraries"), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return dict(np.load(folder / "outputs.npz"))
