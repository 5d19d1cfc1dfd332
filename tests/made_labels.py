"""Label maps as hypothesis makes them: odd sizes, any ids, thin and lonely pixels."""

import numpy as np
from hypothesis import strategies as st

from mavos_deploy.runtime.objects import Labels

IDS = (1, 2, 3, 9, 77, 254)


@st.composite
def label_maps(draw: st.DrawFn, size: tuple[int, int] | None = None) -> Labels:
    """A label map of rectangles and single pixels.

    Args:
        draw: Draws an example.
        size: Height and width in pixels; None draws them, too.
    """
    height, width = size or draw(sizes())
    labels = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(0, 4))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        bottom, right = draw(st.integers(top, height - 1)), draw(st.integers(left, width - 1))
        labels[top : bottom + 1, left : right + 1] = draw(st.sampled_from((0, *IDS)))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, height * width - 1))
        labels.flat[place] = draw(st.sampled_from((0, *IDS)))
    return labels


def sizes() -> st.SearchStrategy[tuple[int, int]]:
    """Height and width in pixels, odd ones and single rows among them."""
    return st.tuples(st.integers(1, 23), st.integers(1, 23))


@st.composite
def videos(draw: st.DrawFn) -> list[Labels]:
    """Label maps of one size, some of them empty perhaps."""
    size = draw(sizes())
    return draw(st.lists(label_maps(size), min_size=1, max_size=4))
