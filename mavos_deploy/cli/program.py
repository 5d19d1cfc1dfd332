"""The program `mavos`, with all commands."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import cast

from mavos_deploy.cli.launch import launch

# Where the function of each command is, imported when the command or its help is wanted.
COMMANDS = {
    "export": "mavos_deploy.cli.export:export",
    "verify": "mavos_deploy.cli.verify:verify",
    "calibrate": "mavos_deploy.cli.calibrate:calibrate",
    "build": "mavos_deploy.cli.build:build",
    "run": "mavos_deploy.cli.run:run",
    "studio": "mavos_deploy.cli.studio:studio",
    "convert": "mavos_deploy.cli.convert:convert",
    "batch": "mavos_deploy.cli.batch:batch",
    "eval": "mavos_deploy.cli.evaluate:evaluate",
    "bench": "mavos_deploy.cli.bench:bench",
    "triton": "mavos_deploy.cli.triton:triton",
    "doctor": "mavos_deploy.cli.doctor:doctor",
}


def main() -> None:
    """Entry point of `mavos`."""
    called = [name for name in sys.argv[1:2] if name in COMMANDS]
    functions = {name: _function(COMMANDS[name]) for name in called or COMMANDS}
    launch(functions, "mavos", "MAVOS video object segmentation as verified ONNX graphs.")


def _function(place: str) -> Callable[..., None]:
    module, _, name = place.partition(":")
    return cast(Callable[..., None], getattr(import_module(module), name))
