"""Opens label maps in every format that is read."""

from pathlib import Path

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.label_maps import LabelMaps
from mavos_deploy.runtime.masks.pictures import file_maps, folder_maps


def open_label_maps(path: Path) -> LabelMaps:
    """Find the label maps of a video; they are read when asked for.

    Args:
        path: A picture, or a folder of pictures.

    Raises:
        InputError: The path does not exist, or holds no masks.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; expected a mask, or a folder of masks")
    return folder_maps(path) if path.is_dir() else file_maps(path)
