"""benchmarks/half_sums.py computes what PyTorch computes, but for the rounding of its sums."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.half_sums import STEP, HalfSums, half_sum


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))).half()


CASES: dict[str, Callable[[], Tensor]] = {
    "product": lambda: random(5, 40) @ random(40, 7),
    "batch": lambda: random(2, 5, 40) @ random(2, 40, 7),
    "linear": lambda: F.linear(random(5, 40), random(7, 40), random(7)),
    "convolution": lambda: F.conv2d(random(1, 6, 9, 8), random(4, 6, 3, 3), random(4), 2, 1),
    "wide": lambda: F.conv2d(random(2, 6, 9, 8), random(4, 6, 3, 3), None, 1, 2, 2),
    "groups": lambda: F.conv2d(random(1, 6, 9, 8), random(12, 1, 5, 5), random(12), 1, 2, 1, 6),
}


@pytest.mark.parametrize("case", CASES)
def test_a_form_computes_what_it_stands_for(case: str) -> None:
    expected = CASES[case]()
    with torch.no_grad(), HalfSums() as sums:
        got = CASES[case]()
    assert sums.count == 1
    # Some 60 products of size 1 in float16: four roundings of a sum of at most 32.
    torch.testing.assert_close(got, expected, rtol=0, atol=4 * 2.0**-6)


def test_a_sum_is_rounded_after_each_step() -> None:
    left = torch.ones(1, 3 * STEP).half()
    right = torch.cat([torch.full((STEP, 1), 128.0), torch.full((2 * STEP, 1), 0.05)]).half()
    assert float(left @ right) == 2050  # 2048 and 1.6, which float16 holds in steps of two
    assert float(half_sum(left, right)) == 2048  # 0.8 at a time is lost


def test_values_in_float32_are_left_alone() -> None:
    with torch.no_grad(), HalfSums() as sums:
        random(5, 40).float() @ random(40, 7).float()
    assert sums.count == 0


def test_what_has_no_form_is_found() -> None:
    with (
        torch.no_grad(),
        HalfSums(),
        pytest.raises(AssertionError, match=r"^mv\.default has no form here"),
    ):
        torch.mv(random(5, 40), random(40))
