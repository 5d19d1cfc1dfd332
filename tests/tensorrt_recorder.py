"""A stand-in for TensorRT that builds nothing and notes what it is told."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mavos_deploy.export.tensorrt_build import Task
from mavos_deploy.hashing import file_sha256
from mavos_deploy.runtime.bundles.engines import Engine, Flags, Library


def task_of(folder: Path, timing_cache: Path | None = None, **changes: Any) -> Task:  # noqa: ANN401
    engine = Engine(
        graph="a",
        file="",
        sha256="",
        graph_sha256=file_sha256(folder / "a.onnx") if (folder / "a.onnx").exists() else "",
        library=Library.TENSORRT,
        version="10.3.0",
        capability="8.6",
        gpu=None,
        driver=None,
        flags=Flags(),
        profiles=(),
    )
    return Task(replace(engine, **changes), folder / "a.onnx", timing_cache, folder / "a.plan")


class Recorder:
    """Stands for TensorRT: notes what is called, in order, and answers as told."""

    def __init__(self, **answers: Any) -> None:  # noqa: ANN401
        self.calls: list[tuple[Any, ...]] = []
        self.answers = answers
        severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)
        self.ILogger = type("ILogger", (), {"Severity": severity, "__init__": lambda self: None})
        self.BuilderFlag = SimpleNamespace(TF32="TF32", VERSION_COMPATIBLE="VERSION_COMPATIBLE")
        self.MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        levels = {"NONE": 0, "AMPERE_PLUS": 1}
        features = {"RUNTIME_ACTIVATION_RESIZE_10_10": 2}
        self.PreviewFeature = SimpleNamespace(__members__=features)
        self.HardwareCompatibilityLevel = SimpleNamespace(__members__=levels)
        self.__version__ = "10.3.0"

    def Builder(self, logger: Any) -> "Recorder":  # noqa: ANN401
        self.logger = logger
        return self

    def OnnxParser(self, network: object, logger: object) -> "Recorder":
        return self

    def create_network(self, flags: int) -> "Recorder":
        self.calls.append(("create_network", flags))
        return self

    def create_builder_config(self) -> "Recorder":
        return self

    def create_optimization_profile(self) -> "Recorder":
        return self

    def get_timing_cache(self) -> "Recorder":
        return self

    def serialize(self) -> bytes:
        return b"timings"

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        def call(*arguments: Any) -> Any:  # noqa: ANN401
            self.calls.append((name, *arguments))
            if name in self.answers:
                return self.answers[name](self, *arguments)
            plain = {"parse": True, "add_optimization_profile": 0, "set_timing_cache": True}
            return b"plan" if name == "build_serialized_network" else plain.get(name)

        return call
