"""The page at the microscope in a real browser: it follows, flags, and survives a lost source."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from pathology.inference.live import LiveSession
from pathology.inference.objectives import Objective, keep_objective
from pipelines.live import LiveOptions, run_live
from tests.inference.conftest import scene
from tests.inference.test_sources import wait_until

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1400,800",
)  # fmt: skip

selenium = pytest.importorskip("selenium", reason="pip install selenium")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium with chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(driver))
    yield made
    made.quit()


@pytest.mark.browser
def test_the_page_follows_a_camera(browser: object, model_path: Path, tmp_path: Path) -> None:
    folder, kept = tmp_path / "in", tmp_path / "objectives.yaml"
    folder.mkdir()
    for name, mpp in (("10x", 0.5), ("20x", 0.25)):
        keep_objective(kept, name, Objective(mpp=mpp))
    ready: list[tuple[LiveSession, str]] = []
    options = LiveOptions(
        model_path, str(folder), objective="10x", objectives=kept, port=0, threads=1
    )
    runner = threading.Thread(
        target=run_live, args=(options,),
        kwargs={"say": print, "on_start": lambda s, a: ready.append((s, a))},
    )  # fmt: skip
    runner.start()
    wait_until(lambda: bool(ready))
    session, address = ready[0]

    def text(css: str) -> str:
        return str(browser.find_element("css selector", css).text)

    def show(name: str, pixels: np.ndarray) -> None:
        cv2.imwrite(str(folder / name), pixels[..., ::-1])

    try:
        show("1.png", scene(640, 360))
        browser.get(address)
        wait_until(lambda: text("#grade") in ("benign", "atypical", "malignant"))
        assert text("header").upper().startswith("RESEARCH USE ONLY")
        assert text("#state") == "live" and "%" in text("#confidence")
        assert text("#mpp") == "0.5000 µm/px, calibrated"
        natural = (
            "const v = document.getElementById('view'); return [v.naturalWidth, v.naturalHeight]"
        )
        assert browser.execute_script(natural) == [640, 360]
        assert len(browser.find_elements("css selector", ".bar")) == 3
        picture(browser, "graded")
        show("2.png", np.full((360, 640, 3), 243, np.uint8))
        wait_until(lambda: text("#grade") == "not graded" and text("#confidence") == "glass only")
        show("3.png", cv2.GaussianBlur(scene(640, 360), (0, 0), 8))
        wait_until(lambda: text("#confidence") == "out of focus")
        picture(browser, "blurred")
        browser.find_element("css selector", "#objective option[value='20x']").click()
        show("4.png", scene(640, 360))
        wait_until(lambda: text("#mpp") == "0.2500 µm/px, calibrated")
        assert session.scale.objective == "20x"
        shutil.rmtree(folder)
        wait_until(lambda: text("#state").startswith("lost"))
        picture(browser, "lost")
        folder.mkdir()
        show("5.png", scene(640, 360))
        wait_until(lambda: text("#state") == "live")
        browser.get("about:blank")  # in the midst of a request
        wait_until(lambda: session.screen.num_waiting == 0)
        frames = session.speed.num_frames
        show("6.png", scene(640, 360, seed=4))
        wait_until(lambda: session.speed.num_frames > frames)
        errors = [line for line in browser.get_log("browser") if "favicon" not in line["message"]]
        assert not errors
    finally:
        session.stop()
        runner.join(timeout=20)
    assert not runner.is_alive()


def picture(browser: object, name: str) -> None:
    """A screenshot for whoever asked for them by naming a folder."""
    folder = os.environ.get("PATHOLOGY_SCREENSHOTS")
    if folder:
        browser.save_screenshot(str(Path(folder) / f"live_{name}.png"))
