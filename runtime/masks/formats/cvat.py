"""CVAT's XML, version 1.1, for images and for videos."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.runs import box_of, counts_of
from mavos_deploy.runtime.masks.writing import DocumentWriter, LabelledFrame, Legend
from mavos_deploy.runtime.objects import ids_of


class CvatWriter(DocumentWriter):
    """Writes masks with run lengths; `group_id` is the object's id.

    CVAT has no tracks of masks: of a track it reads the first mask. In a video each mask of each
    frame is therefore a track of its own, as in CVAT's own files, and the group ties an object's
    masks together.

    Args:
        path: The file to create or replace.
        legend: Class names of objects become labels.
        video: Whether to write the form for videos, in which frames have numbers and no names.

    Raises:
        InputError: The place can't be written to.
    """

    def __init__(self, path: Path, legend: Legend, video: bool) -> None:
        super().__init__(path, legend)
        self._path = path
        self._video = video
        self._labels: dict[str, None] = {}
        self._tracks = 0
        self._first: int | None = None
        self._last = -1
        self._size = (0, 0)

    def write(self, frame: LabelledFrame) -> None:
        """Add the masks of a frame; see `MaskWriter.write`. A video's frames have one size."""
        height, width = frame.labels.shape
        if self._video and self._first is not None and self._size != (height, width):
            raise InputError(
                f"cannot write {self._path}: frame {frame.stem} is {height}x{width} and the first "
                f"one {self._size[0]}x{self._size[1]}; CVAT's videos have one size, so write "
                "cvat-images"
            )
        self._first = frame.index if self._first is None else self._first
        self._last, self._size = frame.index, (height, width)
        if not self._video:
            head = f'  <image id="{frame.index}" name={_quoted(frame.file_name)}'
            self.sections.add("body", f'{head} width="{width}" height="{height}">\n')
        for number in ids_of(frame.labels):
            label = self.legend.name_of(number)
            self._labels[label] = None
            shape = _shape(frame.labels == number) + f' z_order="0" group_id="{number}"'
            named = f'label={_quoted(label)} source="auto"'
            if self._video:
                head = f'  <track id="{self._tracks}" {named} group_id="{number}">\n    <mask'
                mask = f'frame="{frame.index}" keyframe="1" outside="0" {shape}/>\n  </track>\n'
                self.sections.add("body", f"{head} {mask}")
                self._tracks += 1
            else:
                self.sections.add("body", f"    <mask {named} {shape}/>\n")
        if not self._video:
            self.sections.add("body", "  </image>\n")

    def pieces(self) -> Iterable[tuple[str, str]]:
        """The head, which knows the labels, and all that was added."""
        labels = "".join(
            f"        <label><name>{_escaped(name)}</name><type>mask</type>"
            "<attributes></attributes></label>\n"
            for name in self._labels
        )
        first = self._first or 0
        size = ""
        if self._video:
            height, width = self._size
            size = (
                f"    <original_size><width>{width}</width><height>{height}</height>"
                "</original_size>\n"
            )
        mode = "interpolation" if self._video else "annotation"
        yield (
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
            f"  <meta>\n    <task>\n      <name>{_escaped(self.legend.video)}</name>\n"
            f"      <size>{self._last - first + 1}</size>\n      <mode>{mode}</mode>\n"
            f"      <start_frame>{first}</start_frame>\n"
            f"      <stop_frame>{self._last}</stop_frame>\n      <labels>\n{labels}"
            f"      </labels>\n    </task>\n{size}  </meta>\n",
            "body",
        )
        yield "</annotations>\n", ""


def _shape(mask: NDArray[np.bool_]) -> str:
    """Attributes of a mask: its box and the run lengths within, row by row, background first."""
    left, top, width, height = box_of(mask)
    counts = counts_of(np.ascontiguousarray(mask[top : top + height, left : left + width]))
    box = f'left="{left}" top="{top}" width="{width}" height="{height}"'
    return f'occluded="0" rle="{", ".join(map(str, counts))}" {box}'


def _escaped(text: str) -> str:
    from xml.sax.saxutils import escape  # which imports a client for HTTP

    return escape(_clean(text))


def _quoted(text: str) -> str:
    from xml.sax.saxutils import quoteattr  # as above

    return quoteattr(_clean(text))


def _clean(text: str) -> str:
    """Text without the characters that XML can't hold."""
    return "".join(one if one.isprintable() or one == "\n" else "\ufffd" for one in text)
