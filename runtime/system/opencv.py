"""OpenCV, imported when it is needed: commands that only print their help don't wait for it."""

from typing import Any

from mavos_deploy.errors import BackendError, one_line


def opencv() -> Any:  # noqa: ANN401  # untyped in part
    """Import OpenCV, which takes a tenth of a second the first time.

    Returns:
        The module `cv2`.

    Raises:
        BackendError: It is not installed, or lacks a system library that it needs.
    """
    try:
        import cv2
    except ImportError as error:
        raise BackendError(
            f"OpenCV can't be imported ({one_line(error)}), and it resizes frames and draws; "
            "install it with pip install --force-reinstall opencv-python-headless"
        ) from error
    return cv2
