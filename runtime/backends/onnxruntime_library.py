"""ONNX Runtime itself: imported, and the settings of every session."""

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from mavos_deploy.errors import BackendError, one_line, shortage
from mavos_deploy.runtime.backends.protocol import check_tensors
from mavos_deploy.runtime.contract import GraphSpec
from mavos_deploy.runtime.system.loading import load

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
}


def open_library() -> ModuleType:
    """Import ONNX Runtime.

    Raises:
        BackendError: It is missing, broken, or a hollow module.
    """
    try:
        onnxruntime = load("onnxruntime")
    except Exception as error:  # it loads libraries, whose failures come as anything
        do = shortage(error) or "install it with pip install 'mavos-deploy[cpu]'"
        raise BackendError(f"ONNX Runtime can't be imported ({one_line(error)}); {do}") from error
    if not hasattr(onnxruntime, "InferenceSession"):
        raise BackendError(
            "ONNX Runtime is installed as a hollow module, which happens when one of onnxruntime "
            "and onnxruntime-gpu is removed while both were there; uninstall both, then install one"
        )
    return onnxruntime


def session_options(ort: ModuleType, threads: int, in_float: bool = False) -> Any:  # noqa: ANN401  # the library is untyped
    """Settings of every session; `benchmarks/session_settings.py` measures others.

    Args:
        ort: The library.
        threads: CPU threads of each graph.
        in_float: Whether the graphs are quantised for another library. The CPU's integer kernels
            are 17 times slower with symmetric activations, so values are rounded and computed in
            float.
    """
    _share_arena(ort)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Five sessions share the cores: waiting threads that spin take time from working ones.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # malloc keeps 32 MB with glibc. Without an arena all results beyond that come anew from the
    # system in every frame, page by page. An arena for each session keeps the peaks of all graphs,
    # 1.05 GB instead of 0.67 GB at 480p, and planning a graph's memory as one block takes more too.
    options.enable_cpu_mem_arena = True
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.enable_mem_pattern = False
    options.log_severity_level = 4  # failures are raised, and must not be printed as well
    if in_float:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def forget_content(session: Any) -> None:  # noqa: ANN401  # as above
    """Drop the bytes that a session was made from; the library's Python part keeps them for ever.

    It would need them to change the session's providers, which nothing here does.
    """
    if hasattr(session, "_model_bytes"):
        session._model_bytes = None


def check_session(session: Any, spec: GraphSpec, path: Path) -> None:  # noqa: ANN401  # as above
    """Refuse a session whose graph isn't the one that its manifest describes.

    Raises:
        BundleError: See `check_tensors`.
    """
    tensors = (*session.get_inputs(), *session.get_outputs())
    found = {tensor.name: (TYPES.get(tensor.type), tensor.shape) for tensor in tensors}
    check_tensors(found, spec, path)


@cache
def _share_arena(ort: ModuleType) -> None:
    """Make the one arena that all sessions of the process take their memory from."""
    place = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    # By default it doubles when it grows, and lets a tensor take a block of twice its size.
    thrifty = {"arena_extend_strategy": 1, "max_dead_bytes_per_chunk": 1 << 20}
    ort.create_and_register_allocator(place, ort.OrtArenaCfg(thrifty))
