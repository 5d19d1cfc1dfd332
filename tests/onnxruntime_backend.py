"""A stand-in for Triton's ONNX Runtime backend, which the server of the tests doesn't have.

As the real one it refuses a model whose configuration departs from its graph.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb

TYPES = {
    "tensor(float)": "TYPE_FP32",
    "tensor(float16)": "TYPE_FP16",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(int32)": "TYPE_INT32",
}


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        folder = Path(args["model_repository"]) / args["model_version"]
        self.session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        for side, tensors in (
            ("input", self.session.get_inputs()),
            ("output", self.session.get_outputs()),
        ):
            given = {t["name"]: (t["data_type"], list(map(int, t["dims"]))) for t in config[side]}
            found = {
                t.name: (TYPES[t.type], [d if isinstance(d, int) else -1 for d in t.shape])
                for t in tensors
            }
            if given != found:
                raise pb.TritonModelException(f"{side}: {given} is not {found}")

    def execute(self, requests: list[Any]) -> list[Any]:
        responses = []
        for request in requests:
            names = request.requested_output_names()
            inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            outputs = self.session.run(names, inputs)
            tensors = [
                pb.Tensor(name, np.ascontiguousarray(output))
                for name, output in zip(names, outputs, strict=True)
            ]
            responses.append(pb.InferenceResponse(output_tensors=tensors))
        return responses
