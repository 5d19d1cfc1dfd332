"""The shipped network at its smallest, for tests that need real masks and no size."""

from pathlib import Path

import pytest

from mavos_deploy.runtime import Bundle

TINY_SIZE = (33, 49)  # pixels; a step takes some ten milliseconds, nearly all of it per call


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of the variant `tiny` with a memory gap of 3."""
    pytest.importorskip("onnxruntime")
    from mavos_deploy.export.exporter import Plan, write_bundle
    from mavos_deploy.models.variants import VARIANTS

    folder: Path = tmp_path_factory.mktemp("tiny")
    write_bundle(Plan(VARIANTS["tiny"], TINY_SIZE, 3, "cpu"), None, folder, lambda line: None)
    return Bundle.open(folder)
