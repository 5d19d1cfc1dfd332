"""A processor without VNNI and AVX-512, emulated by qemu."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.runtime.backends.protocol import Array

EMULATOR = "qemu-x86_64-static"  # of Debian's qemu-user-static
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


def without_vnni(
    bundle: Path, backend: str, graph: str, inputs: dict[str, Array], folder: Path
) -> dict[str, Array]:
    """Outputs of a graph on an emulated Haswell, which has AVX2 and no later vector extension."""
    if shutil.which(EMULATOR) is None:
        pytest.skip(f"{EMULATOR} is not installed: apt-get install qemu-user-static")
    np.savez(folder / "inputs.npz", **inputs)  # type: ignore[arg-type]
    words = [EMULATOR, "-cpu", "Haswell", sys.executable, "-c", PROGRAM, str(bundle), backend]
    words += [str(folder / "inputs.npz"), str(folder / "outputs.npz"), graph]
    ran = subprocess.run(
        words,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return dict(np.load(folder / "outputs.npz"))
