"""Plans: tiles of the attention, and what cannot be exported is refused before any work."""

import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.export.exporter import Plan
from mavos_deploy.models.variants import VARIANTS


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="accepted are fp32 and fp16"):
        Plan(VARIANTS["mobilenet"], (97, 97), 3, "gpu", "fp8")


def test_windows_cut_for_one_size_are_refused() -> None:
    with pytest.raises(InputError, match=r"swin_base divides frames into windows .* --size HxW"):
        Plan(VARIANTS["swin_base"], (96, 96), 2, "gpu", dynamic=True)
    with pytest.raises(InputError, match=r"tiles of the attention .* --target gpu"):
        Plan(VARIANTS["tiny"], (97, 97), 2, "cpu", dynamic=True)
    with pytest.raises(InputError, match=r"--tiled-for .* with --size dynamic"):
        Plan(VARIANTS["tiny"], (97, 97), 2, "cpu", tiled=((97, 97),))


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_tiles_cover_the_grid_evenly(target: str) -> None:
    tile = Plan(VARIANTS["mobilenet"], (481, 849), 10, target).tile
    assert tile == ((8, 18) if target == "cpu" else None)
