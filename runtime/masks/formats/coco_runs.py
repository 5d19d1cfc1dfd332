"""Run lengths as COCO compresses them, by pycocotools."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError


def check_pycocotools() -> None:
    """Refuse to go on without the library.

    Raises:
        InputError: It is missing or can't be imported; the message names the extra.
    """
    try:
        import pycocotools.mask  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"COCO, YouTube-VIS and MOTS files and polygons need pycocotools ({error}); "
            "pip install 'mavos-deploy[annotations]'"
        ) from None


def encode(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask as `{"size": [height, width], "counts": "..."}`.

    Args:
        mask: Shape (H, W).
    """
    from pycocotools import mask as coco

    packed = coco.encode(np.asfortranarray(mask.view(np.uint8)))
    return {"size": list(mask.shape), "counts": packed["counts"].decode("ascii")}
