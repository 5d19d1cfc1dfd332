"""The table of backends, a row for each, and how one is opened.

A new backend is a file in this folder and a row here. `auto`, `mavos-doctor`, workers on a Ray
cluster, help texts and the table in docs/run.md read the rows. A backend's file imports its library
when it is opened or looked for, not before.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mavos_deploy.errors import BackendError, MavosError
from mavos_deploy.runtime.backends import (
    onnxruntime_cuda,
    onnxruntime_library,
    openvino_cpu,
    tensorrt_device,
)
from mavos_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from mavos_deploy.runtime.backends.openvino_cpu import OpenVinoCpu
from mavos_deploy.runtime.backends.protocol import Backend
from mavos_deploy.runtime.backends.tensorrt_gpu import open_engines
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.engines import Library
from mavos_deploy.runtime.bundles.quantisation import GraphKind


@dataclass(frozen=True)
class BackendKind:
    """One way to run the graphs.

    Attributes:
        name: Name on the command line.
        open: Loads a bundle's graphs, with a number of CPU threads or None for all that this
            process may use. It raises MavosError.
        look_for: Looks for everything but a bundle that `open` needs. It raises BackendError, with
            advice, where something is missing.
        arithmetic: Number format of the products, in words.
        extra: Extras of mavos-deploy that install its libraries.
        needs: Anything else that it needs, in words.
        gpu: Whether it runs on a GPU; all others run on the CPU.
        engine_library: Library whose engines it loads; None where it loads the ONNX files.
        auto: Place in the order in which `auto` tries backends; None where it never does.
    """

    name: str
    open: Callable[[Bundle, int | None], Backend]
    look_for: Callable[[], object]
    arithmetic: str
    extra: str
    needs: str = ""
    gpu: bool = False
    engine_library: Library | None = None
    auto: int | None = None


def _openvino(arithmetic: str, words: str) -> BackendKind:
    return BackendKind(
        f"openvino-cpu-{arithmetic}",
        open=partial(OpenVinoCpu, arithmetic=arithmetic),
        look_for=partial(openvino_cpu.look_for, arithmetic),
        arithmetic=words,
        extra="openvino",
    )


def _engines(name: str, library: Library, gpu: str, auto: int) -> BackendKind:
    return BackendKind(
        name,
        open=partial(open_engines, name=name, library=library),
        look_for=partial(tensorrt_device.look_for, name, library),
        arithmetic="the bundle's own",
        extra=f"{name},cuda",
        needs=gpu,
        gpu=True,
        engine_library=library,
        auto=auto,
    )


DEFAULT_BACKEND = "onnxruntime-cpu"
AUTO = "auto"  # on a command line, the first backend in the order of `BackendKind.auto` that works
_ROWS = (
    BackendKind(
        DEFAULT_BACKEND,
        open=OnnxRuntimeCpu,
        look_for=onnxruntime_library.open_library,
        arithmetic="the bundle's own, float32 as a rule",
        extra="cpu",
        auto=4,
    ),
    _openvino("fp32", "float32"),
    _openvino("bf16", "bfloat16; refused where the processor lacks it"),
    _engines("tensorrt", Library.TENSORRT, "an NVIDIA GPU", auto=1),
    _engines("tensorrt-rtx", Library.TENSORRT_RTX, "a GeForce or RTX GPU", auto=2),
    BackendKind(
        onnxruntime_cuda.NAME,
        open=onnxruntime_cuda.open_cuda,
        look_for=onnxruntime_cuda.look_for,
        arithmetic="the bundle's own",
        extra="gpu",
        needs="an NVIDIA GPU",
        gpu=True,
        auto=3,
    ),
)
BACKENDS = {kind.name: kind for kind in _ROWS}


def backend_kind(name: str) -> BackendKind:
    """The row of a backend.

    Raises:
        BackendError: The name is unknown.
    """
    if name not in BACKENDS:
        raise BackendError(
            f"backend {name!r} is unknown; accepted are {', '.join(BACKENDS)}, {AUTO}"
        )
    return BACKENDS[name]


def auto_order() -> list[BackendKind]:
    """The rows that `auto` tries, the first one first.

    A preference, not measured on GPUs yet.
    """
    places = {kind.auto: kind for kind in BACKENDS.values() if kind.auto is not None}
    return [places[place] for place in sorted(places)]


def open_backend(
    bundle: Bundle,
    threads: int | None = None,
    backend: str = DEFAULT_BACKEND,
    *,
    ahead: bool = False,
) -> Backend:
    """Load a bundle's graphs. Another backend is never taken in place of a named one that fails.

    Args:
        bundle: An opened bundle.
        threads: CPU threads to use; None takes all that this process may use.
        backend: A name of `BACKENDS`, or `auto` for the one that `choose_backend` takes.
        ahead: Have the default backend open graphs while the first frame is read; see
            `OnnxRuntimeCpu`. Others open all before this returns.

    Raises:
        BackendError: The name is unknown, the library is missing or refuses a graph, or this
            machine lacks something that the backend needs. With `ahead` the first run may raise
            what a refused graph raises.
    """
    if backend == AUTO:
        chosen, refused = choose_backend(bundle, threads)
        if refused:
            reasons = "; ".join(f"not {name}: {reason}" for name, reason in refused.items())
            warnings.warn(f"backend {chosen.traits.name}; {reasons}", UserWarning, stacklevel=2)
        return chosen
    if backend == DEFAULT_BACKEND and _for_openvino(bundle):
        warnings.warn(
            f"{bundle.path} was quantised for OpenVINO; {backend} rounds as it says and computes "
            "in float, slower than the fp32 bundle: take --backend openvino-cpu-bf16, or "
            "openvino-cpu-fp32 where the processor has no bfloat16",
            UserWarning,
            stacklevel=2,
        )
    if ahead and backend == DEFAULT_BACKEND:
        return OnnxRuntimeCpu(bundle, threads, ahead=True)
    return backend_kind(backend).open(bundle, threads)


def made_for(bundle: Bundle) -> str:
    """The backend for CPUs that a bundle's graphs are made for.

    Raises:
        BackendError: It is OpenVINO, which is missing or broken.
    """
    if not _for_openvino(bundle):
        return DEFAULT_BACKEND
    return f"openvino-cpu-{openvino_cpu.best_arithmetic()}"


def _for_openvino(bundle: Bundle) -> bool:
    quantisation = bundle.manifest.quantisation
    return quantisation is not None and quantisation.kind == GraphKind.OPENVINO


def choose_backend(bundle: Bundle, threads: int | None = None) -> tuple[Backend, dict[str, str]]:
    """Load a bundle's graphs with the first backend in the order of `auto` that works here.

    A backend that computes in less than the bundle's arithmetic is passed over: masks must not
    change because a machine has another library.

    Args:
        bundle: An opened bundle.
        threads: CPU threads to use; None takes all that this process may use.

    Returns:
        The backend, and the reasons why those before it can't be used, by name.

    Raises:
        BackendError: None can be used.
    """
    refused: dict[str, str] = {}
    for kind in auto_order():
        try:
            backend = kind.open(bundle, threads)
        except MavosError as error:  # also a plan that is missing or altered
            refused[kind.name] = str(error)
            continue
        if backend.traits.arithmetic == bundle.manifest.arithmetic:
            return backend, refused
        refused[kind.name] = f"it computes in {backend.traits.arithmetic}"
        backend.close()
    reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
    raise BackendError(f"no backend works here: {reasons}")
