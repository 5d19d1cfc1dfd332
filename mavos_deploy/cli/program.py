"""The program `mavos`, with all commands."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import cast

from mavos_deploy.cli.entry import COMMANDS
from mavos_deploy.cli.launch import launch


def main() -> None:
    """Entry point of `mavos`."""
    called = [name for name in sys.argv[1:2] if name in COMMANDS]
    functions = {name: function_of(name) for name in called or COMMANDS}
    launch(functions, "mavos", "MAVOS video object segmentation as verified ONNX graphs.")


def function_of(command: str) -> Callable[..., None]:
    """The function of a command, whose module is imported now."""
    name = COMMANDS[command]
    return cast(Callable[..., None], getattr(import_module(f"mavos_deploy.cli.{name}"), name))
