"""The second look of `mavos-run` and `mavos-eval`: their options, facts for a page, and lines."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Any

from mavos_deploy import __version__
from mavos_deploy.cli.console import Console
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.outputs import Wanted
from mavos_deploy.runtime.media.results import RESULTS
from mavos_deploy.runtime.review.events import summary_of

if TYPE_CHECKING:
    from mavos_deploy.runtime.bundles.bundle import Bundle
    from mavos_deploy.runtime.media.frames import FrameSource
    from mavos_deploy.runtime.media.summary import Summary
    from mavos_deploy.runtime.protocol import About

REPORT = "report"
EVENTS_NAMED = 5  # events that a warning names before it only counts


def with_report(results: Sequence[Wanted], report: Path | None) -> list[Wanted]:
    """Results with the page of `--report`, which is short for `--write report=FILE`.

    Raises:
        InputError: The file's name has another ending.
    """
    if report is None:
        return list(results)
    kind = RESULTS[REPORT]
    if report.suffix.lower() != kind.suffix:
        raise InputError(f"--report {report}: the name must end in {kind.suffix}")
    return [*results, Wanted(kind, report)]


def check_confidence(
    results: Sequence[Wanted], stop_below: float | None, resume: bool, passes: bool
) -> None:
    """Refuse what needs the confidence in every mask where some masks have none.

    Args:
        results: All that is to be written.
        stop_below: Value of `--stop-below`.
        resume: Whether an earlier run may have made masks, of which only the labels are kept.
        passes: Whether masks come from passes in two directions, or backward.

    Raises:
        InputError: A result or a rule needs it.
    """
    if passes and stop_below is not None:
        raise InputError(
            "--stop-below ends a run that goes forward alone; leave it out with --direction and "
            "--fuse, and see with --report or --write confidence where masks are bad"
        )
    found = [result.kind.name for result in results if result.kind.confidence]
    if resume and (found or stop_below is not None):
        what = f"the result {found[0]}" if found else "--stop-below"
        raise InputError(
            f"{what} needs the confidence in every mask, and --resume keeps the masks alone; leave "
            "one of them out"
        )


def check_report(report: Path) -> None:
    """Refuse a page that can't be written where `--report` says.

    Raises:
        InputError: The file's name has another ending, or it exists.
    """
    with_report((), report)
    if report.exists():
        raise InputError(f"--report {report} exists; remove it, or choose another name")


def made_with(data: Path, masks: Path, about: Mapping[str, object] | None) -> dict[str, str]:
    """Everything that an evaluation is made with, by name, for its report.

    Args:
        data: Folder of the data set.
        masks: Folder of the masks.
        about: Entry of results.json on the bundle; None for masks made elsewhere.
    """
    made = _call("mavos-eval") | {"data": str(data), "masks": str(masks)}
    return made | {name: str(value) for name, value in (about or {}).items()}


def _call(command: str) -> dict[str, str]:
    given = sys.argv[1:]
    if Path(sys.argv[0]).stem != command and given[:1] == [command.removeprefix("mavos-")]:
        given = given[1:]  # `mavos run` is `mavos-run`
    return {
        "command": join([command, *given]),
        "release": f"mavos-deploy {__version__}",
        "time": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC"),
    }


def facts_of(
    about: "About", bundle: "Bundle | None", frames: "FrameSource", masks: Path
) -> dict[str, str]:
    """Everything that a run is made with, by name, for its report."""
    made = _call("mavos-run") | {
        "video": f"{frames.name}, {frames.size[1]}x{frames.size[0]} pixels",
        "masks": str(masks),
        "network": about.variant + ("" if about.trained else ", untrained"),
        "backend": about.backend + (f", {about.arithmetic}" if about.arithmetic else ""),
    }
    if bundle is not None:
        manifest = bundle.manifest
        size = "any size" if manifest.dynamic else f"{manifest.height}x{manifest.width}"
        made["bundle"] = f"{bundle.path}, {size}, identity {manifest.identity}"
    return made


def tell(say: Console, summary: "Summary", trained: bool) -> dict[str, Any]:
    """Say what a second look found.

    Args:
        say: The command's voice.
        summary: The run's result.
        trained: Whether masks mean anything; events of others are not said.

    Returns:
        The part of the JSON document.
    """
    events = summary.events
    if events and trained:
        told = [f"{event.stem}: {event.text}" for event in events[:EVENTS_NAMED]]
        more = f"; and {len(events) - EVENTS_NAMED} more" if events[EVENTS_NAMED:] else ""
        say.warn(f"look at the result ({summary_of(events)}): {'; '.join(told)}{more}")
    if summary.stopped:
        say.warn(f"the run ended early: {summary.stopped}")
    return {
        "events": [
            {"event": str(e.kind), "frame": e.index, "objects": e.objects, "text": e.text}
            for e in summary.events
        ],
        "stopped": summary.stopped,
    }
