"""Finds the PyTorch network behind a bundle, to compare the two."""

from pathlib import Path

from mavos_deploy.errors import BundleError, InputError
from mavos_deploy.models.checkpoint import load_network, shipped_weights
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.variants import VARIANTS
from mavos_deploy.runtime.bundles.manifest import Manifest


def network_of(manifest: Manifest, checkpoint: Path | None) -> Mavos:
    """Load the PyTorch network that a bundle was exported from.

    Args:
        manifest: Manifest of the bundle.
        checkpoint: Checkpoint of the export; None for shipped and for untrained weights.

    Raises:
        BundleError: The variant is unknown to this release.
        InputError: A checkpoint is missing, isn't wanted, or is another one.
    """
    if manifest.variant not in VARIANTS:
        raise BundleError(f"variant {manifest.variant!r} is unknown to this release; update it")
    variant = VARIANTS[manifest.variant]
    if manifest.trained and checkpoint is None and shipped_weights(variant) is None:
        raise InputError(
            "a bundle holds no PyTorch weights; pass --checkpoint with the file it was exported "
            f"from, {manifest.weights_source} (SHA-256 {manifest.weights_sha256[:12]}...)"
        )
    if checkpoint is not None and not manifest.trained:
        raise InputError("the bundle was exported without a checkpoint; leave --checkpoint out")
    network, weights = load_network(variant, checkpoint)
    if weights.sha256 != manifest.weights_sha256:
        raise InputError(
            f"{weights.source} has SHA-256 {weights.sha256[:12]}..., but the bundle was exported "
            f"from {manifest.weights_source} with {manifest.weights_sha256[:12]}..."
        )
    return network
