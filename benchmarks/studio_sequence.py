"""Make masks of sequences in mavos-studio with one box and one corrective stroke, for scoring.

    python -m benchmarks.studio_sequence BUNDLE DATA bear,hike --output masks
    mavos-eval DATA --results masks --split train --sequences bear,hike

For each sequence the script asks the studio for what a person would: a box around the object of the
first frame (that of the true mask, 5% of its sides wider on each side), following to the end, one
corrective stroke in the frame in which the tracker is least confident, placed by the rule of
`studio_masks.py`, following from there, and an export. Its masks become `masks/<sequence>`, and
those before the correction `masks-uncorrected/<sequence>`. Each project stays in `masks-projects`.
"""

import argparse
import shutil
import time
from pathlib import Path

import numpy as np

from benchmarks.studio_masks import box_around, corrective_stroke, least_certain, truth_of
from mavos_deploy.cli.studio import tracker_of
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from mavos_deploy.runtime.media.access import open_clip
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.studio.exporting import Order
from mavos_deploy.runtime.studio.making import MaskMaker, Prompt
from mavos_deploy.runtime.studio.project import Project
from mavos_deploy.runtime.studio.states import Tracker
from mavos_deploy.runtime.studio.studio import Studio

OBJECT = 1


def main() -> None:
    """Make masks of all sequences."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path, help="bundle folder")
    parser.add_argument("data", type=Path, help="folder of a data set")
    parser.add_argument("sequences", help="names of sequences, such as bear,hike")
    parser.add_argument("--split", default="train", help="their split (default: train)")
    parser.add_argument("--output", type=Path, required=True, help="folder for the masks")
    options = parser.parse_args()
    wanted = options.sequences.split(",")
    dataset = open_dataset(options.data, split=options.split)
    with Segmenter.open(options.bundle) as segmenter:
        tracker = tracker_of(segmenter, options.bundle)
        for sequence in [each for each in dataset.sequences if each.name in wanted]:
            annotate(sequence, tracker, options.output)


def annotate(sequence: VideoSequence, tracker: Tracker, output: Path) -> None:
    """Make the masks of one sequence."""
    clip = open_clip(str(next(iter(sequence.images.values())).parent))
    folder = output.with_name(f"{output.name}-projects") / f"{sequence.name}.mavos"
    shutil.rmtree(folder, ignore_errors=True)
    studio = Studio(Project(folder, clip, tracker), clip, tracker, MaskMaker())
    try:
        studio.add_object(sequence.name, None)
        draw(studio, sequence, 0, corrected=False)
        follow(studio, 0)
        before = output.with_name(f"{output.name}-uncorrected")
        export(studio, before / sequence.name)
        values = studio.confidence(1, clip.length - 1)["objects"][str(OBJECT)]
        worst = 1 + least_certain(values)
        draw(studio, sequence, worst, corrected=True)
        follow(studio, worst)
        told = export(studio, output / sequence.name)
        print(f"{sequence.name}: corrected in frame {worst} of {clip.length}; {told}", flush=True)
    finally:
        studio.close()


def draw(studio: Studio, sequence: VideoSequence, frame: int, corrected: bool) -> None:
    """Draw a box, or one stroke on the mask that is there, and take what it gives."""
    truth, held = truth_of(sequence, studio.clip.stems[frame]), studio.mask(frame)
    if corrected:
        strokes = (corrective_stroke(np.asarray(held.labels == OBJECT), truth),)
        prompt = Prompt(OBJECT, "grabcut", strokes=strokes)
    else:
        prompt = Prompt(OBJECT, "grabcut", box=box_around(truth))
    mask: Labels = studio.prompt(frame, prompt, None).astype(np.uint8)
    studio.put_mask(frame, mask * np.uint8(OBJECT), held.version, {OBJECT})


def follow(studio: Studio, frame: int) -> None:
    """Follow from a frame to the end."""
    progress = studio.follow(frame, "forward", None)
    while progress["state"] != "idle":
        time.sleep(0.05)
        progress = studio.about()["following"]
    assert not progress["message"], progress["message"]


def export(studio: Studio, folder: Path) -> str:
    """Write palette PNGs of all frames to a folder; a line on the command that does the same."""
    told = studio.export(Order("palette"))
    while told["state"] == "running":
        time.sleep(0.05)
        told = studio.about()["exports"][-1]
    assert told["state"] == "done", told["message"]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(told["path"], folder)
    return str(told["command"]) if told["same"] else f"no run gives the same: {told['why']}"


if __name__ == "__main__":
    main()
