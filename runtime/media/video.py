"""One video from its source to mask files and an overlay.

Three stages overlap, each in a thread: reading, decoding and resizing; segmenting; writing. Only
segmenting is on a frame's critical path.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.runtime.geometry import Size, check_aspect
from mavos_deploy.runtime.masks.png import is_palette_png, write_mask
from mavos_deploy.runtime.masks.small_objects import small_objects
from mavos_deploy.runtime.masks.source import Mask, MaskSource
from mavos_deploy.runtime.media.frames import FrameSource, SourceFrame
from mavos_deploy.runtime.media.overlay import OverlayWriter
from mavos_deploy.runtime.media.pipeline import ReadAhead, WriteBehind
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import PreparedT, StateT, VideoSegmenter
from mavos_deploy.runtime.resize import resize_labels
from mavos_deploy.runtime.system.files import writing
from mavos_deploy.runtime.system.folders import FolderGoneError, HeldFolder, check_free, is_own
from mavos_deploy.runtime.system.interrupts import deferred_interrupts

AHEAD = 2  # frames that may wait before and after segmenting
# A camera's next frame is read while one is segmented, and no further, so that masks lag behind the
# camera by one frame at most.
AHEAD_LIVE = 1


@dataclass
class Summary:
    """The result of a run.

    Attributes:
        frames: Frames segmented and written.
        start: Stem of the frame that the first mask belongs to.
        objects: Ids followed at the end.
        added: Ids of objects that came after the first frame, with the stem of their first frame.
        ignored_masks: Number of later masks that brought no new object, and were left alone.
        unused_masks: Mask files that belong to no frame of the video.
        seconds: Time from the first frame to the last mask.
        notes: Lines that say what a written video could not take over from the source, and which
            objects are too small for the network.
        interrupted: Whether Ctrl-C ended the run. Everything written is whole then, and every
            frame that was segmented is written.
    """

    frames: int = 0
    start: str = ""
    objects: tuple[int, ...] = ()
    added: dict[int, str] = field(default_factory=dict)
    ignored_masks: int = 0
    unused_masks: list[str] = field(default_factory=list)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def fps(self) -> float:
        """Frames per second, everything included."""
        return self.frames / self.seconds if self.seconds else 0.0


def check_fit(size: Size, source: FrameSource, stretch: bool) -> None:
    """Refuse a video whose shape the bundle would distort, unless that is wanted.

    Args:
        size: Height and width of frames in the network, in pixels.
        source: The video.
        stretch: Whether to accept any shape.

    Raises:
        InputError: The aspect ratios differ by more than 5%.
    """
    if not stretch:
        check_aspect(source.size, size)


def prepare_output(
    folder: Path, overlay: Path | None, overwrite: bool, inputs: tuple[Path, ...]
) -> Callable[[], HeldFolder]:
    """Check that masks may go to a folder, and the coloured video to its file.

    Args:
        folder: Folder for the masks, existing or not.
        overlay: File for the coloured video, existing or not; None for no such video.
        overwrite: Whether to replace masks and a video that exist.
        inputs: Files and folders that the run reads and must never replace. They need not exist.

    Returns:
        A function to call before the first mask is written: it makes the folder and holds it, or
        empties it of masks and of what a killed run left.

    Raises:
        InputError: The folder holds something, or, with `overwrite`, something that is no palette
            PNG; another run writes to it; the video exists; or an input would be replaced.
    """
    check_free(folder)
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    present = [path for path in found if not is_own(path)]
    replaced = [p for p in (folder, *present, overlay) if p is not None and p.exists()]
    for given in inputs:
        if given.exists() and any(given.samefile(p) for p in replaced):
            raise InputError(f"{given} is an input and would be replaced; choose another output")
    if overlay is not None and overlay.exists() and not overwrite:
        raise InputError(f"{overlay} exists; pass --overwrite to replace it")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the masks")
    if present and not overwrite:
        raise InputError(f"{folder} exists and is not empty; pass --overwrite to replace its masks")
    own = [p for p in present if p.is_file() and (p.suffix.lower() == ".png" or p == overlay)]
    if other := [p for p in present if p not in own]:
        raise InputError(
            f"{folder} holds more than masks ({other[0].name}), so it is not replaced; "
            "choose another folder"
        )
    for path in own:
        if path.suffix.lower() == ".png" and not is_palette_png(path):
            raise InputError(
                f"{path} is no palette mask, so {folder} is not replaced; choose another folder"
            )

    def make() -> HeldFolder:
        held = HeldFolder(folder)
        try:
            with writing(folder):
                if sorted(path for path in folder.iterdir() if not is_own(path)) != present:
                    raise InputError(
                        f"{folder} was changed by something else since this run began; run it "
                        "again, with another folder if that was another run"
                    )
                for mask in present:
                    mask.unlink()
        except BaseException:
            held.close()
            raise
        return held

    return make


def segment_video(
    segmenter: VideoSegmenter[PreparedT, StateT],
    source: FrameSource,
    masks: MaskSource,
    output: Path,
    overlay: Path | None = None,
    *,
    make_output: Callable[[], HeldFolder],
    on_frame: Callable[[int], None],
) -> Summary:
    """Segment a video and write a mask for each of its frames.

    Args:
        segmenter: A segmenter here, or the client of a server.
        source: The video, just opened. Frames before the first mask are left out.
        masks: Masks of the first frame, and of frames where objects are added.
        output: Folder for the masks, `<frame stem>.png`.
        overlay: MP4 file for the coloured video; None for no such video.
        make_output: The function that `prepare_output` returned.
        on_frame: Called with the number of frames that are done.

    Returns:
        A summary, also when Ctrl-C ended the run.

    Raises:
        MavosError: A frame or mask can't be used, or a file can't be written. The masks written
            until then are kept, each whole; the message ends with their number. Or the folder was
            removed under the run.
    """
    frames = iter(source)
    first, mask = _start(frames, masks)
    summary, stems = Summary(start=first.stem), {first.stem}
    depth = AHEAD if source.kind in ("video", "images") else AHEAD_LIVE
    started = time.perf_counter()
    failure: MavosError | None = None
    video: OverlayWriter | None = None

    def write(result: tuple[SourceFrame, Labels]) -> None:
        frame, labels = result
        held.check()
        write_mask(output / f"{frame.stem}.png", labels, mask.palette)
        summary.frames += 1
        if video is not None:
            video.write(frame.rgb, labels, frame.time, frame.duration)
        summary.seconds = time.perf_counter() - started

    try:
        with ExitStack() as stack:
            input_size = segmenter.input_size(source.size)
            summary.notes += _small(mask.labels, (), input_size)
            state = segmenter.start(first.rgb, mask.labels)
            summary.objects = state.objects
            held = stack.enter_context(make_output())
            reader = ReadAhead(_prepared(segmenter, frames, masks), depth)
            # From here on an interrupt ends the reading, and what was segmented is written, so
            # that masks and overlay end at the same frame.
            stack.enter_context(deferred_interrupts(reader.stop))
            if overlay is not None:
                video = stack.enter_context(
                    OverlayWriter(overlay, source.size, source.original, mask.palette)
                )
            try:
                with reader, WriteBehind(write, depth) as writer:
                    writer.put((first, mask.labels))
                    on_frame(summary.frames)
                    for frame, labels in _steps(segmenter, state, reader, summary, input_size):
                        stems.add(frame.stem)
                        writer.put((frame, labels))
                        on_frame(summary.frames)
                held.check_files(".png", summary.frames)
                on_frame(summary.frames)
            except MavosError as error:
                failure = error  # the video so far is finished all the same
    except KeyboardInterrupt:
        summary.interrupted = True
    except MavosError as error:  # the video could not be finished
        failure = failure or error
    if failure is not None:
        kept = f"; {summary.frames} masks are whole and kept" if summary.frames else ""
        if isinstance(failure, FolderGoneError):
            kept = f"; {summary.frames} masks had been written, each whole"
        raise type(failure)(f"{failure}{kept}") from failure
    summary.notes += video.notes if video is not None else []
    if not summary.interrupted:
        summary.unused_masks = masks.unmatched(stems)
    return summary


def _start(frames: Iterator[SourceFrame], masks: MaskSource) -> tuple[SourceFrame, Mask]:
    """The first frame that has a mask, and its mask."""
    for before, frame in enumerate(frames):
        if (mask := masks.for_stem(frame.stem, first=True)) is not None:
            if before:
                masks.notes.append(
                    f"the first mask is that of frame {frame.stem}; the {before} frames before it "
                    "are left out"
                )
            return frame, mask
    raise InputError("no mask belongs to a frame of this video; name masks after its frames")


def _small(labels: Labels, known: tuple[int, ...], size: Size) -> list[str]:
    """Lines about new objects that are too small for the network.

    Raises:
        InputError: All objects of a first mask are.
    """
    small = small_objects(np.where(np.isin(labels, known), 0, labels).astype(np.uint8), size)
    if not known and not resize_labels(labels, *size).any():
        raise InputError("; ".join(small.values()))
    return list(small.values())


def _prepared(
    segmenter: VideoSegmenter[PreparedT, StateT], frames: Iterator[SourceFrame], masks: MaskSource
) -> Iterator[tuple[SourceFrame, PreparedT, Mask | None]]:
    """Frames with their masks, resized; runs in the reading thread."""
    for frame in frames:
        yield frame, segmenter.prepare(frame.rgb), masks.for_stem(frame.stem, first=False)


def _steps(
    segmenter: VideoSegmenter[PreparedT, StateT],
    state: StateT,
    frames: Iterable[tuple[SourceFrame, PreparedT, Mask | None]],
    summary: Summary,
    input_size: Size,
) -> Iterator[tuple[SourceFrame, Labels]]:
    """Frames with their labels; the objects go to the summary, and the video ends with them."""
    for frame, prepared, later in frames:
        added = _new_objects(later, state.ids, summary)
        if added is not None:
            summary.notes += _small(added, state.ids, input_size)
        labels, state = segmenter.step(prepared, state, added)
        new = [i for i in state.objects if i not in summary.objects]
        summary.added |= dict.fromkeys(new, frame.stem)
        summary.objects = state.objects
        yield frame, labels
    segmenter.end(state)


def _new_objects(mask: Mask | None, known: tuple[int, ...], summary: Summary) -> Labels | None:
    """A later mask's labels if it brings a new object.

    A data set's folder has the true mask of every frame, and those must not replace predictions.
    """
    if mask is None:
        return None
    if set(np.unique(mask.labels).tolist()) <= {0, *known}:
        summary.ignored_masks += 1
        return None
    return mask.labels
