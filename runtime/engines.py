"""What a bundle says of its TensorRT engines, and which of them fits a machine."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mavos_deploy.errors import BackendError

LIBRARIES = ("tensorrt", "tensorrt_rtx")
# Compatibility of a plan with other GPUs, as TensorRT's HardwareCompatibilityLevel has it: none
# beyond its own capability, all GPUs of the capability, all from compute capability 8.0 on.
HARDWARE = ("none", "same-capability", "ampere-plus")
AMPERE = (8, 0)

Shape = tuple[int, ...]
# Smallest, best and largest shape of each input that varies.
Profile = dict[str, tuple[Shape, Shape, Shape]]


@dataclass(frozen=True)
class Flags:
    """How engines are built, beyond what the graph itself says.

    Attributes:
        tf32: Whether float32 products may round their factors to 10 bits.
        version_compatible: Whether later releases of the library may load the plan.
        hardware_compatible: One of `HARDWARE`.
        memory_limit: Of the scratch memory of a kernel, in MiB; None for the library's own.
    """

    tf32: bool = False
    version_compatible: bool = False
    hardware_compatible: str = "none"
    memory_limit: int | None = None


@dataclass(frozen=True)
class Engine:
    """A plan in the bundle, and everything that it was made from.

    Attributes:
        graph: Name of the graph.
        file: Of the plan, relative to the bundle, with forward slashes.
        sha256: Of the plan.
        graph_sha256: Of the ONNX file that it was built from.
        library: One of `LIBRARIES`.
        version: Of the library.
        capability: Compute capability that it was built for, such as `8.6`.
        gpu: Name of the GPU that it was built on; None where it was built ahead of time.
        driver: Version of that GPU's driver, likewise.
        flags: Of the build.
        profiles: Shapes that it takes, by optimisation profile; empty for a graph whose shapes are
            fixed.
    """

    graph: str
    file: str
    sha256: str
    graph_sha256: str
    library: str
    version: str
    capability: str
    gpu: str | None
    driver: str | None
    flags: Flags
    profiles: tuple[Profile, ...]

    @property
    def slot(self) -> tuple[str, str, str, str | None]:
        """A bundle holds one engine for each: graph, library, capability and model of GPU."""
        return self.graph, self.library, self.capability, self.gpu

    def made_like(self, other: "Engine") -> bool:
        """Whether building this one would give the other: all but the result and the driver."""
        return self == replace(other, file=self.file, sha256=self.sha256, driver=self.driver)

    def runs_on(self, capability: str) -> bool:
        """Whether a GPU of a compute capability may load it."""
        if self.flags.hardware_compatible == "ampere-plus":
            return capability_pair(capability) >= AMPERE
        return self.capability == capability

    def made_for(self, gpu: str | None) -> bool:
        """Whether its kernels were chosen for a GPU's like, if they were for one at all.

        Args:
            gpu: Name of a GPU; None for any.

        Source: NVIDIA TensorRT documentation, Engine Compatibility: engines of another model of
        the same capability may be slow, or fail.
        """
        compatible = self.flags.hardware_compatible != "none"
        return compatible or gpu is None or self.gpu in (None, gpu)

    def runs_with(self, version: str) -> bool:
        """Whether a release of its library may load it.

        A plan fits the release that built it; a version-compatible one also later releases, not
        earlier ones. Source: NVIDIA TensorRT documentation, Engine Compatibility.
        """
        if self.flags.version_compatible:
            return _numbers(version) >= _numbers(self.version)
        return self.version == version


def capability_pair(text: str) -> tuple[int, int]:
    """Major and minor number of a compute capability such as `8.6`.

    Raises:
        ValueError: It is no such text.
    """
    match = re.fullmatch(r"([1-9][0-9]?)\.([0-9])", text)
    if match is None:
        raise ValueError(f"compute capability {text!r:.20}; expected a number such as 8.6")
    return int(match[1]), int(match[2])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]+", version))


def parse_engine(data: Mapping[str, Any]) -> Engine:
    """Read an entry of a manifest.

    Raises:
        KeyError: Something is missing.
        TypeError: Something is of the wrong kind.
        ValueError: A value is unknown.
    """
    texts = {key: _typed(data[key], str) for key in _TEXTS}
    optional = {key: data[key] and _typed(data[key], str) for key in ("gpu", "driver")}
    flags = _typed(data["flags"], dict)
    limit = flags["memory_limit"]
    engine = Engine(
        **texts,
        **optional,
        flags=Flags(
            tf32=_typed(flags["tf32"], bool),
            version_compatible=_typed(flags["version_compatible"], bool),
            hardware_compatible=_typed(flags["hardware_compatible"], str),
            memory_limit=None if limit is None else _typed(limit, int),
        ),
        profiles=tuple(_profile(profile) for profile in _typed(data["profiles"], list)),
    )
    capability_pair(engine.capability)
    if engine.library not in LIBRARIES or engine.flags.hardware_compatible not in HARDWARE:
        raise ValueError(f"{engine.library} {engine.flags.hardware_compatible}")
    return engine


_TEXTS = ("graph", "file", "sha256", "graph_sha256", "library", "version", "capability")


def _profile(data: object) -> Profile:
    profile: Profile = {}
    for name, shapes in _typed(data, dict).items():
        smallest, best, largest = (
            tuple(_typed(extent, int) for extent in _typed(shape, list))
            for shape in _typed(shapes, list)
        )
        profile[name] = smallest, best, largest
    return profile


def _typed(value: object, kind: type) -> Any:  # noqa: ANN401
    if type(value) is not kind:
        raise TypeError(f"{value!r:.40} is not of type {kind.__name__}")
    return value


def check_shapes(engine: Engine, shapes: Mapping[str, Shape], path: str) -> None:
    """Refuse shapes that an engine wasn't built for, in words that say what to do.

    Args:
        engine: As the manifest has it.
        shapes: Of the inputs, by name.
        path: Of the bundle, for the message.

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
