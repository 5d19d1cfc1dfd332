"""Warnings that more than one command gives, each in one place."""

from typing import TYPE_CHECKING

from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND

if TYPE_CHECKING:
    from mavos_deploy.cli.console import Console
    from mavos_deploy.runtime.bundles.manifest import Manifest
    from mavos_deploy.runtime.protocol import About


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
