"""The shipped network at its smallest, for tests that need real masks and no size."""

from typing import TYPE_CHECKING

import pytest

from mavos_deploy.runtime import Bundle

if TYPE_CHECKING:
    from tests.exports import Exports

TINY_SIZE = (33, 49)  # pixels; a step takes some ten milliseconds, nearly all of it per call


@pytest.fixture(scope="session")
def tiny(exported: "Exports") -> Bundle:
    """A bundle of the variant `tiny` with a memory gap of 3."""
    return Bundle.open(exported("tiny", TINY_SIZE, 3, "cpu"))
