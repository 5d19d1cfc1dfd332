"""The wire between client and server: the tracker model's tensors, limits and parameters.

The generator writes the model's configuration from here, the tracker and the client speak it, and
the lint compares a repository with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from mavos_deploy.errors import InputError

TRACKER = "mavos"  # default name of the model that users call
BUNDLE = "bundle"  # folder of the bundle inside the tracker's version folder
VERSION = "1"  # the one version of every model

# Objects of Triton's libraries, which carry no types and must not be imported to name them.
Untyped = Any

# Control tensors that Triton fills in from a request's sequence flags.
START, END, STREAM = "START", "END", "CORRID"
CONTROLS = (START, END, STREAM)

# Part of Triton's error for a stream that it doesn't know: never started, idle for too long, or
# started before the server was.
UNKNOWN_STREAM = "must specify the START flag"


@dataclass(frozen=True)
class WireTensor:
    """A tensor of the tracker model; -1 in its shape may vary from request to request.

    Attributes:
        name: Name of the tensor.
        dtype: Triton's name without `TYPE_`.
        shape: Extents, without a batch axis, which the model doesn't have.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


INPUTS = (
    WireTensor("frame", "UINT8", (-1, -1, 3)),
    WireTensor("frame_file", "STRING", (1,)),  # in place of `frame`: a JPEG or PNG file
    WireTensor("labels", "UINT8", (-1, -1)),  # ids at START; later new and corrected objects
    WireTensor("labels_file", "STRING", (1,)),  # in place of `labels`: a palette or grey PNG file
    WireTensor("remove", "UINT8", (-1,)),  # ids of objects to stop following, before the frame
    WireTensor("frame_index", "INT64", (1,)),  # frames before this one; repeats are answered again
)
OUTPUTS = (
    WireTensor("labels", "UINT8", (-1, -1)),
    WireTensor("labels_file", "STRING", (1,)),  # the labels as a palette PNG file
    WireTensor("objects", "UINT8", (-1,)),  # ids being followed after this frame
    WireTensor("ids", "UINT8", (-1,)),  # ids that the memory has a place for
    WireTensor("frame_index", "INT64", (1,)),  # index of the frame that was answered
    WireTensor("confidence", "FP32", (-1,)),  # in the masks of `objects`, 0..1; NaN for unknown
)
LATER = ("confidence",)  # outputs that repositories of earlier releases lack

DTYPES = {
    "UINT8": np.dtype(np.uint8),
    "INT64": np.dtype(np.int64),
    "FP32": np.dtype(np.float32),
    "STRING": np.dtype(np.object_),
}


def check_array(name: str, array: object, tensors: tuple[WireTensor, ...] = INPUTS) -> None:
    """Refuse an array that is not what one of the tensors has to be.

    Args:
        name: Name of the tensor.
        array: What came.
        tensors: `INPUTS` or `OUTPUTS`.

    Raises:
        InputError: There is no such tensor, or the type or shape is another.
    """
    tensor = next((tensor for tensor in tensors if tensor.name == name), None)
    if tensor is None:
        raise InputError(f"{name!r:.40} is no tensor of the tracker model")
    shape, dtype = getattr(array, "shape", ()), getattr(array, "dtype", None)
    fits = len(shape) == len(tensor.shape) and all(
        want in (-1, given) for want, given in zip(tensor.shape, shape, strict=True)
    )
    text = tensor.dtype != "STRING" or (fits and isinstance(array[0], bytes))  # type: ignore[index]
    if dtype != DTYPES[tensor.dtype] or not fits or not text:
        extents = ["any" if extent == -1 else extent for extent in tensor.shape]
        raise InputError(
            f"{name} is {dtype or type(array).__name__} {list(shape)}; expected {tensor.dtype} "
            f"[{', '.join(map(str, extents))}]"
        )


@dataclass(frozen=True)
class StreamLimits:
    """Limits of one instance of the tracker, which bound its memory.

    Attributes:
        max_streams: Streams followed at once; a further START is refused.
        max_objects: Most objects in one stream, including removed ones.
        max_pixels: Largest frame accepted, in pixels.
        idle_seconds: Time without a frame after which a stream's state is dropped.
    """

    max_streams: int = 16
    max_objects: int = 40
    max_pixels: int = 4096 * 2304
    idle_seconds: float = 60.0

    def parameters(self) -> dict[str, str]:
        """The limits as parameters of a model configuration."""
        return {field.name: str(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> "StreamLimits":
        """Read limits out of the parameters of a model configuration.

        Raises:
            InputError: A limit is missing or no positive number.
        """
        values: dict[str, float] = {}
        for field in fields(cls):
            text = parameters.get(field.name, "")
            try:
                value = float(text) if field.name == "idle_seconds" else int(text)
            except ValueError:
                value = 0
            if not 0 < value < 2**53:
                raise InputError(
                    f"parameter {field.name} is {text!r:.40}; expected a positive number, such as "
                    f"{field.default}"
                )
            values[field.name] = value
        return cls(**values)  # type: ignore[arg-type]
