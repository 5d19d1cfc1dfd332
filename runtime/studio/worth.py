"""What the loaded weights can do, in words for the page."""

from mavos_deploy.runtime.protocol import About

UNTRAINED = (
    "The weights of this {variant} bundle are untrained, and masks that it follows mean nothing. "
    "Export the variant lite, whose weights come with mavos-deploy, or give mavos-export a "
    "checkpoint."
)
SHIPPED = {
    "lite": (
        "lite is small and fast. On real footage it follows one clear object well (J&F 0.76 on "
        "DAVIS 2016) and mixes up objects that look alike; correct it where it drifts."
    ),
    "tiny": (
        "tiny was trained on made-up scenes only and is not made for real footage. Export the "
        "variant lite, whose weights come with mavos-deploy, too."
    ),
}
OWN = (
    "These weights of {variant} come from a checkpoint: how well they follow depends on what it "
    "was trained on."
)


def worth_of(about: About) -> str:
    """What to expect of masks that a segmenter follows, one or two sentences."""
    text = SHIPPED.get(about.variant, OWN) if about.trained else UNTRAINED
    return text.format(variant=about.variant)
