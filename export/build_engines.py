"""Adds TensorRT engines to a bundle: builds missing and outdated ones, and keeps the rest."""

import contextlib
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from multiprocessing.connection import wait
from pathlib import Path
from time import perf_counter

from mavos_deploy.errors import BackendError, BundleError, InputError, MavosError
from mavos_deploy.export.engine_shapes import ShapeLimits, profiles
from mavos_deploy.export.tensorrt_build import Task, build_plan, check_request
from mavos_deploy.hashing import file_sha256
from mavos_deploy.runtime.backends.tensorrt_library import open_library
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.engines import Engine, Flags, Library, capability_pair
from mavos_deploy.runtime.bundles.manifest import MANIFEST, Manifest, Target, write_manifest
from mavos_deploy.runtime.bundles.quantisation import GraphKind, NumberType
from mavos_deploy.runtime.system.child import Child, ChildDiedError
from mavos_deploy.runtime.system.files import cache_folder, writing
from mavos_deploy.runtime.system.gpu import Gpu, first_gpu
from mavos_deploy.runtime.system.interrupts import processes_start
from mavos_deploy.runtime.system.processors import usable_processors

FOLDER = "engines"
FP8_CAPABILITY = (8, 9)  # the first compute capability with float8 products


@dataclass(frozen=True)
class BuildRequest:
    """The engines that are wanted, and how they are built.

    Attributes:
        library: Library that builds; None takes the one that fits this machine.
        capabilities: Compute capabilities to build for, such as `8.6`; none means this machine's
            GPU.
        limits: Shapes that the engines take.
        flags: Settings of the library that a plan depends on.
        timing_cache: Folder of files with kernel timings, one for each library release, GPU and
            driver; None for the user's cache folder. TensorRT-RTX times nothing and has none.
        jobs: Builds at a time; None takes one with TensorRT, which times kernels on the GPU, and
            one for each processor with TensorRT-RTX.
    """

    library: Library | None = None
    capabilities: tuple[str, ...] = ()
    limits: ShapeLimits = field(default_factory=ShapeLimits)
    flags: Flags = field(default_factory=Flags)
    timing_cache: Path | None = None
    jobs: int | None = None


@dataclass(frozen=True)
class BuiltEngine:
    """The result of a request for one graph and compute capability.

    Attributes:
        engine: The engine's entry in the manifest.
        built: False where the engine in the bundle was up to date.
        seconds: Time that the build took; 0 where none was needed.
        size: Bytes of the plan.
    """

    engine: Engine
    built: bool
    seconds: float
    size: int


def build_engines(
    bundle: Bundle, request: BuildRequest, report: Callable[[BuiltEngine], None]
) -> list[BuiltEngine]:
    """Build the engines of every graph of a bundle and note them in its manifest.

    An engine is up to date if its plan is in the bundle unaltered and everything that it was made
    from is the same: graph, library and its version, capability, GPU, flags and shapes. The bundle
    changes when all builds are done; an error or Ctrl-C leaves it as it was.

    Args:
        bundle: Opened bundle.
        request: The engines that are wanted.
        report: Called with each engine as it is done.

    Returns:
        A result for each graph and capability.

    Raises:
        BackendError: The library is missing, can't fulfil the request, or failed.
        BundleError: The folder of the engines lies outside of the bundle.
        InputError: The bundle's folder can't be written to.
    """
    gpu = first_gpu()
    library = choose_library(request, gpu)
    if library is Library.TENSORRT_RTX and request.timing_cache is not None:
        raise InputError("tensorrt_rtx times no kernels; leave --timing-cache out")
    capabilities = _capabilities(request, library, gpu)
    trt = open_library(library)
    _check_form(bundle, capabilities)
    check_request(trt, library, request.flags, capabilities)
    own = (
        gpu if library is Library.TENSORRT else None
    )  # RTX plans don't depend on where they are built
    rtx = library is Library.TENSORRT_RTX
    flags = replace(request.flags, user_allocation=rtx, own_gpu=rtx and not request.capabilities)
    wanted = [
        Engine(
            graph=graph,
            file="",
            sha256="",
            graph_sha256=bundle.manifest.graphs[graph].sha256,
            library=library,
            version=str(trt.__version__),
            capability=capability,
            gpu=own.name if own else None,
            driver=own.driver if own else None,
            flags=flags,
            profiles=profiles(spec, bundle.manifest, request.limits),
        )
        for capability in capabilities
        for graph, spec in bundle.specs.items()
    ]
    results = []
    stale = []
    for engine in wanted:
        if (current := _up_to_date(bundle, engine)) is None:
            stale.append(engine)
            continue
        size = (bundle.path / current.file).stat().st_size
        results.append(BuiltEngine(current, False, 0.0, size))
        report(results[-1])
    if stale:
        results += _build(bundle, stale, request, own, report)
    return results


