"""Gather the pictures that `lite` is trained on, as `pictures.csv` lists them.

    apt-get download tuxpaint-stamps-default mate-backgrounds ...    # the packages of pictures.csv
    for package in *.deb; do dpkg-deb -x $package sources; done
    pip download --no-deps scikit-image scikit-learn
    for wheel in *.whl; do unzip -q $wheel -d sources; done
    python -m examples.training.gather sources pictures.npz

Every row of the list has the picture's package, path, licence, author and SHA-256. A picture with
another hash is refused, and nothing outside of the list is read.
"""

import argparse
import csv
import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mavos_deploy.runtime.system.files import replacing

Bytes = NDArray[np.uint8]

LIST = Path(__file__).with_name("pictures.csv")
LICENCES = {
    "public domain",
    "CC0-1.0",
    "CC-BY-2.0",
    "CC-BY-4.0",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
}  # those that let weights be passed on, also commercially
THING_SIDE = 360  # pixels, the longest side of a cut-out
PHOTO_SIDE = 900  # pixels, the longest side of a photograph
SKY = (150, 180, 215, 255)  # behind photographs that are transparent where the sky was


@dataclass(frozen=True)
class Source:
    """A row of the list.

    Attributes:
        kind: `thing`, a cut-out with an alpha channel, or `photo`.
        package: Debian or PyPI package that ships the picture.
        path: Path in the unpacked package; behind a `#`, the path in that archive.
        licence: SPDX identifier, or `public domain`.
        author: Name to credit.
        sha256: Hash of the file.
    """

    kind: str
    package: str
    path: str
    licence: str
    author: str
    sha256: str


def sources() -> list[Source]:
    """Read the list."""
    with LIST.open(encoding="utf-8", newline="") as file:
        return [Source(**row) for row in csv.DictReader(file)]


def load(source: Source, folder: Path) -> Image.Image:
    """Read one picture, if it is the listed one.

    Raises:
        SystemExit: The file is missing or has another hash.
    """
    path, _, member = source.path.partition("#")
    try:
        data = (folder / path).read_bytes()
        if member:
            data = zipfile.ZipFile(io.BytesIO(data)).read(member)
    except (OSError, KeyError) as error:
        raise SystemExit(f"{source.package}: {error}; unpack the package into {folder}") from None
    if hashlib.sha256(data).hexdigest() != source.sha256:
        raise SystemExit(f"{source.path} is another version than {LIST.name} lists")
    return Image.open(io.BytesIO(data))


def thing(picture: Image.Image) -> Bytes:
    """Crop a cut-out to what is opaque, RGBA uint8 [height, width, 4]."""
    picture = picture.convert("RGBA")
    picture = picture.crop(picture.getchannel("A").getbbox())
    picture.thumbnail((THING_SIDE, THING_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def photo(picture: Image.Image) -> Bytes:
    """Reduce a photograph, RGB uint8 [height, width, 3]."""
    if picture.mode in ("RGBA", "LA", "P"):
        picture = picture.convert("RGBA")
        picture = picture.crop(picture.getchannel("A").getbbox())
        behind = Image.new("RGBA", picture.size, SKY)
        behind.alpha_composite(picture)
        picture = behind
    picture = picture.convert("RGB")
    scale = PHOTO_SIDE / max(picture.size)
    if scale < 1:
        size = round(picture.width * scale), round(picture.height * scale)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(picture)


def gather(folder: Path, target: Path) -> None:
    """Write all listed pictures into one npz file, named `thing_0`, `photo_0` and so on."""
    listed = sources()
    refused = sorted({row.licence for row in listed} - LICENCES)
    if refused:
        raise SystemExit(f"{LIST.name} has licences that are not allowed: {', '.join(refused)}")
    reduce = {"thing": thing, "photo": photo}
    arrays: dict[str, Bytes] = {}
    for row in listed:
        number = sum(name.startswith(row.kind) for name in arrays)
        arrays[f"{row.kind}_{number}"] = reduce[row.kind](load(row, folder))
    with replacing(target) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stubs want a bool
    print(f"{target}: {len(arrays)} pictures")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("sources", type=Path, help="folder with the unpacked packages")
    parser.add_argument("output", type=Path, help="npz file to write")
    arguments = parser.parse_args()
    gather(arguments.sources, arguments.output)


if __name__ == "__main__":
    main()
