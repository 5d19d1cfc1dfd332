"""Builds one plan with TensorRT or TensorRT-RTX: the only file that touches the builder's API.

Both libraries have one API under two module names. Every attribute used here is listed with its
versions and source in tests/data/tensorrt_api.csv, and a test compares that list with this file.
"""

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from mavos_deploy.errors import BackendError, InputError
from mavos_deploy.runtime.backends.tensorrt_library import (
    collecting_logger,
    library_said,
    open_library,
)
from mavos_deploy.runtime.bundles.engines import Engine, Flags, Hardware, Library
from mavos_deploy.runtime.system.files import replacing


@dataclass(frozen=True)
class Task:
    """One plan to build.

    Attributes:
        engine: Entry of the engine, which has no plan yet.
        onnx: File of the graph.
        timing_cache: File of kernel timings to read and extend; None for none.
        plan: File to write; its folder exists.
    """

    engine: Engine
    onnx: Path
    timing_cache: Path | None
    plan: Path

    def __str__(self) -> str:
        return f"{self.onnx} for {self.engine.capability}"


def check_request(trt: ModuleType, library: Library, flags: Flags, capabilities: list[str]) -> None:
    """Refuse a request that the library can't fulfil, before any work.

    Raises:
        BackendError: The library doesn't know a capability, or has no such compatibility.
    """
    if library is Library.TENSORRT_RTX:
        known = list(trt.ComputeCapability.__members__)
        for capability in capabilities:
            if _member(capability) not in known:
                numbers = [name.removeprefix("SM") for name in known if name.startswith("SM")]
                accepted = ", ".join(f"{text[:-1]}.{text[-1]}" for text in numbers)
                raise BackendError(
                    f"tensorrt_rtx {trt.__version__} doesn't build for compute capability "
                    f"{capability}; accepted are {accepted}. For Jetson boards and GPUs of data "
                    "centres build there, with --library tensorrt"
                )
        if flags.version_compatible:
            raise BackendError(
                "tensorrt_rtx has no version-compatible engines: each release loads its own only; "
                "leave --version-compatible out, and build again after an update"
            )
        if flags.hardware_compatible is not Hardware.NONE:
            raise BackendError(
                "tensorrt_rtx has no hardware-compatible engines; name every GPU's capability with "
                "--compute-capability instead"
            )
    level = _level(flags)
    if level is not None and level not in trt.HardwareCompatibilityLevel.__members__:
        raise BackendError(
            f"tensorrt {trt.__version__} has no hardware compatibility "
            f"{flags.hardware_compatible!r}; update it to 10.9 or later"
        )


def build_plan(task: Task) -> None:
    """Build a plan and write it to its file.

    Raises:
        BackendError: The graph is not the bundle's any more, or the library refuses it or fails
            to build it; the message has its own words.
        OSError: The plan can't be written.
    """
    trt = open_library(task.engine.library)
    logger = collecting_logger(trt)
    try:
        builder = trt.Builder(logger)
    except (TypeError, RuntimeError) as error:  # where there is no driver, no object comes out
        raise BackendError(_reason(task, "can't start", logger.errors)) from error
    # Types are those of the graph, in TensorRT 11 always and in 10 by this flag.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    content = task.onnx.read_bytes()
    if hashlib.sha256(content).hexdigest() != task.engine.graph_sha256:
        raise BackendError(
            f"{task.onnx} was changed since the bundle was opened (its SHA-256 differs); export it "
            "again"
        )
    if not parser.parse(content):
        raise BackendError(_reason(task, "can't read the graph", logger.errors))
    config = builder.create_builder_config()
    configure(trt, config, task.engine)
    for shapes in task.engine.profiles:
        profile = builder.create_optimization_profile()
        for name, (smallest, best, largest) in shapes.items():
            profile.set_shape(name, smallest, best, largest)
        if config.add_optimization_profile(profile) < 0:
            raise BackendError(_reason(task, "refuses the shapes", logger.errors))
    if task.timing_cache is not None:
        _read_timing_cache(config, task.timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BackendError(_reason(task, "failed to build it", logger.errors))
    with task.plan.open("wb") as file:
        file.write(memoryview(plan))
    if task.timing_cache is not None:
        _write_timing_cache(config, task.timing_cache)


def configure(trt: ModuleType, config: Any, engine: Engine) -> None:  # noqa: ANN401
    """Set a builder's configuration to an engine's flags, and for TensorRT-RTX its capability."""
    flags = engine.flags
    if not flags.tf32:  # on by default, which would make float32 products differ from PyTorch's
        config.clear_flag(trt.BuilderFlag.TF32)
    if flags.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if flags.memory_limit is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, flags.memory_limit << 20)
    # Kernels side by side gain little and need more scratch memory, two thirds more in the step.
    config.max_aux_streams = 0
    # Scratch memory then follows the shapes at hand, and not the largest of the profile.
    features = trt.PreviewFeature.__members__
    if (resize := "RUNTIME_ACTIVATION_RESIZE_10_10") in features:  # from TensorRT 10.10 on
        config.set_preview_feature(features[resize], True)
    if (level := _level(flags)) is not None:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.__members__[level]
    if engine.library is Library.TENSORRT_RTX:
        config.num_compute_capabilities = 1
        name = "CURRENT" if flags.own_gpu else _member(engine.capability)
        config.set_compute_capability(trt.ComputeCapability.__members__[name], 0)
    if flags.user_allocation:
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)


def _read_timing_cache(config: Any, path: Path) -> None:  # noqa: ANN401
    """Start from the timings of earlier builds, or from none where they don't fit."""
    known = path.read_bytes() if path.is_file() else b""
    for blob in (known, b""):
        cache = config.create_timing_cache(blob)
        if cache is not None and config.set_timing_cache(cache, False):  # False: it has to match
            return


def _write_timing_cache(config: Any, path: Path) -> None:  # noqa: ANN401
    cache = config.get_timing_cache()
    if cache is None:
        return
    # It only saves time, so a plan that is built must not fail for it.
    with contextlib.suppress(InputError, OSError), replacing(path) as temporary:
        temporary.write_bytes(memoryview(cache.serialize()))


def _member(capability: str) -> str:
    """`8.6` as the library's enumeration names it, `SM86`."""
    return f"SM{capability.replace('.', '')}"


def _level(flags: Flags) -> str | None:
    """The library's name of a hardware compatibility; None for the default."""
    names = {"ampere-plus": "AMPERE_PLUS", "same-capability": "SAME_COMPUTE_CAPABILITY"}
    return names.get(flags.hardware_compatible)


def _reason(task: Task, what: str, errors: list[str]) -> str:
    """One line with the library's own explanation."""
    return f"{task.engine.library} {what}: {task}: {library_said(errors)}"