def choose_library(request: BuildRequest, gpu: Gpu | None) -> Library:
    """The library to build with.

    Where the request names none: TensorRT where it is installed and nothing but this machine's GPU
    is asked for, else TensorRT-RTX, which needs no GPU to build.

    Raises:
        BackendError: Neither is installed.
    """
    if request.library is not None:
        return request.library
    installed = [name for name in Library if find_spec(name) is not None]
    if not installed:
        raise BackendError(
            f"neither {' nor '.join(Library)} is installed; install one of them with "
            "pip install 'mavos-deploy[tensorrt]' or 'mavos-deploy[tensorrt-rtx]'"
        )
    own = gpu is not None and set(request.capabilities) <= {gpu.capability}
    return Library.TENSORRT if Library.TENSORRT in installed and own else installed[-1]


def _capabilities(request: BuildRequest, library: Library, gpu: Gpu | None) -> list[str]:
    given = list(dict.fromkeys(request.capabilities))
    if library is Library.TENSORRT:
        if gpu is None:
            raise BackendError(
                "tensorrt builds on the GPU that runs the engine, and none can be used here; build "
                "where it is, or with --library tensorrt_rtx --compute-capability 8.6"
            )
        if other := [capability for capability in given if capability != gpu.capability]:
            raise BackendError(
                f"tensorrt builds for this machine's {gpu.name} only, whose compute capability is "
                f"{gpu.capability}, not {other[0]}; use --library tensorrt_rtx for others"
            )
        return [gpu.capability]
    if given:
        return given
    if gpu is None:
        raise BackendError(
            "this machine has no GPU to build for; name one, for example --compute-capability 8.6"
        )
    return [gpu.capability]


def _check_form(bundle: Bundle, capabilities: list[str]) -> None:
    """Refuse graphs that TensorRT can't read."""
    quantisation = bundle.manifest.quantisation
    if quantisation is not None and quantisation.kind != GraphKind.TENSORRT:
        raise BackendError(
            f"{bundle.path} was quantised for a CPU, in a form that TensorRT refuses; quantise its "
            "fp32 bundle with mavos-calibrate --for tensorrt"
        )
    if bundle.manifest.target == Target.CPU and not bundle.manifest.dynamic:
        raise BackendError(
            f"{bundle.path} was exported for CPUs, with a decoder that TensorRT can't read; export "
            "it with --target gpu"
        )
    if quantisation is None:
        return
    for capability in capabilities:
        if quantisation.number == NumberType.FP8 and capability_pair(capability) < FP8_CAPABILITY:
            raise BackendError(
                f"{bundle.path} is in fp8, which GPUs have from compute capability 8.9 on, not "
                f"{capability}; quantise with --type int8 for it"
            )


def _up_to_date(bundle: Bundle, wanted: Engine) -> Engine | None:
    """The engine that is there already, if building it again would change nothing."""
    for engine in bundle.manifest.engines:
        if engine.made_like(wanted):
            with contextlib.suppress(MavosError):
                bundle.plan(engine)
                return engine
    return None


