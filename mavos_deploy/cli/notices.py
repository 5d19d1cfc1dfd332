"""Warnings of commands, each in one place."""

from typing import TYPE_CHECKING

from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND
from mavos_deploy.words import counted

if TYPE_CHECKING:
    from mavos_deploy.cli.console import Console
    from mavos_deploy.runtime.bundles.manifest import Manifest
    from mavos_deploy.runtime.media.summary import Summary
    from mavos_deploy.runtime.protocol import About

MASKS_NAMED = 5  # unused mask files that a warning names before it only counts


def warn_if_untrained(say: "Console", about: "Manifest | About") -> None:
    """Warn that masks of untrained weights mean nothing."""
    if not about.trained:
        say.warn(
            f"UNTRAINED WEIGHTS: this {about.variant} bundle was exported without a checkpoint; "
            "its masks mean nothing (docs/checkpoints.md says where to get one)"
        )


def warn_if_inexact(
    say: "Console", backend: str, arithmetic: str | None, promised: str | None
) -> None:
    """Warn that a backend computes in less than the bundle's precision."""
    if arithmetic != promised:
        say.warn(
            f"{backend} computes in {arithmetic}, and this bundle is {promised}: masks differ a "
            f"little from those of {DEFAULT_BACKEND}"
        )


def warn_if_tiled(say: "Console", manifest: "Manifest") -> None:
    """Warn that engines of a bundle for CPUs are slower than they could be."""
    if manifest.target == "cpu":
        say.warn(
            "this bundle was exported with --target cpu, whose attention in tiles makes many small "
            "kernels; export with --target gpu for engines"
        )


def warn_without_plots(say: "Console") -> bool:
    """Warn where plots can't be drawn, and tell whether they can."""
    from mavos_deploy.evaluation import tables

    drawn = tables.can_draw()
    if not drawn:
        say.warn("no plots: matplotlib is missing; pip install 'mavos-deploy[plot]'")
    return drawn


def warn_of_masks(say: "Console", summary: "Summary") -> None:
    """Say what became of later masks of a run, and which masks belong to no frame."""
    if stems := summary.corrected:
        one, more = len(stems) == 1, ", ..." if stems[MASKS_NAMED:] else ""
        listed = ", ".join(stems[:MASKS_NAMED])
        told = f"{counted(len(stems), 'later mask')} {'corrects' if one else 'correct'} objects"
        if len(stems) == summary.frames - 1 > 1:
            say.warn(
                f"{told}: those of all frames, so that the results are these masks; give the first "
                "one alone to segment the video"
            )
        else:
            say.note(f"{told}: {listed}{more}")
    if empty := summary.empty_masks:
        one = empty == 1
        say.warn(
            f"{counted(empty, 'later mask')} {'holds' if one else 'hold'} no object and "
            f"{'changes' if one else 'change'} nothing"
        )
    if names := summary.unused_masks:
        say.warn(
            f"{counted(len(names), 'mask')} {'belongs' if len(names) == 1 else 'belong'} to no "
            f"frame of this run: {', '.join(names[:MASKS_NAMED])}"
            + (", ..." if names[MASKS_NAMED:] else "")
        )
