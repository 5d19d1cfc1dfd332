"""The quick lane stays quick: what exports a bundle is marked."""

import pytest


def test_a_test_without_the_mark_cannot_export() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(pytest.fail.Exception, match="takes bundles from the fixture `exported`"):
        torch.onnx.export()
