"""The network in its authors' form and in ours, compiled or not, computes the same."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mavos_deploy.export.bench.published import PublishedEngine
from mavos_deploy.export.bench.runners import made_clip
from mavos_deploy.export.bench.torch_runner import TorchRunner
from mavos_deploy.export.bench.ways import PYTORCH
from mavos_deploy.runtime import Segmenter

GetSegmenter = Callable[[str], Segmenter]


def test_every_form_of_the_network_computes_the_same(
    segmenter: GetSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.compile
    # The part of torch.compile that may go wrong here is the tracing, not the compiler behind it.
    monkeypatch.setattr(
        torch, "compile", lambda f, dynamic: real(f, dynamic=dynamic, backend="eager")
    )
    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda module, dynamic: setattr(module, "forward", module.forward),
    )
    bundle = segmenter("mobilenet").bundle
    frame, labels = next(made_clip(bundle, 1, 2))
    logits = {}
    for word, way in PYTORCH.items():
        runner = TorchRunner(bundle.manifest, None, 1, way)
        runner.warm_up(frame, labels)  # past two updates by MCA
        assert runner._tracker is not None
        group = runner._tracker.groups[0]
        assert isinstance(group, PublishedEngine) == (not word.startswith("tuned"))
        assert group.logits is not None
        logits[word] = group.logits.numpy()
    for word in PYTORCH:
        np.testing.assert_allclose(logits[word], logits["tuned-eager"], atol=1e-4, err_msg=word)
