"""Average two trainings' weights, number by number, as those of `lite` that ship were made.

    python -m examples.training.average one.safetensors other.safetensors --output mean.safetensors

It pays where one training went on from the other: their weights lie close to each other, and the
mean may be better than both.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from mavos_deploy.runtime.system.files import replacing


def average(first: Path, second: Path, target: Path) -> None:
    """Write the mean of two files of weights, made in float32, in the first one's types.

    Args:
        first: Weights as `train.py --export` writes them.
        second: Weights of the same network.
        target: File to write.

    Raises:
        SystemExit: The files are of different networks.
    """
    one, other = load_file(first), load_file(second)
    if {key: value.shape for key, value in one.items()} != {
        key: value.shape for key, value in other.items()
    }:
        raise SystemExit(f"{first} and {second} are weights of different networks")
    mean = {
        key: torch.lerp(value.float(), other[key].float(), 0.5).to(value.dtype)
        for key, value in one.items()
    }
    with replacing(target) as temporary:
        temporary.write_bytes(save(mean))


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    average(given.first, given.second, given.output)


if __name__ == "__main__":
    main()
