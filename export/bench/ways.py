"""The ways of running the PyTorch network that a bench compares with backends."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Way:
    """A way of running the PyTorch network.

    Attributes:
        name: Name in reports.
        tuned: Whether the network has this project's form; otherwise it has its authors' form.
        compiled: Whether torch.compile compiles the parts of a frame.
        growing: Whether every fifth frame is appended to the memory, as in DeAOT-L.
        half: Whether the network computes in float16, as a bundle of precision fp16 does.
    """

    name: str
    tuned: bool = False
    compiled: bool = False
    growing: bool = False
    half: bool = False


PYTORCH = {  # by the words of `mavos-bench --pytorch`
    "eager": Way("pytorch-eager"),
    "compiled": Way("pytorch-compiled", compiled=True),
    "tuned-eager": Way("pytorch-tuned-eager", tuned=True),
    "tuned-compiled": Way("pytorch-tuned-compiled", tuned=True, compiled=True),
}
GROWING = Way("pytorch-growing", tuned=True, growing=True)