def _build(
    bundle: Bundle,
    stale: list[Engine],
    request: BuildRequest,
    gpu: Gpu | None,
    report: Callable[[BuiltEngine], None],
) -> list[BuiltEngine]:
    """Build into a temporary folder inside the bundle, then move everything in at once."""
    folder = bundle.path / FOLDER
    if not folder.resolve().is_relative_to(bundle.path.resolve()):
        raise BundleError(f"{folder} leads out of the bundle, so nothing is written there")
    fresh = not folder.exists()
    cache = timing_cache_file(request, stale[0], gpu) if gpu else None
    jobs = request.jobs or (1 if gpu else usable_processors())
    engines: dict[Path, Engine] = {}
    results: list[BuiltEngine] = []

    def done(task: Task, seconds: float) -> None:
        engines[task.plan] = engine = _with_plan(task.engine, task.plan)
        results.append(BuiltEngine(engine, True, seconds, task.plan.stat().st_size))
        report(results[-1])

    try:
        with writing(folder):
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".building-", dir=folder) as temporary:
                tasks = [
                    Task(engine, bundle.graph_path(engine.graph), cache, Path(temporary, str(n)))
                    for n, engine in enumerate(stale)
                ]
                # The largest first, so that no processor waits for it in the end.
                tasks.sort(key=lambda task: task.onnx.stat().st_size, reverse=True)
                run_tasks(tasks, jobs, done)
                _move_in(bundle, engines)
    finally:
        if fresh:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only succeeds while it is empty
    return results


def _with_plan(engine: Engine, plan: Path) -> Engine:
    """An engine with its plan's hash, and a name that no other plan has."""
    digest = file_sha256(plan)
    name = f"{engine.graph}-sm{engine.capability.replace('.', '')}-{digest[:8]}.plan"
    file = f"{FOLDER}/{engine.library}-{engine.version}/{name}"
    return replace(engine, file=file, sha256=digest)


def timing_cache_file(request: BuildRequest, engine: Engine, gpu: Gpu) -> Path:
    """File for the kernel timings of a library release on a GPU with a driver."""
    folder = request.timing_cache or cache_folder()
    parts = (engine.library, engine.version, gpu.name, gpu.driver)
    return folder / ("-".join(re.sub(r"[^\w.]+", "_", part) for part in parts) + ".timing")


def run_tasks(tasks: list[Task], jobs: int, done: Callable[[Task, float], None]) -> None:
    """Build plans, each in a process of its own.

    A process keeps the library's messages apart (it has one logger), survives a crash of the
    library, and can be ended at once on Ctrl-C, which the library's own calls don't hear.

    Args:
        tasks: Plans to build, in this order.
        jobs: Number of builds at a time.
        done: Called with each task and the seconds it took.

    Raises:
        BackendError: A build failed; the others are ended.
        OSError: A plan can't be written; the other builds are ended.
    """
    waiting = tasks[::-1]
    running: dict[object, tuple[Child, Task, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task = waiting.pop()
                with processes_start():
                    child = Child.calling(f"the build of {task}", build_plan, task)
                    running[child.connection] = child, task, perf_counter()
            for ready in wait([child.connection for child, _, _ in running.values()]):
                child, task, started = running[ready]
                try:
                    child.result()
                except ChildDiedError as died:
                    raise BackendError(
                        f"{task.engine.library} ended the process that built {task} (exit code "
                        f"{died.code}); if memory is short, try --jobs 1"
                    ) from None
                child.kill()
                del running[ready]
                done(task, perf_counter() - started)
    finally:
        for child, _, _ in running.values():
            child.kill()


def _move_in(bundle: Bundle, engines: dict[Path, Engine]) -> None:
    """Give plans their names in the bundle and put their engines into its manifest."""
    moved: list[Path] = []
    try:
        for plan, engine in engines.items():
            target = bundle.path / engine.file
            target.parent.mkdir(exist_ok=True)
            if not target.exists():
                moved.append(target)
            plan.replace(target)
        # Read again: another build may have added its own meanwhile.
        manifest = Manifest.read(bundle.path / MANIFEST)
        replaced = {engine.slot for engine in engines.values()}
        kept = [engine for engine in manifest.engines if engine.slot not in replaced]
        new = sorted(engines.values(), key=lambda engine: (engine.capability, engine.graph))
        write_manifest(bundle.path, replace(manifest, engines=(*kept, *new)))
    except BaseException:
        for target in moved:
            target.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                target.parent.rmdir()
        raise
    folder = (bundle.path / FOLDER).resolve()
    used = {(bundle.path / engine.file).resolve() for engine in (*kept, *new)}
    for engine in manifest.engines:
        old = (bundle.path / engine.file).resolve()
        # An entry may name any file, so nothing outside of the folder is touched.
        if old not in used and old.suffix == ".plan" and old.is_relative_to(folder):
            with contextlib.suppress(OSError):
                old.unlink()
                old.parent.rmdir()
