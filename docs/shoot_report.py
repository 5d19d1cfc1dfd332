"""Takes the picture of a report for docs/confidence.md, with the Chromium of the tests.

python docs/shoot_report.py PAGE.html PICTURE.png
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.browser import opened


def main() -> None:
    """Open the page and save what is seen of it."""
    page, picture = Path(sys.argv[1]), Path(sys.argv[2])
    with TemporaryDirectory() as folder, opened(Path(folder), width=1000, height=720) as chrome:
        chrome.get(page.resolve().as_uri())
        chrome.save_screenshot(str(picture))
    with Image.open(picture) as image:
        image.convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(picture, optimize=True)


if __name__ == "__main__":
    main()
