"""The program `mavos` with all commands."""

from collections.abc import Callable

from mavos_deploy.cli.bench import bench
from mavos_deploy.cli.build import build
from mavos_deploy.cli.calibrate import calibrate
from mavos_deploy.cli.doctor import doctor
from mavos_deploy.cli.evaluate import evaluate
from mavos_deploy.cli.export import export
from mavos_deploy.cli.launch import launch
from mavos_deploy.cli.run import run
from mavos_deploy.cli.triton import triton
from mavos_deploy.cli.verify import verify


def main() -> None:
    """Entry point of `mavos`."""
    commands: dict[str, Callable[..., None]] = {
        "export": export,
        "verify": verify,
        "calibrate": calibrate,
        "build": build,
        "run": run,
        "eval": evaluate,
        "bench": bench,
        "triton": triton,
        "doctor": doctor,
    }
    launch(commands, "mavos")
