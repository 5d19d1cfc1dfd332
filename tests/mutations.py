"""Damaged mask and annotation files, and what is done with each: a target takes bytes.

    python -m tests.mutations [COUNT] [SEED]

reads so many damaged files, 10,000 by default, and fails at the first that gives neither labels nor
a refusal, or takes more than 10 seconds of processor time or 500 MB of memory.
"""

import io
import re
import resource
import signal
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np
from PIL import Image, ImageFilter

from mavos_deploy.errors import MavosError
from mavos_deploy.runtime.masks.formats.mots import MotsWriter
from mavos_deploy.runtime.masks.formats.store import MaskStore, StoreWriter
from mavos_deploy.runtime.masks.opening import read_annotations
from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.masks.pictures import read_mask
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend, MaskWriter
from tests.annotation_files import FILES, Labels, labelme
from tests.made_sequences import box, disc

COUNT = 10_000
MOST_SECONDS = 10  # of processor time, so that other programs do not count
MOST_MEMORY = 500  # MB above what the process had before the first file
SIZE = (40, 56)
EXTREMES = ("0", "-1", "1", "255", "256", "65536", "2147483648", "1e308", "99999999999999999999")


@dataclass(frozen=True)
class Target:
    """One kind of file, and the function that reads its bytes.

    Attributes:
        content: A whole file.
        read: Reads a file; may raise a MavosError and nothing else.
        text: Whether the file is text, so that its words are worth exchanging.
    """

    content: bytes
    read: Callable[[bytes], None]
    text: bool = False


def made_labels() -> Labels:
    """Two objects that touch, and a third one."""
    labels = np.zeros(SIZE, np.uint8)
    labels[disc(SIZE, 14, 16, 10)] = 1
    labels[box(SIZE, 18, 20, 14, 14)] = 2
    labels[disc(SIZE, 24, 46, 7)] = 3
    return labels


def _saved(image: Image.Image, suffix: str) -> bytes:
    file = io.BytesIO()
    options = {"lossless": True} if suffix == "webp" else {}
    image.save(file, suffix, **options)
    return file.getvalue()


def _pictures() -> dict[str, tuple[Image.Image, str]]:
    labels, colours = made_labels(), palette_colors(None)
    rgb, grey = Image.fromarray(colours[labels]), Image.fromarray(labels)
    palette = grey.copy()
    palette.putpalette(colours.tobytes())
    alpha = Image.fromarray(np.where(labels > 0, 255, 0).astype(np.uint8))
    binary = Image.fromarray((labels > 0).astype(np.uint8) * 255)
    return {
        "palette": (palette, "png"),
        "grey": (grey, "png"),
        "1-bit": (binary.convert("1"), "png"),
        "16-bit": (Image.fromarray(labels.astype(np.uint16)), "png"),
        "grey-alpha": (Image.merge("LA", [grey, alpha]), "png"),
        "rgb": (rgb, "png"),
        "rgba": (Image.merge("RGBA", [*rgb.split(), alpha]), "png"),
        "soft": (binary.filter(ImageFilter.GaussianBlur(1)), "png"),
        "smoothed": (
            rgb.resize((168, 120), Image.Resampling.NEAREST).filter(ImageFilter.GaussianBlur(0.7)),
            "png",
        ),
        "adaptive": (rgb.convert("P", palette=Image.Palette.ADAPTIVE, colors=4), "png"),
        "gif": (palette, "gif"),
        "tiff": (grey, "tiff"),
        "tiff-rgb": (rgb, "tiff"),
        "webp": (rgb, "webp"),
        "bmp": (palette, "bmp"),
    }


def _picture_reader(suffix: str) -> Callable[[bytes], None]:
    def read(content: bytes) -> None:
        labels = read_mask(Path(f"a.{suffix}"), None, content).labels
        assert labels.dtype == np.uint8
        assert labels.ndim == 2

    return read


def _annotation_reader(suffix: str) -> Callable[[bytes], None]:
    def read(content: bytes) -> None:
        for draw in read_annotations(Path(f"a{suffix}"), content).frames.values():
            labels = draw()
            assert labels.dtype == np.uint8
            assert labels.ndim == 2

    return read


def targets() -> dict[str, Target]:
    """Every kind of mask picture and annotation file."""
    frames = {"00000": made_labels(), "00003": made_labels()[::-1].copy()}
    found = {
        f"picture-{name}": Target(_saved(image, suffix), _picture_reader(suffix))
        for name, (image, suffix) in _pictures().items()
    }
    for name, (suffix, make) in FILES.items():
        found[name] = Target(make(frames), _annotation_reader(suffix), text=True)
    found["labelme"] = Target(labelme(made_labels()), _annotation_reader(".json"), text=True)
    mots = _written(lambda path: MotsWriter(path, Legend()), frames)
    found["mots"] = Target(mots, _annotation_reader(".txt"), text=True)
    found["store"] = Target(_written(lambda path: StoreWriter(path, Legend()), frames), _read_store)
    return found


