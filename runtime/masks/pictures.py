"""Masks in picture files: one file, a folder of them, or a folder for each object."""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.kinds import read_kind
from mavos_deploy.runtime.masks.label_maps import FIRST, LabelMaps
from mavos_deploy.runtime.masks.layers import Covered, Layers
from mavos_deploy.runtime.masks.names import FRAME_DIGITS, numbers_in
from mavos_deploy.runtime.masks.numbering import Numbering, Reading, Rule, as_text
from mavos_deploy.runtime.masks.object_files import check_are_frames
from mavos_deploy.runtime.masks.regions import along_edge
from mavos_deploy.runtime.media.folders import natural_order
from mavos_deploy.runtime.media.pictures import MASK_SUFFIXES, grey_bits, open_mask
from mavos_deploy.runtime.media.turning import STORED
from mavos_deploy.runtime.objects import VOID, Labels

MASK_FORMATS = ("PNG", "TIFF", "WEBP", "GIF", "BMP", "JPEG")  # JPEG only to be refused with advice
FULL_BITS = 8  # of a sample; grey pictures may have 2 or 4
WHITE = 0xFFFFFF
OTHERS = {
    (".npy", ".npz", ".mat", ".h5", ".pt"): "an array, not a picture; save each label map as a "
    "PNG, such as with Pillow: Image.fromarray(labels).save('00000.png')",
    (".zip", ".tar", ".gz", ".tgz", ".rar", ".7z"): "an archive; unpack it, and give the folder",
    (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v"): "a video, not a mask; take its pictures out "
    "with `ffmpeg -i VIDEO -start_number 0 masks/%05d.png`, and give the folder",
    (".psd", ".xcf", ".svg", ".exr"): "not a format of masks; export it as PNG",
}
OF_OBJECTS = "SegmentationObject"  # folder of ids in the layout of Pascal VOC, beside classes
JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
NO_MASK_SUFFIXES = (*JPEG_SUFFIXES, ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".avif", ".jxl")
LEFT_OUT = "pictures of formats that masks don't have are left out: "
JPEG_REASON = "JPEG, whose compression changes object ids"
JPEG_ADVICE = "export masks as PNG from the tool that made them; converting the JPEGs does not help"


def read_mask(
    path: Path,
    numbering: Numbering | None = None,
    content: bytes | None = None,
    check_size: Callable[[int, int], None] | None = None,
    formats: tuple[str, ...] = MASK_FORMATS,
) -> Reading:
    """Read a picture as a label map.

    Args:
        path: PNG, TIFF, WebP, GIF or BMP of any kind in `KINDS`.
        numbering: What earlier masks of the same video have shown, so that all are numbered alike;
            changed by this one. None reads the picture by itself.
        content: Bytes to read in place of the file; the path then only names them in messages.
        check_size: Called with height and width before anything is decoded; may refuse them.
        formats: Formats that are accepted, some of `MASK_FORMATS`.

    Returns:
        Labels, uint8 (H, W), in which 255 is void; the palette; and how they were read.

    Raises:
        InputError: The file is missing, damaged, or can't be read as a mask with certainty.
    """
    image, turn, made = open_mask(path, content, check_size, formats)
    if image.format == "JPEG":
        raise InputError(f"{path}: a picture in {JPEG_REASON}; {JPEG_ADVICE}")
    if image.format == "WEBP" and _is_lossy(path, content):
        raise InputError(
            f"{path}: a WebP picture with lossy compression, which changes object ids; save it "
            "without loss, or as PNG"
        )
    numbering = Numbering() if numbering is None else numbering
    reading = _stored(image, path, content, formats, numbering)
    if turn == made == STORED:
        return reading
    words = f"shown {(made if turn == STORED else turn).words}, as their EXIF says"
    how = words if reading.how is None else f"{reading.how}; {words}"
    return Reading(turn.of(reading.labels), reading.palette, how)


def _stored(
    image: Image.Image,
    path: Path,
    content: bytes | None,
    formats: tuple[str, ...],
    numbering: Numbering,
) -> Reading:
    """Read a picture as it is stored; see `read_mask`."""
    if image.mode != "L" or (bits := grey_bits(path, content, formats)) == FULL_BITS:
        return read_kind(image, str(path), numbering)
    values, spread = np.asarray(image), VOID // ((1 << bits) - 1)
    clear = image.info.get("transparency")  # a value as it is in the file
    if numbering.rule is not Rule.IDS and not ((values > 0) & (values < VOID)).any():
        image.info |= {} if clear is None else {"transparency": clear * spread}
        return read_kind(image, str(path), numbering)
    in_file = Image.fromarray(values // spread)
    in_file.info |= {} if clear is None else {"transparency": clear}
    reading = read_kind(in_file, str(path), numbering)
    how = f"grey of {bits} bits, whose values in the file are ids"
    return Reading(reading.labels, reading.palette, reading.how or how)


def _is_lossy(path: Path, content: bytes | None) -> bool:
    """Whether a WebP file has a picture of the lossy kind, in a chunk named `VP8 `."""
    data = path.read_bytes() if content is None else content
    at = 12
    while at + 8 <= len(data):
        if data[at : at + 4] == b"VP8 ":
            return True
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little") + data[at + 4] % 2
    return False


class _Pictures:
    """Reads the pictures of one video, all with one numbering."""

    def __init__(self, whole: bool = True) -> None:
        """Begin with no picture read.

        Args:
            whole: Whether they are label maps, of which the first one with an object is refused
                where it looks inverted; else masks of one object, which may surround others.
        """
        self.notes: list[str] = []
        self.palette: bytes | None = None
        self._numbering = Numbering()
        self._to_check = whole

    def read(self, path: Path) -> Labels:
        reading = read_mask(path, self._numbering)
        if self._to_check and reading.labels.any():
            _check_not_inverted(path, reading.labels, self._numbering)
            self._to_check = False
        self.palette = self.palette or reading.palette
        if reading.how and (note := f"masks are {reading.how}") not in self.notes:
            self.notes.append(note)
        return reading.labels


def _check_not_inverted(path: Path, labels: Labels, numbering: Numbering) -> None:
    """Refuse a mask by look in which an object, or white, is the edge around the background."""
    if numbering.rule is Rule.IDS or numbering.davis or labels.all():
        return
    edge = along_edge(labels)
    white = numbering.rule is Rule.COLOURS and edge[0] == numbering.numbers.get(WHITE)
    if 0 in edge or edge[0] == VOID or not (white or len(edge) == 1):
        return
    raise InputError(
        f"{path}: {'white' if white else 'an object'} is along the edge of the picture, and the "
        "background lies within, as in an inverted mask; make the background 0 (black), and the "
        "object another value. Where the object does surround the background, save ids (0, 1, 2, "
        "...) as grey values"
    )


def file_maps(path: Path) -> LabelMaps:
    """The label map of a picture file of any name.

    Args:
        path: The file.
    """
    for suffixes, advice in OTHERS.items():
        if path.suffix.lower() in suffixes:
            raise InputError(f"{path}: {advice}")
    pictures = _Pictures()
    return LabelMaps(
        {path.stem: partial(pictures.read, path)},
        notes=pictures.notes,
        palette=lambda: pictures.palette,
        files={path.stem: path},
        single=True,
    )


def folder_maps(path: Path, frames: Collection[str] | None = None) -> LabelMaps:
    """The label maps of a folder: a picture for each frame, or a folder or file for each object.

    Args:
        path: The folder.
        frames: Names of the video's frames; None where frames are named by their number.

    Raises:
        InputError: It holds no masks, or two for one frame, or it is not clear whether they are of
            frames or of objects.
    """
    files = masks_in(path)
    folders = [
        folder for folder in sorted(path.iterdir(), key=natural_order) if _masks_inside(folder)
    ]
    if not files and not folders:
        jpegs = [file.name for file in jpegs_in(path).values()]
        but = f" but pictures in {JPEG_REASON} ({as_text(jpegs, 3)})" if jpegs else ""
        raise InputError(
            f"{path} holds no mask ({', '.join(MASK_SUFFIXES)}){but}; expected masks named <frame "
            "stem>.png, or a folder of them for each object" + (f"; {JPEG_ADVICE}" if jpegs else "")
        )
    if not files and len(folders) == 1 and not folders[0].name.isdigit():
        inside = list(masks_in(folders[0]).values())
        return _frame_files(inside, [f"masks are in {folders[0]}"], frames)
    if not files and any(folder.name == OF_OBJECTS for folder in folders):
        note = f"masks are in {path / OF_OBJECTS}; other folders beside it are left out"
        return _frame_files(list(masks_in(path / OF_OBJECTS).values()), [note], frames)
    if not files:
        notes = _check_objects(folders)
        maps = _by_object(folders)
        maps.notes.extend(notes)
        return maps
    others = _no_masks_in(path)
    if any(character.isdigit() for stem in files for character in stem):
        maps = _frame_files(list(files.values()), [], frames)
    else:
        maps = _objects_of_one_frame(list(files.values()))
    if others and not any(file.stem in files for file in others):
        maps.notes.append(LEFT_OUT + as_text((file.name for file in others), 3))
    if folders:
        left = as_text(folder.name for folder in folders)
        maps.notes.append(f"masks lie in {path} itself, so folders within are left out: {left}")
    return maps


def jpegs_in(folder: Path) -> dict[str, Path]:
    """JPEG files in a folder by their stems, in natural order; they can't be masks."""
    found = (file for file in _no_masks_in(folder) if file.suffix.lower() in JPEG_SUFFIXES)
    return {file.stem: file for file in found}


def _no_masks_in(folder: Path) -> list[Path]:
    """Pictures in a folder of formats that masks don't have, in natural order."""
    found = (file for file in folder.iterdir() if file.suffix.lower() in NO_MASK_SUFFIXES)
    return sorted((f for f in found if not f.name.startswith(".")), key=natural_order)


def _check_objects(folders: list[Path]) -> list[str]:
    """Refuse a picture among masks of one object each that is no mask: its object would be lost.

    Args:
        folders: All folders with masks; others may lie beside them.

    Returns:
        A line about other pictures, which are left out; none where there are none.
    """
    numbered = all(folder.name.isdigit() for folder in folders)
    others = []
    for folder in sorted(folders[0].parent.iterdir(), key=natural_order):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        stems = masks_in(folder).keys()
        left = [file for file in _no_masks_in(folder) if file.stem not in stems]
        if not left:
            continue
        alike = [file for file in left if any(file.stem.isdigit() == s.isdigit() for s in stems)]
        if alike or (not stems and numbered and folder.name.isdigit()):
            raise _lost_object((alike or left)[0])
        others.append(f"{folder.name}/{left[0].name}")
    return [LEFT_OUT + as_text(others, 3)] if others else []


def _lost_object(file: Path) -> InputError:
    return InputError(
        f"{file}: a picture among masks of one object each, but none of a format for masks "
        f"({', '.join(MASK_SUFFIXES)}), so its object would be lost; save it as PNG from the tool "
        "that made it, or take it out of the folder"
    )


def _masks_inside(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(".") and bool(masks_in(folder))


def masks_in(folder: Path) -> dict[str, Path]:
    """Mask files in a folder by their stems, in natural order.

    Raises:
        InputError: Two files have one stem.
    """
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir(), key=natural_order):
        if file.suffix.lower() not in MASK_SUFFIXES or file.name.startswith("."):
            continue
        if file.stem in found:
            raise InputError(
                f"{folder} holds {found[file.stem].name} and {file.name}: each stem names one "
                "frame; remove one of them"
            )
        found[file.stem] = file
    return found


def _frame_files(files: list[Path], notes: list[str], frames: Collection[str] | None) -> LabelMaps:
    check_are_frames(files, frames, lambda file: read_mask(file).labels)
    pictures = _Pictures()
    pictures.notes += notes
    readers: dict[str, Callable[[], Labels]] = {f.stem: partial(pictures.read, f) for f in files}
    return LabelMaps(
        readers,
        notes=pictures.notes,
        palette=lambda: pictures.palette,
        files={file.stem: file for file in files},
    )


def _by_object(folders: list[Path]) -> LabelMaps:
    """Masks in folders: one for each object with its frames, or for each frame with its objects."""
    contents = {folder.name: masks_in(folder) for folder in folders}
    stems = {stem for files in contents.values() for stem in files}
    by_frame = all(len(name) >= FRAME_DIGITS and name.isdigit() for name in contents) and not any(
        len(stem) >= FRAME_DIGITS and stem.isdigit() for stem in stems
    )
    frames: dict[str, dict[str, Path]] = {}
    for name, files in contents.items():
        for stem, file in files.items():
            frame, an_object = (name, stem) if by_frame else (stem, name)
            frames.setdefault(frame, {})[an_object] = file
    what = "file" if by_frame else "folder"
    unnamed = len(frames) == 1 and not any(mark.isdigit() for mark in next(iter(frames)))
    return _per_object(frames, sorted(stems if by_frame else contents), what, single=unnamed)


def _objects_of_one_frame(files: list[Path]) -> LabelMaps:
    """Files without a number in their names: the objects of one frame, or its only mask."""
    if len(files) == 1:
        return file_maps(files[0])
    return _per_object({FIRST: {f.stem: f for f in files}}, [f.stem for f in files], "file", True)


def _per_object(
    frames: dict[str, dict[str, Path]], objects: list[str], what: str, single: bool = False
) -> LabelMaps:
    """Label maps out of a mask for each object.

    Args:
        frames: Files by frame and by the object's name.
        objects: Names of all objects.
        what: Thing that stands for an object, for notes.
        single: Whether all are masks of one frame.
    """
    ids = _ids_of(objects)
    listed = as_text(f"{name} is {number}" for name, number in ids.items())
    notes = [f"masks have one {what} for each object: {listed}"]
    readers = {name: _Pictures(whole=False) for name in objects}
    covered = Covered(
        f"to keep both, name its {what} so that its id is the smaller one, or cut it out of object "
        "{over}"
    )

    def draw(frame: str, files: dict[str, Path]) -> Labels:
        layers: Layers | None = None
        for name, file in sorted(files.items(), key=lambda item: -ids[item[0]]):
            mask = readers[name].read(file)
            if len(used := np.unique(mask[mask > 0])) > 1:
                raise InputError(
                    f"{file}: {len(used)} values in the mask of one object; save the object as "
                    "255, or label maps as <frame stem>.png in one folder"
                )
            layers = layers or Layers((mask.shape[0], mask.shape[1]))
            size = layers.labels.shape
            if size != mask.shape:
                raise InputError(
                    f"{file}: the mask is {mask.shape[0]}x{mask.shape[1]}, but that of another "
                    f"object is {size[0]}x{size[1]}; save them in one size"
                )
            overlap = "objects overlap; shared pixels go to the smaller id"
            if layers.draw(ids[name], mask > 0) and overlap not in notes:
                notes.append(overlap)
        assert layers is not None
        covered.add(frame, layers)
        return layers.labels

    drawn: dict[str, Callable[[], Labels]] = {
        frame: partial(draw, frame, frames[frame])
        for frame in sorted(frames, key=lambda stem: natural_order(Path(f"{stem}.png")))
    }
    named = {number: name for name, number in ids.items() if not name.isdigit()}
    return LabelMaps(drawn, names=named, notes=notes, lost=covered.lines, single=single)


def _ids_of(names: list[str]) -> dict[str, int]:
    """Ids of objects: the numbers that they are named by, or places in the order of names."""
    numbers = {name: n for name, n in numbers_in(names).items() if n is not None}
    if len(numbers) < len(names) or len(set(numbers.values())) < len(names):
        numbers = {name: place for place, name in enumerate(sorted(names), 1)}
    elif 0 in numbers.values():
        numbers = {name: number + 1 for name, number in numbers.items()}
    if max(numbers.values()) >= VOID:
        raise InputError(
            f"object {max(numbers.values())}: a label map holds ids 1 to {VOID - 1}; give the "
            "objects smaller numbers"
        )
    return numbers
