"""A headless Chromium, from the distribution, for tests of pages.

apt-get install chromium chromium-driver
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
INSTALLED = bool(CHROMIUM and DRIVER and find_spec("selenium"))
if os.environ.get("MAVOS_REQUIRE_BROWSER") and not INSTALLED:
    raise ImportError(
        "chromium, chromedriver or selenium is missing, and MAVOS_REQUIRE_BROWSER set"
    )
PATIENCE = 60  # seconds after which a test gives up


@contextmanager
def opened(folder: Path, width: int = 1280, height: int = 720) -> Iterator["Chrome"]:
    """Open a browser whose pages are that large.

    Args:
        folder: An empty folder for the browser's own files.
        width: Width of a page, in pixels.
        height: Height of a page, in pixels.
    """
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "--headless=new",
        "--no-sandbox",  # which needs another user than root
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-first-run",
        f"--user-data-dir={folder}",
        f"--window-size={width},{height}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options, Service(str(DRIVER)))
    try:
        browser.set_script_timeout(PATIENCE)
        frame = browser.execute_script(
            "return [outerWidth - innerWidth, outerHeight - innerHeight]"
        )
        browser.set_window_size(width + frame[0], height + frame[1])
        yield browser
    finally:
        browser.quit()


def complaints(browser: "Chrome") -> list[str]:
    """Warnings and errors in the console since the last call."""
    log: list[dict[str, Any]] = browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium
    return [json.dumps(entry) for entry in log if entry["level"] in ("SEVERE", "WARNING")]