def _written(open_writer: Callable[[Path], MaskWriter], frames: dict[str, Labels]) -> bytes:
    """The file that a writer makes of some frames."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "masks"
        with open_writer(path) as writer:
            for stem, labels in frames.items():
                writer.write(LabelledFrame(int(stem), stem, labels))
        return path.read_bytes()


def _read_store(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "masks"
        path.write_bytes(content)
        with MaskStore(path) as store:
            for _, labels in store.items():
                assert labels.dtype == np.uint8
                assert labels.ndim == 2


def mutated(target: Target, random: np.random.Generator) -> bytes:
    """A file with one to four changes, most with one."""
    content = target.content
    for _ in range(min(4, int(random.geometric(0.6)))):
        if target.text and random.random() < 0.8:
            content = _other_words(content, random)
        elif content.startswith(b"\x89PNG") and random.random() < 0.5:
            content = _other_chunk(content, random)
        else:
            content = _other_bytes(content, random)
    return content


def _other_bytes(content: bytes, random: np.random.Generator) -> bytes:
    """Change a bit, or change, remove, repeat or insert bytes, or cut the file off."""
    if not content:
        return content
    start = int(random.integers(0, len(content)))
    end = min(len(content), start + int(random.integers(1, 9)))
    noise = random.integers(0, 256, end - start, np.uint8).tobytes()
    if random.random() < 0.5:
        bit = content[start] ^ 1 << int(random.integers(0, 8))
        return content[:start] + bytes([bit]) + content[start + 1 :]
    return (
        content[:start] + noise + content[end:],
        content[:start] + content[end:],
        content[:end] + content[start:],
        content[:start] + noise + content[start:],
        content[:start],
    )[random.integers(0, 5)]


def _other_words(content: bytes, random: np.random.Generator) -> bytes:
    """Put another number or word of the file, or an extreme number, in place of one."""
    words = list(re.finditer(rb"[A-Za-z_]+|-?[0-9.]+|\[\]|null", content))
    if not words:
        return content
    word = words[random.integers(0, len(words))]
    other = words[random.integers(0, len(words))][0]
    if random.integers(0, 2):
        other = EXTREMES[random.integers(0, len(EXTREMES))].encode()
    return content[: word.start()] + other + content[word.end() :]


def _other_chunk(content: bytes, random: np.random.Generator) -> bytes:
    """Change a byte of a PNG's chunk, and its checksum likewise."""
    chunks, at = [], 8
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunks.append(content[at + 4 : at + 8 + length])
        at += 12 + length
    if not chunks:
        return content
    place = int(random.integers(0, len(chunks)))
    chunk = bytearray(chunks[place])
    chunk[random.integers(0, len(chunk))] = random.integers(0, 256)
    chunks[place] = bytes(chunk)
    parts = [
        struct.pack(">I", max(0, len(c) - 4)) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks
    ]
    return content[:8] + b"".join(parts)


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"a file took more than {MOST_SECONDS} seconds of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def try_mutations(target: Target, count: int, seed: int) -> tuple[int, int]:
    """Read damaged files of one kind.

    Returns:
        How many gave labels, and how many were refused.
    """
    random = np.random.default_rng(seed)
    read = 0
    for number in range(count):
        content = mutated(target, random)
        try:
            with _time_limit():
                target.read(content)
            read += 1
        except MavosError as error:
            if "\n" in str(error):
                raise ValueError(f"a message of several lines: {error}") from error
        except BaseException:
            file = Path(tempfile.gettempdir()) / "mutated.bin"
            file.write_bytes(content)
            sys.stderr.write(f"mutation {number} of seed {seed}, written to {file}\n")
            raise
    return read, count - read


def peak() -> float:
    """Most memory that this process had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Read damaged files of every kind."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    kinds = targets()
    for target in kinds.values():
        target.read(target.content)
    before = peak()
    for name, target in kinds.items():
        read, refused = try_mutations(target, -(-count // len(kinds)), seed)
        used = peak() - before
        print(f"{name}: {read} read, {refused} refused, {used:.0f} MB")
        assert used < MOST_MEMORY, f"{name} took {used:.0f} MB"


if __name__ == "__main__":
    main()
