"""A project in the words of the interface between server and page."""

from pathlib import Path
from typing import Any

from mavos_deploy import __version__
from mavos_deploy.runtime.media.access import Clip
from mavos_deploy.runtime.protocol import About
from mavos_deploy.runtime.studio.guard import LARGEST_FILE
from mavos_deploy.runtime.studio.project import Project
from mavos_deploy.runtime.studio.reproducing import ranges
from mavos_deploy.runtime.studio.states import Tracker
from mavos_deploy.runtime.studio.worth import worth_of

MOST_VALUES = 4000  # values of confidence of an object in one answer


def about_project(project: Project, clip: Clip) -> dict[str, Any]:
    """The video, the objects and the frames with masks."""
    history = project.history
    now = history.now
    return {
        "name": Path(clip.source).name,
        "folder": project.folder.name,
        "frames": clip.length,
        "height": clip.size[0],
        "width": clip.size[1],
        "fps": clip.fps,
        "revision": history.revision,
        "objects": [
            {
                "id": thing.id,
                "name": thing.name,
                "colour": thing.colour,
                "visible": thing.id not in history.hidden,
            }
            for _, thing in sorted(now.objects.items())
        ],
        "keyframes": sorted(now.keyframes),
        "masks": ranges(now.masks > 0),
        "undo": history.undoable,
        "redo": history.redoable,
        "notes": list(clip.told.notes),
        "largest": LARGEST_FILE,
    }


def about_model(tracker: Tracker, clip: Clip) -> dict[str, Any]:
    """The weights that are loaded, and what they can do."""
    about: About = tracker.segmenter.about
    return {
        "variant": about.variant,
        "trained": about.trained,
        "backend": about.backend,
        "arithmetic": about.arithmetic,
        "input": list(tracker.segmenter.input_size(clip.size)),
        "text": worth_of(about),
        "level": "note" if about.trained and about.variant != "tiny" else "warning",
    }


def confidence_in(project: Project, first: int, last: int) -> dict[str, Any]:
    """Confidence in each object of each frame of a part, None where nothing is known.

    A part of many frames is thinned out: the least of each `step` frames is given.

    Args:
        project: The project.
        first: Number of the first frame.
        last: Number of the last one.
    """
    now = project.history.now
    versions = now.masks[first : last + 1].tolist()
    ids = sorted(now.objects)
    step = max(1, -(-len(versions) // MOST_VALUES))
    objects: dict[str, list[float | None]] = {str(number): [] for number in ids}
    for place in range(0, len(versions), step):
        found = [project.certainty.of(version) for version in versions[place : place + step]]
        for number in ids:
            values = [known[number] for known in found if number in known]
            objects[str(number)].append(round(min(values), 3) if values else None)
    return {"from": first, "to": last, "step": step, "objects": objects}


def events_in(project: Project) -> list[dict[str, Any]]:
    """Events in the masks that hold, one for each object that it is about."""
    now = project.history.now
    return [
        {"frame": each.frame, "object": number, "kind": each.kind, "text": each.text}
        for each in project.happenings.now(now.masks)
        for number in each.objects or (None,)
        if number is None or number in now.objects
    ]


def facts_of(tracker: Tracker) -> dict[str, str]:
    """What masks are made with, for a report."""
    about = tracker.segmenter.about
    return {
        "made in": f"mavos-studio {__version__}",
        "bundle": tracker.bundle,
        "network": about.variant,
        "backend": f"{about.backend} ({about.arithmetic})",
    }
