"""Exported bundles, each of them made once in a test run."""

import hashlib
import shutil
from pathlib import Path

from filelock import FileLock

from mavos_deploy.export.exporter import Plan, write_bundle
from mavos_deploy.models.variants import VARIANTS
from mavos_deploy.runtime.bundles.memory import MemoryRule
from mavos_deploy.runtime.geometry import Size

Stamps = dict[str, tuple[int, int]]


class Exports:
    """Exports bundles, each once for all processes of a test run; an export takes half a minute.

    Args:
        folder: Folder of the bundles, the same one in all processes; made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._given: dict[Path, Stamps] = {}
        folder.mkdir(exist_ok=True)

    def __call__(
        self,
        variant: str,
        size: Size,
        memory_gap: int | None,
        target: str,
        precision: str = "fp32",
        *,
        dynamic: bool = False,
        tiled: tuple[Size, ...] = (),
        memory: MemoryRule | None = None,
    ) -> Path:
        """Return the bundle of a plan, with shipped or synthetic weights.

        All tests share its files: a test that changes a bundle works on a copy.
        """
        plan = Plan(VARIANTS[variant], size, memory_gap, target, precision, dynamic, tiled, memory)
        digest = hashlib.sha256(repr(plan).encode()).hexdigest()[:12]
        bundle = self._folder / f"{variant}-{digest}"
        with FileLock(f"{bundle}.lock"):
            if not bundle.exists():
                unfinished = self._folder / f"{bundle.name}.unfinished"
                shutil.rmtree(unfinished, ignore_errors=True)  # a process that was ended left it
                unfinished.mkdir()
                write_bundle(plan, None, unfinished, lambda line: None)
                unfinished.rename(bundle)
        self._given.setdefault(bundle, _stamps(bundle))
        return bundle

    def changed(self) -> list[Path]:
        """List the bundles with files that were changed, added or removed by a test."""
        return [bundle for bundle, stamps in self._given.items() if _stamps(bundle) != stamps]


def _stamps(folder: Path) -> Stamps:
    """Size in bytes and time of the last change of each file."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }
