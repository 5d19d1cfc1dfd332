"""Cuts files into pieces for a way that takes only small ones, and puts them together again.

    python tools/pieces.py cut wheels/ --size 36 --output pieces/
    python tools/pieces.py join pieces/ --output wheels/

The files of a folder are packed into one archive, compressed, and cut into numbered pieces of at
most so many megabytes. `pieces.sha256` beside them names each with its SHA-256, as `sha256sum
--check` reads it; a piece that is missing or altered is refused. Uses Python alone, so the other
side needs nothing installed.
"""

import argparse
import hashlib
import io
import lzma
import sys
import tarfile
from pathlib import Path

LIST = "pieces.sha256"
MEGABYTE = 1_000_000


def main() -> int:
    """Cut or join; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("cut", "folder of files"), ("join", "folder of pieces")):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path, help=what)
        command.add_argument("--output", type=Path, required=True, help="folder to write to")
        if name == "cut":
            command.add_argument("--size", type=int, default=36, help="megabytes of a piece")
    given = parser.parse_args()
    try:
        if given.command == "cut":
            for piece in cut(given.folder, given.output, given.size * MEGABYTE):
                print(piece)
        else:
            join(given.folder, given.output)
    except (OSError, ValueError, EOFError, lzma.LZMAError, tarfile.TarError) as error:
        print(f"pieces.py: {error}", file=sys.stderr)
        return 2
    return 0


def cut(folder: Path, output: Path, size: int) -> list[Path]:
    """Pack a folder's files and cut the archive.

    Args:
        folder: Folder whose files are packed; folders in it are, too.
        output: Folder for the pieces, which is made and must hold none yet.
        size: Bytes of a piece, at most.

    Returns:
        The pieces in order.

    Raises:
        ValueError: `output` has pieces already, or the folder has no files.
        OSError: A file can't be read or written.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise ValueError(f"{folder} holds no files; give the folder with what is to be carried")
    output.mkdir(parents=True, exist_ok=True)
    if (output / LIST).exists():
        raise ValueError(f"{output} has pieces already; give another folder")
    packed = io.BytesIO()
    with (
        lzma.open(packed, "wb", preset=6) as compressed,
        tarfile.open(fileobj=compressed, mode="w|") as archive,
    ):
        for file in files:
            archive.add(file, file.relative_to(folder).as_posix())
    content = packed.getbuffer()
    pieces, lines = [], []
    for number, start in enumerate(range(0, len(content), size), start=1):
        part = content[start : start + size]
        pieces.append(output / f"piece-{number:03}")
        pieces[-1].write_bytes(part)
        lines.append(f"{hashlib.sha256(part).hexdigest()}  {pieces[-1].name}\n")
    (output / LIST).write_text("".join(lines), encoding="utf-8")
    return pieces


def join(folder: Path, output: Path) -> None:
    """Put pieces together and unpack them.

    Args:
        folder: Folder with the pieces and their list.
        output: Folder to unpack into, which is made.

    Raises:
        ValueError: The list is damaged, or a piece is missing or altered.
        OSError: A file can't be read or written.
    """
    packed = io.BytesIO()
    listed = (folder / LIST).read_text(encoding="utf-8").splitlines()
    if not all(line.count("  ") == 1 for line in listed or [""]):
        raise ValueError(f"{folder / LIST} is no list of pieces; carry it over again")
    for line in listed:
        wanted, name = line.split("  ")
        piece = folder / Path(name).name
        if not piece.is_file():
            raise ValueError(f"{piece} is missing; carry it over, too")
        content = piece.read_bytes()
        if hashlib.sha256(content).hexdigest() != wanted:
            raise ValueError(f"{piece} is not what was cut; carry it over again")
        packed.write(content)
    packed.seek(0)
    with (
        lzma.open(packed, "rb") as compressed,
        tarfile.open(fileobj=compressed, mode="r|") as archive,
    ):
        archive.extractall(output, filter="data")


if __name__ == "__main__":
    sys.exit(main())
