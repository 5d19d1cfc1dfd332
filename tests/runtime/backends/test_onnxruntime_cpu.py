"""ONNX Runtime on the CPU gives memory of other shapes back."""

from pathlib import Path
from typing import Any

import numpy as np

from mavos_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from mavos_deploy.runtime.bundles.bundle import Bundle


class _Session:
    """A session that notes the options of its runs."""

    def __init__(self, session: Any) -> None:  # noqa: ANN401
        self.session = session
        self.options: list[Any] = []

    def run(self, names: list[str], inputs: dict[str, Any], options: Any) -> Any:  # noqa: ANN401
        self.options.append(options)
        return self.session.run(names, inputs, options)


def test_memory_of_other_shapes_is_given_back(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    backend = OnnxRuntimeCpu(bundle, 1)
    [(spec, opened)] = backend._sessions["memory_write"]
    session = _Session(opened)
    backend._sessions["memory_write"] = [(spec, session)]
    for groups in (1, 1, 2, 2, 1):
        inputs = {
            tensor.name: np.zeros(tensor.shape_at(groups=groups), tensor.dtype)
            for tensor in bundle.specs["memory_write"].inputs
        }
        backend.run("memory_write", inputs)
    key = "memory.enable_memory_arena_shrinkage"
    asked = [options and options.get_run_config_entry(key) for options in session.options]
    assert asked == [None, None, "cpu:0", None, "cpu:0"]
