"""Triton's containers and the libraries inside, for the lint and the table in docs/serving.md.

ONNX Runtime as the server's own compatibility page lists it, TensorRT as NVIDIA's framework
support matrix does; None where we have no figure.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Container:
    """One release, `nvcr.io/nvidia/tritonserver:<tag>-py3`.

    Attributes:
        onnxruntime: Version of the backend's library.
        python: Of the Python backend.
        tensorrt: Version; plans must be built with it.
    """

    onnxruntime: str
    python: str
    tensorrt: str | None = None


CONTAINERS = {
    "24.05": Container("1.18.0", "3.10"),
    "24.06": Container("1.18.0", "3.10"),
    "24.07": Container("1.18.1", "3.10"),
    "24.08": Container("1.18.1", "3.10"),
    "24.09": Container("1.19.2", "3.10"),
    "24.10": Container("1.19.2", "3.10", "10.5"),
    "24.11": Container("1.19.2", "3.12", "10.6"),
    "24.12": Container("1.20.1", "3.12", "10.7"),
    "25.01": Container("1.20.1", "3.12", "10.8"),
    "25.02": Container("1.20.1", "3.12", "10.8"),
    "25.03": Container("1.21.0", "3.12", "10.9"),
    "25.04": Container("1.21.0", "3.12", "10.9"),
    "25.05": Container("1.22.0", "3.12", "10.10"),
    "25.06": Container("1.22.0", "3.12", "10.11"),
    "25.07": Container("1.22.0", "3.12", "10.11"),
    "25.08": Container("1.23.0", "3.12", "10.13"),
    "25.09": Container("1.23.0", "3.12", "10.13"),
    "25.10": Container("1.23.1", "3.12"),
    "25.11": Container("1.23.2", "3.12"),
    "25.12": Container("1.23.2", "3.12"),
    "26.01": Container("1.23.2", "3.12"),
    "26.02": Container("1.24.1", "3.12"),
    "26.03": Container("1.24.2", "3.12"),
    "26.04": Container("1.24.4", "3.12"),
    "26.05": Container("1.24.4", "3.12"),
    "26.06": Container("1.24.4", "3.12"),
    "26.07": Container("1.27.0", "3.12"),
    "26.08": Container("1.28.0", "3.12"),
}

# ONNX Runtime releases at which the format and the operators they read became newer.
READS = {  # version: (ir_version, opset)
    (1, 17): (9, 20),
    (1, 18): (10, 21),
    (1, 21): (10, 22),
    (1, 23): (11, 23),
}


def reads(onnxruntime: str) -> tuple[int, int]:
    """The newest format and standard operator set that a version of ONNX Runtime reads."""
    major, minor = (int(part) for part in onnxruntime.split(".")[:2])
    return max(value for version, value in READS.items() if version <= (major, minor))
