"""The result of `mavos-run` as its JSON document and in one line."""

from typing import TYPE_CHECKING, Any

from mavos_deploy.runtime.media.results import PALETTE
from mavos_deploy.words import counted

if TYPE_CHECKING:
    from mavos_deploy.runtime.media.outputs import Wanted
    from mavos_deploy.runtime.media.summary import Summary
    from mavos_deploy.runtime.protocol import About


def document_of(summary: "Summary", results: "list[Wanted]", about: "About") -> dict[str, Any]:
    """The JSON document, see docs/run.md."""
    places = {result.kind.name: str(result.path) for result in results if summary.frames}
    return {
        "output": places.get(PALETTE.name),
        "overlay": places.get("overlay"),
        "written": [
            {"kind": result.kind.name, "path": str(result.path)}
            for result in results
            if summary.frames
        ],
        "frames": summary.frames,
        "resumed": summary.resumed,
        "objects": summary.objects,
        "added": summary.added,
        "corrected": summary.corrected,
        "seconds": round(summary.seconds, 3),
        "fps": round(summary.fps, 3),
        "interrupted": summary.interrupted,
        "backend": about.backend,
        "trained": about.trained,
    }


def line_of(summary: "Summary", results: "list[Wanted]") -> str:
    """The same in one line."""
    if not summary.frames and summary.stopped:
        return "ended before the first frame that was to be written"
    if not summary.frames:
        return "interrupted before the first mask; nothing was written"
    *others, last = (str(result.path) for result in results)
    places = f"{', '.join(others)} and {last}" if others else last
    return (
        f"{counted(summary.frames, 'mask')} of {counted(len(summary.objects), 'object')} in "
        f"{places}, {summary.fps:.2f} frames/s"
    )
