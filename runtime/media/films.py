"""Videos made of frames and labels: drawings, with the times and the sound of their source."""

from pathlib import Path

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.writing import LabelledFrame
from mavos_deploy.runtime.media.drawings import Drawing
from mavos_deploy.runtime.media.encoding import H264, Encoding, Original, VideoWriter

# What compositing programs read: 12 bits for each of four channels.
PRORES = Encoding("ProRes 4444", "prores_ks", "yuva444p10le", (".mov",), {"profile": "4444"})
# Frames that are never shown would break the alpha channel, which is a stream of its own.
VP9 = Encoding(
    "VP9 with alpha",
    "libvpx-vp9",
    "yuva420p",
    (".webm",),
    {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "5", "auto-alt-ref": "0"},
)
ENCODINGS = {"H264": H264, "ProRes": PRORES, "VP9": VP9}


class FilmWriter:
    """Encodes what a drawing makes of each frame; see `VideoWriter` for the file.

    Args:
        path: The file to create or replace.
        size: Height and width of the frames in pixels.
        draw: Makes the picture.
        original: What to take over from the source; None for 25 frames per second in silence.
        encoding: How to encode.

    Raises:
        InputError: See `VideoWriter`.
    """

    def __init__(
        self,
        path: Path,
        size: Size,
        draw: Drawing,
        original: Original | None = None,
        encoding: Encoding = H264,
    ) -> None:
        self._path = path
        self._draw = draw
        self._video = VideoWriter(path, size, original, encoding)

    @property
    def notes(self) -> list[str]:
        """Lines on what could not be taken over from the source; see `VideoWriter`."""
        return self._video.notes

    def write(self, frame: LabelledFrame) -> None:
        """Draw and encode the next frame.

        Raises:
            InputError: The frame lacks its picture, or it and its labels differ in size, or the
                disk is full.
        """
        if frame.rgb is None:
            raise InputError(
                f"cannot write {self._path}: a video needs pictures, and {frame.stem} has none"
            )
        if frame.rgb.shape[:2] != frame.labels.shape:
            raise InputError(
                f"cannot write {self._path}: frame {frame.rgb.shape[:2]} and labels "
                f"{frame.labels.shape} differ in size"
            )
        self._video.write(self._draw(frame.rgb, frame.labels), frame.time, frame.duration)

    def __enter__(self) -> "FilmWriter":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._video.__exit__(kind, error, trace)
