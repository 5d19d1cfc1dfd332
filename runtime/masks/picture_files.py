"""Pictures for each frame: label maps with a palette, a mask for each object, objects cut out."""

from contextlib import suppress
from io import BytesIO
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.masks.writing import FolderWriter, LabelledFrame, Legend
from mavos_deploy.runtime.objects import Labels, ids_of
from mavos_deploy.runtime.system.files import new_file, writing
from mavos_deploy.runtime.system.opencv import opencv


class PaletteWriter(FolderWriter):
    """Writes `<stem>.png`, a palette PNG whose indices are ids."""

    def write(self, frame: LabelledFrame) -> None:
        """Write a frame's file; see `MaskWriter.write`."""
        write_mask(self.path_of(frame), frame.labels, self.legend.palette)


class BinaryWriter(FolderWriter):
    """Writes `<id>/<stem>.png` for each object that was seen so far: 255 inside, 0 outside.

    Frames before any object wait for the first one, which gets an empty mask for them.
    """

    def __init__(self, folder: Path, legend: Legend) -> None:
        super().__init__(folder, legend)
        self._seen: dict[int, None] = {}
        self._waiting: list[tuple[Path, Size]] = []  # names, and sizes of frames without objects

    def write(self, frame: LabelledFrame) -> None:
        """Write a frame's files; see `MaskWriter.write`."""
        self._seen |= dict.fromkeys(ids_of(frame.labels))
        name = Path(self.path_of(frame).name)
        if not self._seen:
            self._waiting.append((name, (frame.labels.shape[0], frame.labels.shape[1])))
            return
        self._write_waiting()
        for number in self._seen:
            inside = np.where(frame.labels == number, 255, 0).astype(np.uint8)
            _save(self.folder / str(number) / name, inside)

    def _write_waiting(self) -> None:
        for name, size in self._waiting:
            for number in self._seen:
                _save(self.folder / str(number) / name, np.zeros(size, np.uint8))
        self._waiting.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, KeyboardInterrupt):
            self._seen = self._seen or {1: None}
            self._write_waiting()


class CutoutWriter(FolderWriter):
    """Writes pictures with alpha in which the objects alone are opaque.

    Args:
        folder: Folder of the files.
        legend: Names and palette; cut-outs need neither.
        together: Whether all objects share the picture `<stem>.png`; otherwise each has its own,
            `<id>/<stem>.png`.
    """

    def __init__(self, folder: Path, legend: Legend, together: bool) -> None:
        super().__init__(folder, legend)
        self._together = together

    def write(self, frame: LabelledFrame) -> None:
        """Write a frame's files; see `MaskWriter.write`.

        Raises:
            InputError: The frame came without its picture.
        """
        if frame.rgb is None:
            raise InputError(
                f"cannot write {self.folder}: cut-outs need pictures, and {frame.stem} has none"
            )
        if self._together:
            self._save(self.path_of(frame), frame.rgb, frame.labels > 0)
            return
        for number in ids_of(frame.labels):
            self._save(self.path_of(frame, str(number)), frame.rgb, frame.labels == number)

    def _save(self, path: Path, rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
        # Colours that nobody sees would only take room.
        cv2 = opencv()
        picture = cv2.copyTo(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA), mask.view(np.uint8))
        # By default OpenCV looks for runs alone: half of Pillow's time, and files 7% larger.
        _, png = cv2.imencode(".png", picture)
        _write(path, png.data)


def _save(path: Path, picture: Labels) -> None:
    png = BytesIO()
    Image.fromarray(picture).save(png, format="PNG")
    _write(path, png.getbuffer())


def _write(path: Path, content: memoryview) -> None:
    with writing(path), suppress(FileExistsError):
        path.parent.mkdir()  # the folder of an object; the run made the one around it
    with new_file(path) as file:
        file.write(content)
