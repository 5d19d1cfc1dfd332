"""Make long sequences of a data set's short ones: forward, backward, forward, and so on.

    python examples/make_ping_pong.py davis --sequences bear,bus --frames 600 --output long
    mavos-eval BUNDLE long
    mavos-eval BUNDLE davis --sequences bear,bus

Truth exists for every frame, so a score over all of them beside the score of a single pass tells
whether a tracker decays. The new folder has the layout of DAVIS 2017 and links to the pictures.
"""

import argparse
import sys
from itertools import chain, cycle, islice
from pathlib import Path

from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.runtime.datasets.annotations import Truth
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.system.files import replacing_directory

RESOLUTION = "480p"  # the folder's name in DAVIS, whatever the size is


def main() -> int:
    """Parse the command line and write the folder; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("dataset", type=Path, help="data set with every frame annotated")
    parser.add_argument("--split", help="part of the data set (default: val or the only one)")
    parser.add_argument("--sequences", help="names, with commas between them (default: all)")
    parser.add_argument("--frames", type=int, default=600, help="of each (default: 600)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="new folder")
    arguments = parser.parse_args()
    try:
        _write(arguments)
    except MavosError as error:
        print(f"make_ping_pong.py: {error}", file=sys.stderr)
        return 2
    print(f"wrote {arguments.output}")
    return 0


def _write(arguments: argparse.Namespace) -> None:
    names = arguments.sequences.split(",") if arguments.sequences else None
    dataset = open_dataset(arguments.dataset, split=arguments.split)
    found = {sequence.name: sequence for sequence in dataset.sequences}
    if unknown := sorted(set(names or ()) - found.keys()):
        raise InputError(f"{arguments.dataset} has no sequence {', '.join(unknown)}")
    if arguments.output.exists():
        raise InputError(f"{arguments.output} exists; choose another --output")
    chosen = [found[name] for name in names or found]
    with replacing_directory(arguments.output, overwrite=False) as folder:
        for sequence in chosen:
            _write_sequence(folder, sequence, arguments.frames)
        lists = folder / "ImageSets" / "2017"
        lists.mkdir(parents=True)
        (lists / "val.txt").write_text("".join(f"{sequence.name}\n" for sequence in chosen))


def _write_sequence(root: Path, sequence: VideoSequence, frames: int) -> None:
    pictures = root / "JPEGImages" / RESOLUTION / sequence.name
    masks = root / "Annotations" / RESOLUTION / sequence.name
    pictures.mkdir(parents=True)
    masks.mkdir(parents=True)
    truth = Truth(sequence)
    labels = {stem: truth.read(stem)[0] for stem in sequence.images}
    if truth.problems or any(mask is None for mask in labels.values()):
        raise InputError(f"{sequence.name} has frames without a usable annotation")
    stems = list(sequence.images)
    there_and_back = chain(stems, stems[-2:0:-1])  # the ends don't stand twice
    for number, stem in enumerate(islice(cycle(there_and_back), frames)):
        source = sequence.images[stem]
        (pictures / f"{number:05d}{source.suffix}").symlink_to(source.resolve())
        mask = labels[stem]
        assert mask is not None
        write_mask(masks / f"{number:05d}.png", mask)


if __name__ == "__main__":
    sys.exit(main())
