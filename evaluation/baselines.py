"""Baselines: masks made without a network, to compare scores with."""

from mavos_deploy.words import Word


class Baseline(Word):
    """Masks to compare with."""

    FIRST_MASK = "first-mask"  # each reference mask repeated
