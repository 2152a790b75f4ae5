"""Pictures of README.md, taken in a browser from a finished `make demo`. All show simulated slides.

python docs/pictures/make.py DEMO
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--hide-scrollbars")
ADDRESS = re.compile(r"http://\S+")


@contextmanager
def serving(*words: object) -> Iterator[str]:
    """What a command serves until it is stopped: its address."""
    line = [sys.executable, "-m", "pipelines", *map(str, words)]
    process = subprocess.Popen(  # noqa: S603  our own words
        line, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        said = process.stdout or ()
        yield next(found[0] for found in map(ADDRESS.search, said) if found)
    finally:
        process.terminate()
        process.wait()


def keep(page: Page, name: str, **more: Any) -> None:
    """A picture of the page, with few enough colors to be small."""
    path = HERE / f"{name}.png"
    page.screenshot(path=path, **more)
    Image.open(path).convert("RGB").quantize(192).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def main(demo: Path) -> None:
    run = demo / "run"
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=shutil.which("chromium"), args=FLAGS,
            viewport={"width": 1200, "height": 760},
        )  # fmt: skip
        page = context.pages[0]
        page.goto((run / "report.html").resolve().as_uri())
        page.evaluate("document.querySelector('#slides').scrollIntoView()")
        keep(page, "report")
        with serving("serve", run, "--port", 8791) as address:
            page.goto(address)
            page.wait_for_load_state("networkidle")
            page.keyboard.press("n")
            page.wait_for_timeout(1500)
            keep(page, "viewer")
        slide = next((demo / "cohort" / "slides").glob("*.tif"))
        words = ("--model", run / "microscope" / "dman.pt", "--source", f"simulated:{slide}")
        with serving("live", *words, "--port", 8792) as address:
            page.goto(address)
            page.wait_for_timeout(6000)
            keep(page, "live")
        context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
