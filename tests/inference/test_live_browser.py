"""The page at the microscope in a real browser: it follows, flags, and survives a lost source."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pathology.inference.live import LiveSession
from pathology.inference.objectives import Objective, keep_objective
from pipelines.live import LiveOptions, run_live
from tests.browser import browser_page, needs_chromium
from tests.inference.conftest import scene
from tests.inference.test_sources import wait_until


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser_page(tmp_path_factory.mktemp("profile"), 1400, 900) as page:
        yield page


@needs_chromium
@pytest.mark.browser
def test_the_page_follows_a_camera(page: Any, model_path: Path, tmp_path: Path) -> None:
    folder, kept = tmp_path / "in", tmp_path / "objectives.yaml"
    folder.mkdir()
    for name, mpp in (("10x", 0.5), ("20x", 0.25)):
        keep_objective(kept, name, Objective(mpp=mpp))
    ready: list[tuple[LiveSession, str]] = []
    errors: list[str] = []
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
        return str(page.locator(css).inner_text())

    def show(name: str, pixels: np.ndarray) -> None:
        cv2.imwrite(str(folder / name), pixels[..., ::-1])

    try:
        show("1.png", scene(640, 360))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.goto(address)
        wait_until(lambda: text("#grade") in ("benign", "atypical", "malignant"))
        assert text("header").upper().startswith("RESEARCH USE ONLY")
        assert text("#state") == "live" and "%" in text("#confidence")
        assert text("#mpp") == "0.5000 µm/px, calibrated"
        natural = "(v => [v.width, v.height])(document.getElementById('view'))"
        assert page.evaluate(natural) == [640, 360]
        assert page.locator(".bar").count() == 3
        picture(page, "graded")
        show("2.png", np.full((360, 640, 3), 243, np.uint8))
        wait_until(lambda: text("#grade") == "not graded" and text("#confidence") == "glass only")
        show("3.png", cv2.GaussianBlur(scene(640, 360), (0, 0), 8))
        wait_until(lambda: text("#confidence") == "out of focus")
        picture(page, "blurred")
        page.select_option("#objective", "20x")
        show("4.png", scene(640, 360))
        wait_until(lambda: text("#mpp") == "0.2500 µm/px, calibrated")
        assert session.scale.objective == "20x"
        shutil.rmtree(folder)
        wait_until(lambda: text("#state").startswith("lost"))
        picture(page, "lost")
        folder.mkdir()
        show("5.png", scene(640, 360))
        wait_until(lambda: text("#state") == "live")
        page.goto("about:blank")  # in the midst of a request
        wait_until(lambda: session.screen.num_waiting == 0)
        frames = session.speed.num_frames
        show("6.png", scene(640, 360, seed=4))
        wait_until(lambda: session.speed.num_frames > frames)
        assert not errors
    finally:
        session.stop()
        runner.join(timeout=20)
    assert not runner.is_alive()


def picture(page: Any, name: str) -> None:
    """A screenshot for whoever asked for them by naming a folder."""
    folder = os.environ.get("PATHOLOGY_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"live_{name}.png")
