"""The state of this machine: installed packages, and which backends work, tried and not guessed."""

from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mavos_deploy import __version__
from mavos_deploy.errors import MavosError, one_line
from mavos_deploy.runtime.backends.table import BACKENDS, DEFAULT_BACKEND, BackendKind
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.system.gpu import first_gpu
from mavos_deploy.runtime.system.loading import load
from mavos_deploy.runtime.system.machine import describe_machine
from mavos_deploy.runtime.system.processors import granted_processors

# Packages, with the module to import where it is quick and says whether the package is whole.
PACKAGES = {
    "numpy": None,
    "Pillow": "PIL.Image",
    "av": "av",
    "safetensors": "safetensors.numpy",
    "opencv-python": "cv2",
    "opencv-python-headless": "cv2",
    "onnxruntime": None,
    "onnxruntime-gpu": None,
    "openvino": None,
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "tensorrt_rtx",
    "pycuda": "pycuda.driver",
    "cuda-bindings": "cuda.bindings.driver",
    "torch": None,
    "onnx": None,
    "tritonclient": None,
    "pycocotools": "pycocotools.mask",
    "defusedxml": "defusedxml.ElementTree",
    "pillow-heif": "pillow_heif",
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "websockets": "websockets",
}
NVIDIA = "0x10de"  # vendor of PCI devices
DISPLAY = "0x03"  # class of PCI devices that draw or compute


@dataclass(frozen=True)
class Finding:
    """Whether a backend can be used.

    Attributes:
        works: Whether it segmented a frame; without a bundle, whether its library and device are
            there.
        tried: Whether it was given a frame.
        reason: The reason why it can't be used, and advice; None where it can be used.
    """

    works: bool
    tried: bool
    reason: str | None = None


@dataclass
class Diagnosis:
    """Everything that `mavos-doctor` finds.

    Attributes:
        machine: Description of the machine, as in reports of measurements.
        container_processors: Processors that control groups grant; None without a limit.
        gpu: Name, compute capability, driver and its CUDA; None where no driver shows a GPU.
        packages: Versions of the installed packages, by name.
        backends: Findings by the backends' names.
        engines: One line for each library, release and GPU for which the bundle has intact engines.
        problems: One line for each problem, with advice.
    """

    machine: dict[str, object]
    container_processors: float | None
    gpu: dict[str, str | None] | None
    packages: dict[str, str]
    backends: dict[str, Finding]
    engines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether the default backend works."""
        return self.backends[DEFAULT_BACKEND].works

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {"healthy": self.healthy, **asdict(self)}


def diagnose(bundle: Bundle | None) -> Diagnosis:
    """Look at this machine and try every backend. A broken part becomes a line, not an error.

    Args:
        bundle: Bundle that every backend loads and segments a frame with; None only looks for
            libraries and devices.
    """
    problems: list[str] = []
    packages = _packages(problems)
    engines = [] if bundle is None else _engines(bundle, problems)
    return Diagnosis(
        machine=describe_machine(),
        container_processors=granted_processors(),
        gpu=_gpu(problems),
        packages={"mavos-deploy": __version__, **packages},
        backends={name: _try(kind, bundle) for name, kind in BACKENDS.items()},
        engines=engines,
        problems=problems,
    )


def _packages(problems: list[str]) -> dict[str, str]:
    found = {}
    for package, module in PACKAGES.items():
        if (release := _version(package)) is None:
            continue
        found[package] = release
        try:
            if module is not None:
                load(module)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # an import of somebody's code may raise anything
            problems.append(
                f"{package} {release} is installed, but can't be imported ({one_line(error)}); "
                "install it again, or the libraries that it needs"
            )
    if find_spec("cv2") is None:  # found by its module: it has four packages
        problems.append(
            "OpenCV, which resizes frames, is missing; pip install opencv-python-headless"
        )
    if "onnxruntime" in found and "onnxruntime-gpu" in found:
        problems.append(
            "onnxruntime and onnxruntime-gpu are both installed, and the later one overwrote the "
            "other; pip uninstall onnxruntime onnxruntime-gpu, then install one of them"
        )
    return found


def _engines(bundle: Bundle, problems: list[str]) -> list[str]:
    """Check the plans of a bundle, wherever they run."""
    found: dict[str, list[str]] = {}
    for engine in bundle.manifest.engines:
        if engine.graph_sha256 != bundle.manifest.graphs[engine.graph].sha256:
            problems.append(f"{engine.file} was built from another graph; run mavos-build again")
            continue
        try:
            bundle.plan(engine)
        except MavosError as error:
            problems.append(one_line(error, None))
        else:
            built = f" built on {engine.gpu}" if engine.gpu else ""
            kind = f"{engine.library} {engine.version}, compute capability {engine.capability}"
            found.setdefault(kind + built, []).append(engine.graph)
    return [f"{kind}: {', '.join(sorted(graphs))}" for kind, graphs in found.items()]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except Exception:  # not there, or its metadata is damaged
        return None


def _gpu(problems: list[str]) -> dict[str, str | None] | None:
    try:
        gpu = first_gpu()
    except Exception as error:  # a driver that lacks a function of every driver
        problems.append(f"the NVIDIA driver can't be asked ({one_line(error)}); install it again")
        return None
    if gpu is None and _has_nvidia_card():
        problems.append(
            "there is an NVIDIA GPU, but its driver doesn't answer; install the driver, or start "
            "the container with --gpus all"
        )
    return None if gpu is None else asdict(gpu)


def _has_nvidia_card(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether the PCI bus shows one, with or without a driver. Linux only; not Jetson boards."""
    try:
        return any(
            (device / "vendor").read_text().strip() == NVIDIA
            and (device / "class").read_text().startswith(DISPLAY)
            for device in devices.iterdir()
        )
    except OSError:
        return False


def _try(kind: BackendKind, bundle: Bundle | None) -> Finding:
    tried = bundle is not None
    try:
        if bundle is None:
            kind.look_for()
        else:
            _segment(kind, bundle)
    except MavosError as error:
        return Finding(False, tried, one_line(error, None).removeprefix(f"{kind.name}: "))
    except Exception as error:  # a library that fails in a way that nothing foresaw
        reason = f"{type(error).__name__}: {one_line(error)}; install its package again"
        return Finding(False, tried, reason)
    return Finding(True, tried)


def _segment(kind: BackendKind, bundle: Bundle) -> None:
    """Load the graphs and run each of them."""
    with Segmenter(bundle, kind.open(bundle, None)) as segmenter:
        segmenter.warm_up()
