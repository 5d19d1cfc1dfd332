"""Warnings that several commands give, and only where they are true."""

from dataclasses import replace
from pathlib import Path

import pytest

from mavos_deploy.cli.console import Console
from mavos_deploy.cli.notices import (
    warn_if_inexact,
    warn_if_tiled,
    warn_if_untrained,
    warn_without_plots,
)
from mavos_deploy.evaluation import tables
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.manifest import Manifest, Target
from tests.bundles import hollow_bundle

Capture = pytest.CaptureFixture[str]
SAY = Console(json=True, quiet=True)  # warnings are never kept back


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return Bundle.open(hollow_bundle(tmp_path)).manifest


def test_untrained_weights_are_warned_of(manifest: Manifest, capsys: Capture) -> None:
    warn_if_untrained(SAY, replace(manifest, trained=True))
    assert capsys.readouterr().err == ""
    warn_if_untrained(SAY, manifest)
    assert "UNTRAINED WEIGHTS: this mobilenet bundle" in capsys.readouterr().err


def test_less_precision_than_the_bundle_has_is_warned_of(
    manifest: Manifest, capsys: Capture
) -> None:
    warn_if_inexact(SAY, "some", "fp16", manifest.arithmetic)
    assert capsys.readouterr().err == ""
    warn_if_inexact(SAY, "some", "bf16", manifest.arithmetic)
    assert "some computes in bf16, and this bundle is fp16: masks" in capsys.readouterr().err


def test_attention_in_tiles_is_warned_of(manifest: Manifest, capsys: Capture) -> None:
    warn_if_tiled(SAY, manifest)
    assert capsys.readouterr().err == ""
    warn_if_tiled(SAY, replace(manifest, target=Target.CPU))
    assert "exported with --target cpu" in capsys.readouterr().err


def test_missing_plots_are_warned_of(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "can_draw", lambda: True)
    assert warn_without_plots(SAY)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(tables, "can_draw", lambda: False)
    assert not warn_without_plots(SAY)
    assert "no plots: matplotlib is missing; pip install" in capsys.readouterr().err
