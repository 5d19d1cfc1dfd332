"""The driver's answers about a GPU, from stand-ins for its two libraries."""

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.system.gpu import (
    DRIVER,
    MAJOR,
    MANAGEMENT,
    Gpu,
    first_gpu,
    leave_context,
    release_primary_context,
    require_gpu,
    reset_primary_context,
)


def _cuda(code: int) -> SimpleNamespace:
    """CUDA's driver with one GPU, and `code` as the answer of cuInit."""

    def fill(text: Any, size: int, device: object) -> int:  # noqa: ANN401
        text.value = b"NVIDIA RTX A4000"
        return 0

    def attribute(value: Any, which: int, device: object) -> int:  # noqa: ANN401
        value._obj.value = 8 if which == MAJOR else 6
        return 0

    def version(value: Any) -> int:  # noqa: ANN401
        value._obj.value = 13020
        return 0

    return SimpleNamespace(
        cuInit=lambda flags: code,
        cuDeviceGet=lambda device, index: 0,
        cuDeviceGetName=fill,
        cuDeviceGetAttribute=attribute,
        cuDriverGetVersion=version,
    )


def _nvml() -> SimpleNamespace:
    def fill(text: Any, size: int) -> int:  # noqa: ANN401
        text.value = b"580.65.06"
        return 0

    return SimpleNamespace(
        nvmlInit_v2=lambda: 0, nvmlSystemGetDriverVersion=fill, nvmlShutdown=lambda: 0
    )


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts stand-ins in place of the libraries; a library without one does not load."""

    def put(**libraries: object) -> None:
        by_name = {DRIVER: libraries.get("cuda"), MANAGEMENT: libraries.get("nvml")}

        def open_library(name: str) -> object:
            if by_name[name] is None:
                raise OSError(f"{name}: cannot open shared object file")
            return by_name[name]

        monkeypatch.setattr(ctypes, "CDLL", open_library)

    return put


def test_a_gpu_is_described_by_both_libraries(load: Callable[..., None]) -> None:
    load(cuda=_cuda(0), nvml=_nvml())
    assert first_gpu() == Gpu("NVIDIA RTX A4000", "8.6", "580.65.06", "13.2")


def test_without_nvml_the_version_of_cuda_stands_for_the_drivers(load: Callable[..., None]) -> None:
    load(cuda=_cuda(0))
    assert first_gpu() == Gpu("NVIDIA RTX A4000", "8.6", "CUDA 13.2", "13.2")


def test_no_driver_and_no_device_are_no_gpu(load: Callable[..., None]) -> None:
    load()
    assert first_gpu() is None
    load(cuda=_cuda(100), nvml=_nvml())  # CUDA_ERROR_NO_DEVICE
    assert first_gpu() is None
    with pytest.raises(BackendError, match=r"tensorrt: the driver shows no NVIDIA GPU; nvidia-smi"):
        require_gpu("tensorrt")


def test_only_the_context_that_is_meant_leaves_the_stack(load: Callable[..., None]) -> None:
    calls: list[object] = []

    def current(value: Any) -> int:  # noqa: ANN401
        value._obj.value = 9
        return 0

    def put(context: object) -> int:
        calls.append(context)
        return 0

    load(cuda=SimpleNamespace(cuCtxGetCurrent=current, cuCtxSetCurrent=put))
    leave_context(8)
    assert calls == []
    leave_context(9)
    assert calls == [None]


def test_a_context_is_given_back_as_far_as_there_is_a_driver(load: Callable[..., None]) -> None:
    calls: list[str] = []

    def release(device: int) -> int:
        calls.append(f"release {device}")
        return 201  # CUDA_ERROR_INVALID_CONTEXT

    load(cuda=SimpleNamespace(cuDevicePrimaryCtxRelease_v2=release))
    release_primary_context()
    reset_primary_context()  # which this driver lacks
    assert calls == ["release 0"]
    load()
    release_primary_context()
    reset_primary_context()
    leave_context(9)
