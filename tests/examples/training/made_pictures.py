"""A file of pictures as `gather.py` writes it, made up."""

from pathlib import Path

import numpy as np


def write_pictures(file: Path) -> Path:
    rng = np.random.default_rng(0)
    things = {}
    for number in range(3):
        thing = rng.integers(0, 256, (60, 80, 4), np.uint8)
        rows, columns = np.mgrid[-1:1:60j, -1:1:80j]
        thing[..., 3] = 255 * (rows**2 + columns**2 < 0.8)
        things[f"thing_{number}"] = thing
    photos = {f"photo_{n}": rng.integers(0, 256, (150, 200, 3), np.uint8) for n in range(2)}
    np.savez(file, **things, **photos)  # type: ignore[arg-type]  # its stubs want a bool
    return file
