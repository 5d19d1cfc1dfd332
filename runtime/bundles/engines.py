"""TensorRT engines in a bundle: what the manifest says of each, and which one fits a machine."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Annotated

from msgspec import Meta

from mavos_deploy.errors import BackendError
from mavos_deploy.words import Word

AMPERE = (8, 0)  # compute capability

Shape = tuple[int, ...]
# Smallest, best and largest shape of each input that varies.
Profile = dict[str, tuple[Shape, Shape, Shape]]


class Library(Word):
    """Libraries that build and load engines."""

    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt_rtx"


class Hardware(Word):
    """Other GPUs that may load an engine, as in TensorRT's HardwareCompatibilityLevel."""

    NONE = "none"  # those of the same model
    SAME_CAPABILITY = "same-capability"
    AMPERE_PLUS = "ampere-plus"  # all from compute capability 8.0 on


@dataclass(frozen=True)
class Flags:
    """How engines are built, beyond what the graph itself says.

    Attributes:
        tf32: Whether float32 products may round their factors to 10 bits.
        version_compatible: Whether later releases of the library may load the plan.
        hardware_compatible: GPUs of other models that may load the plan.
        memory_limit: Scratch memory that a kernel may use, in MiB; None for the library's limit.
        user_allocation: Whether an engine allocates nothing while it runs, as TensorRT-RTX wants it
            where launches are captured.
        own_gpu: Whether TensorRT-RTX built it for the GPU that was there, and not by the number of
            a compute capability, for which some kernels are slower.
    """

    tf32: bool = False
    version_compatible: bool = False
    hardware_compatible: Hardware = Hardware.NONE
    memory_limit: Annotated[int, Meta(ge=1)] | None = None
    user_allocation: bool = False
    own_gpu: bool = False


@dataclass(frozen=True)
class Engine:
    """A plan in the bundle, and everything that it was made from.

    Attributes:
        graph: Name of the graph.
        file: Path of the plan in the bundle, with forward slashes.
        sha256: SHA-256 of the plan.
        graph_sha256: SHA-256 of the ONNX file that it was built from.
        library: The library that built it.
        version: Release of that library.
        capability: Compute capability that it was built for, such as `8.6`.
        gpu: Name of the GPU that it was built on; None where it was built ahead of time.
        driver: Version of that GPU's driver; None where it was built ahead of time.
        flags: How it was built.
        profiles: Shapes that it takes, by optimisation profile; empty for a graph whose shapes are
            fixed.
    """

    graph: str
    file: str
    sha256: str
    graph_sha256: str
    library: Library
    version: str
    capability: str
    gpu: str | None
    driver: str | None
    flags: Flags
    profiles: tuple[Profile, ...]

    def __post_init__(self) -> None:
        capability_pair(self.capability)

    @property
    def slot(self) -> tuple[str, str, str, str | None]:
        """A bundle holds one engine for each: graph, library, capability and model of GPU."""
        return self.graph, self.library, self.capability, self.gpu

    def made_like(self, other: "Engine") -> bool:
        """Whether building this one would give the other: all but the result and the driver."""
        return self == replace(other, file=self.file, sha256=self.sha256, driver=self.driver)

    def runs_on(self, capability: str) -> bool:
        """Whether a GPU of a compute capability may load it."""
        if self.flags.hardware_compatible == Hardware.AMPERE_PLUS:
            return capability_pair(capability) >= AMPERE
        return self.capability == capability

    def made_for(self, gpu: str | None) -> bool:
        """Whether its kernels were chosen for a model of GPU, if they were for one at all.

        Args:
            gpu: Name of a GPU; None for any.

        Source: NVIDIA TensorRT documentation, Engine Compatibility: engines of another model of
        the same capability may be slow, or fail.
        """
        compatible = self.flags.hardware_compatible != Hardware.NONE
        return compatible or gpu is None or self.gpu in (None, gpu)

    def runs_with(self, version: str) -> bool:
        """Whether a release of its library may load it.

        A plan fits the release that built it; a version-compatible one also later releases, not
        earlier ones. Source: NVIDIA TensorRT documentation, Engine Compatibility.
        """
        if self.flags.version_compatible:
            return _numbers(version) >= _numbers(self.version)
        return self.version == version


class Why(Enum):
    """The first reason why no engine of a graph and a library fits a machine."""

    CAPABILITY = auto()  # none runs on the compute capability
    VERSION = auto()  # the library's release can't load it
    GRAPH = auto()  # it was built from another graph
    GPU = auto()  # its kernels were chosen for another model of GPU


@dataclass(frozen=True)
class Misfit:
    """Why no engine can be taken.

    Attributes:
        why: The reason.
        engines: The engine that comes nearest; with `CAPABILITY` all of the graph and library.
    """

    why: Why
    engines: tuple[Engine, ...]


def choose(
    engines: Iterable[Engine],
    *,
    graph: str,
    graph_sha256: str,
    library: str,
    version: str,
    capability: str,
    gpu: str | None = None,
) -> Engine | Misfit:
    """The engine of a graph that fits a machine best, or why none fits.

    Args:
        engines: Engines of a bundle.
        graph: Name of the graph.
        graph_sha256: SHA-256 of its ONNX file.
        library: The library that is to load the engine.
        version: Release of that library.
        capability: Compute capability of the GPU, such as `8.6`.
        gpu: Name of the GPU; None accepts an engine that was built on another model.
    """
    of_graph = [engine for engine in engines if (engine.graph, engine.library) == (graph, library)]
    # An engine for this very capability and GPU comes before those that are merely compatible;
    # where none can be loaded, it tells why.
    nearest = min(
        (engine for engine in of_graph if engine.runs_on(capability)),
        key=lambda engine: (
            not (engine.runs_with(version) and engine.made_for(gpu)),
            engine.capability != capability,
            engine.gpu != gpu,
        ),
        default=None,
    )
    if nearest is None:
        return Misfit(Why.CAPABILITY, tuple(of_graph))
    if not nearest.runs_with(version):
        return Misfit(Why.VERSION, (nearest,))
    if nearest.graph_sha256 != graph_sha256:
        return Misfit(Why.GRAPH, (nearest,))
    if not nearest.made_for(gpu):
        return Misfit(Why.GPU, (nearest,))
    return nearest


def capability_pair(text: str) -> tuple[int, int]:
    """Major and minor number of a compute capability such as `8.6`.

    Raises:
        ValueError: The text is no compute capability.
    """
    match = re.fullmatch(r"([1-9][0-9]?)\.([0-9])", text)
    if match is None:
        raise ValueError(f"compute capability {text!r:.20}; expected a number such as 8.6")
    return int(match[1]), int(match[2])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]+", version))


def check_shapes(engine: Engine, shapes: Mapping[str, Shape], path: str) -> None:
    """Refuse shapes that an engine wasn't built for, in words that say what to do.

    Args:
        engine: The engine.
        shapes: Shapes of the graph's inputs by name.
        path: Path of the bundle, for the message.

    Raises:
        BackendError: A shape is outside of its range.
    """
    for profile in engine.profiles:
        for name, (smallest, _, largest) in profile.items():
            shape = shapes[name]
            pairs = zip(smallest, shape, largest, strict=True)
            if not all(low <= extent <= high for low, extent, high in pairs):
                raise BackendError(
                    f"the engine of {engine.graph} takes {name} from {_text(smallest)} to "
                    f"{_text(largest)}, not {_text(shape)}; build for more objects or larger "
                    f"videos with mavos-build {path} --max-groups or --max-output"
                )


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))
