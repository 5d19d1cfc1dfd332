"""The NVIDIA GPU of this machine, asked of the driver itself, so that no package is needed."""

import ctypes
import sys
from dataclasses import dataclass

from mavos_deploy.errors import BackendError

DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
MANAGEMENT = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
MAJOR, MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
TEXT = 256  # bytes of a name, enough by both libraries' documentation


@dataclass(frozen=True)
class Gpu:
    """A GPU.

    Attributes:
        name: Name that the driver gives, such as `NVIDIA RTX A4000`.
        capability: Compute capability, such as `8.6`.
        driver: Version of the driver, such as `580.65.06`; the version of CUDA in it where nothing
            else is known.
        cuda: The latest CUDA that the driver runs, such as `13.0`.
    """

    name: str
    capability: str
    driver: str
    cuda: str | None = None


def first_gpu() -> Gpu | None:
    """The first GPU that CUDA shows (`CUDA_VISIBLE_DEVICES` chooses); None where there is none.

    Source: NVIDIA CUDA Driver API, cuInit, cuDeviceGet, cuDeviceGetName, cuDeviceGetAttribute and
    cuDriverGetVersion.
    """
    try:
        cuda = ctypes.CDLL(DRIVER)
    except OSError:
        return None
    device, major, minor, version = (ctypes.c_int() for _ in range(4))
    name = ctypes.create_string_buffer(TEXT)
    found = (  # 0 is success, and the first failure ends it
        cuda.cuInit(0) == 0
        and cuda.cuDeviceGet(ctypes.byref(device), 0) == 0
        and cuda.cuDeviceGetName(name, TEXT, device) == 0
        and cuda.cuDeviceGetAttribute(ctypes.byref(major), MAJOR, device) == 0
        and cuda.cuDeviceGetAttribute(ctypes.byref(minor), MINOR, device) == 0
        and cuda.cuDriverGetVersion(ctypes.byref(version)) == 0
    )
    if not found:
        return None
    number = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return Gpu(
        name.value.decode(errors="replace"),
        f"{major.value}.{minor.value}",
        _driver_version() or f"CUDA {number}",
        number,
    )


def require_gpu(backend: str) -> Gpu:
    """The first GPU, as `first_gpu` finds it.

    Args:
        backend: Name of the backend that needs a GPU, for the message.

    Raises:
        BackendError: The driver shows no GPU.
    """
    gpu = first_gpu()
    if gpu is None:
        raise BackendError(
            f"{backend}: the driver shows no NVIDIA GPU; nvidia-smi must list one (in a container: "
            "start it with --gpus all), or take --backend onnxruntime-cpu"
        )
    return gpu


def leave_context(context: int) -> None:
    """Take a dead context off this thread's stack, if it is on top.

    Args:
        context: CUDA's handle of it.

    Source: NVIDIA CUDA Driver API, cuCtxGetCurrent and cuCtxSetCurrent: none replaces the top.
    """
    current = ctypes.c_void_p()
    if _call("cuCtxGetCurrent", ctypes.byref(current)) and current.value == context:
        _call("cuCtxSetCurrent", None)


def release_primary_context() -> None:
    """Give back one hold of this process on the first GPU's context; the last one ends it."""
    _call("cuDevicePrimaryCtxRelease_v2", 0)


def reset_primary_context() -> None:
    """End the first GPU's context, whoever in this process holds it."""
    _call("cuDevicePrimaryCtxReset_v2", 0)


def _call(function: str, *arguments: object) -> bool:
    """Call the driver; False where it refuses or is missing."""
    try:
        return bool(getattr(ctypes.CDLL(DRIVER), function)(*arguments) == 0)
    except (OSError, AttributeError):
        return False


def _driver_version() -> str | None:
    """The driver's own version by NVML, which Jetson boards may lack."""
    try:
        nvml = ctypes.CDLL(MANAGEMENT)
    except OSError:
        return None
    text = ctypes.create_string_buffer(TEXT)
    if nvml.nvmlInit_v2() != 0:
        return None
    try:
        known = nvml.nvmlSystemGetDriverVersion(text, TEXT) == 0
    finally:
        nvml.nvmlShutdown()
    return text.value.decode(errors="replace") if known else None
