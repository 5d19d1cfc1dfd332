"""What float16 sums would change: a bundle's graphs with every sum rounded, against PyTorch.

    python -m benchmarks.half_sums tiny-97x97-fp16 --output half_sums.json

TensorRT chooses how it sums up float16 products, and tensor cores with float16 accumulators are
quicker on GeForce GPUs. Here the bundle's graphs run in PyTorch in float16, and every matrix
product and convolution of float16 values rounds its sum to float16 after each 16 products, as such
tensor cores do. Products that the graphs compute in float32 stay as they are. The comparison is
that of `mavos-verify`: every graph on PyTorch's inputs in float32, and the chain on its own masks.
Exits with 1 if it is beyond the limits of fp16.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mavos_deploy.errors import MavosError
from mavos_deploy.export.graphs import form_of
from mavos_deploy.export.networks import network_of
from mavos_deploy.export.verify import verify
from mavos_deploy.models.half import half_precision
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.runtime.backends.protocol import Array, Traits
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.system.files import replacing

STEP = 16  # products that a tensor core sums up before it rounds
# How names of operations begin that sum up products; each of them must have a form here.
SUMMING = (
    *("mm", "bmm", "addm", "addb", "badd", "mv", "dot", "vdot", "matmul", "einsum", "linear"),
    *("conv", "_conv", "mkldnn", "_scaled_dot"),
)


def half_sum(left: Tensor, right: Tensor) -> Tensor:
    """Multiply, rounding the sum to float16 after each `STEP` products.

    Args:
        left: Matrices in float16, [..., N, K].
        right: Matrices in float16, [..., K, M].

    Returns:
        The products in float16, [..., N, M].
    """
    left, right = left.float(), right.float()
    total = torch.zeros((), dtype=torch.float16)
    for first in range(0, left.shape[-1], STEP):
        part = left[..., first : first + STEP] @ right[..., first : first + STEP, :]
        total = (total.float() + part).half()
    return total


def half_addmm(bias: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """`torch.addmm` by `half_sum`; the bias is added at the end, [..., N, M] or broadcastable."""
    return half_sum(left, right) + bias


def half_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
) -> Tensor:
    """`torch.convolution` of [B, C, H, W] as a matrix product by `half_sum`."""
    assert not transposed, "the networks have no transposed convolutions"
    del output_padding
    sides = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, p, d, k, s in zip(
            x.shape[2:], padding, dilation, weight.shape[2:], stride, strict=True
        )
    ]
    kernel = tuple(weight.shape[2:])
    patches = F.unfold(x.float(), kernel, tuple(dilation), tuple(padding), tuple(stride)).half()
    grouped = patches.reshape(len(x), groups, -1, patches.shape[-1])
    matrices = weight.reshape(groups, len(weight) // groups, -1)
    out = half_sum(matrices, grouped).reshape(len(x), len(weight), *sides)
    return out if bias is None else out + bias[:, None, None]


FORMS: dict[object, Callable[..., Tensor]] = {
    torch.ops.aten.mm.default: half_sum,
    torch.ops.aten.bmm.default: half_sum,
    torch.ops.aten.addmm.default: half_addmm,
    torch.ops.aten.baddbmm.default: half_addmm,
    torch.ops.aten.convolution.default: half_convolution,
}


class HalfSums(TorchDispatchMode):
    """Computes what sums up float16 products by the forms here.

    Attributes:
        count: Operations that were computed so.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self,
        function: Any,  # noqa: ANN401  # an operation of PyTorch
        types: object,
        arguments: tuple[Any, ...] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run an operation."""
        del types
        given = [value for value in arguments if isinstance(value, Tensor)]
        if any(value.dtype == torch.float16 for value in given):
            if form := FORMS.get(function):
                self.count += 1
                return form(*arguments, **(options or {}))
            name = str(function).removeprefix("aten.")
            assert not name.startswith(SUMMING), f"{name} has no form here"
        return function(*arguments, **(options or {}))


class HalfSumsBackend:
    """A bundle's graphs in PyTorch, in float16 and with float16 sums; see `Backend`.

    Args:
        bundle: An opened bundle in float16.
        network: Its network, in float32.
    """

    def __init__(self, bundle: Bundle, network: Mavos) -> None:
        self.traits = Traits("pytorch-half-sums", "fp16", any_shape=True)
        self.sums = HalfSums()
        self._specs = bundle.specs
        half = half_precision(network)
        target = bundle.manifest.target
        self._graphs = {n: form_of(spec, target)(half).eval() for n, spec in bundle.specs.items()}

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        spec = self._specs[graph]
        given = [inputs[tensor.name] for tensor in spec.inputs]
        # As they are exported: sums over tokens are float32 there.
        exporting = patch("torch.compiler.is_exporting", lambda: True)
        with torch.no_grad(), exporting, self.sums:
            results = self._graphs[graph](*given)
        names = [tensor.name for tensor in spec.outputs]
        return dict(zip(names, results, strict=True))

    def upload(self, array: Array) -> Tensor:
        """See `Backend.upload`."""
        return torch.from_numpy(np.array(array))

    def download(self, tensor: Tensor) -> Array:
        """See `Backend.download`."""
        array: Array = tensor.numpy()
        return array

    def close(self) -> None:
        """See `Backend.close`."""
        self._graphs.clear()


def main() -> int:
    """Compare, and print the worst tensor of each graph; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path, help="a bundle in float16")
    parser.add_argument("--checkpoint", type=Path, help="file that it was exported from")
    parser.add_argument("--output", type=Path, help="write the comparison as JSON")
    given = parser.parse_args()
    try:
        bundle = Bundle.open(given.bundle)
        network = network_of(bundle.manifest, given.checkpoint)
        backend = HalfSumsBackend(bundle, network)
        with Segmenter(bundle, backend) as segmenter:
            parity = verify(segmenter, network)
    except MavosError as error:
        print(f"half_sums.py: {error}", file=sys.stderr)
        return 2
    report = {
        "variant": bundle.manifest.variant,
        "size": "x".join(map(str, bundle.manifest.size)),
        "products_before_rounding": STEP,
        "operations": backend.sums.count,
        **parity.to_dict(),
    }
    if given.output:
        with replacing(given.output) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n")
    for graph in parity.tensors:
        worst = parity.worst(graph)
        print(f"{graph}: {worst.tensor} {worst.relative:.1e} at frame {worst.frame}")
    print(f"equal pixels in the worst frame: {parity.worst_agreement:.3%}")
    print("PASSED" if parity.passed else "FAILED")
    return 0 if parity.passed else 1


if __name__ == "__main__":
    sys.exit(main())
