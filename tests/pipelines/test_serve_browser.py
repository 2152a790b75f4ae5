"""The viewer as people meet it: a real server, a real browser, real pixels on the screen."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pathology.tiling.store import open_tiles
from pathology.viewer.library import LOCAL
from tests.browser import browser_page, needs_chromium, sync_api
from tests.pipelines.viewed_run import (
    L0_EDGE,
    ODD_ID,
    SCRIPT_ID,
    WORST,
    served,
    write_predictions,
    write_run,
)

RED = (215, 25, 28)  # the ramp's end: a probability of 1
pytestmark = [
    pytest.mark.browser,
    needs_chromium,
    pytest.mark.skipif(not LOCAL.is_file(), reason="no OpenSeadragon: `make viewer` fetches it"),
]


class Screen:
    """A page in a browser, and what it complained of."""

    def __init__(self, page: sync_api.Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.hear(said))

    def hear(self, said: sync_api.ConsoleMessage) -> None:
        if said.type == "error" and "422" not in said.text:  # a refused slide is logged as well
            self.complaints.append(said.text)

    def open(self, address: str) -> None:
        self.page.goto("about:blank")
        self.page.goto(address)
        self.settle()

    def settle(self) -> None:
        """Wait until tiles are drawn and nothing moves, however slow the machine."""
        self.page.wait_for_load_state("networkidle")
        last = b""
        for _ in range(30):
            self.page.wait_for_timeout(400)
            shown = self.page.screenshot()
            if shown == last:
                break
            last = shown
        self.page.wait_for_load_state("networkidle")

    def link(self) -> dict[str, str]:
        return {k: v[0] for k, v in parse_qs(urlsplit(self.page.url).fragment).items()}

    def shot(self, name: str, folder: Path) -> NDArray[np.uint8]:
        data = self.page.screenshot(path=folder / name)
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a level-0 position is on the screen, by the permalink alone."""
        said, box = self.link(), self.page.locator("#stage").bounding_box()
        assert box is not None
        zoom = float(said["zoom"])
        return (
            box["x"] + box["width"] / 2 + (x - float(said["x"])) * zoom,
            box["y"] + box["height"] / 2 + (y - float(said["y"])) * zoom,
        )


@contextmanager
def browser(profile: Path) -> Iterator[Screen]:
    with browser_page(profile) as page:
        yield Screen(page)


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Screen, str, Path]]:
    folder = tmp_path_factory.mktemp("browser")
    run = write_run(folder)
    write_predictions(run, folder / "p.csv")
    words = (run, "--predictions", folder / "p.csv", "--stain", folder / "style.json")
    with served(*words) as address, browser(folder / "profile") as screen:
        yield screen, address, run


def mean_color(picture: NDArray[np.uint8], x: float, y: float) -> list[int]:
    around = picture[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4]
    return [round(value) for value in around.reshape(-1, 3).mean(axis=0)]


def test_load_zoom_overlay_hover_permalink_keys(
    screen: tuple[Screen, str, Path], tmp_path: Path
) -> None:
    seen, address, run = screen
    page = seen.page
    seen.open(address)
    assert page.locator("body").inner_text().startswith("Research use only")
    assert page.locator("#slides li").count() == 6
    assert seen.link()["slide"] == "s0" and seen.link()["class"] == "malignant"
    first = seen.shot("load.png", tmp_path)
    x, y = seen.place(512, 384)
    assert mean_color(first, x, y)[1] < 200  # tissue, not paper

    page.keyboard.press("n")  # the most suspicious tile, from the overlay's table
    seen.settle()
    corner = open_tiles(run / "tiles" / "s0.zarr").l0_xy[WORST].tolist()
    said = seen.link()
    assert abs(float(said["x"]) - corner[0] - L0_EDGE / 2) <= 1
    assert abs(float(said["y"]) - corner[1] - L0_EDGE / 2) <= 1
    for _ in range(12):
        page.keyboard.press("]")
    assert seen.link()["opacity"] == "1"
    page.wait_for_timeout(100)
    shown = seen.shot("suspicious.png", tmp_path)
    inside, outside = 0.04 * L0_EDGE, -0.08 * L0_EDGE
    for dx, dy in ((inside, inside), (L0_EDGE - inside, L0_EDGE - inside)):
        place = seen.place(corner[0] + dx, corner[1] + dy)
        assert mean_color(shown, *place) == list(RED)
    assert mean_color(shown, *seen.place(corner[0] + L0_EDGE / 2, corner[1] + outside)) != list(RED)

    page.mouse.move(*seen.place(corner[0] + 30, corner[1] + 30))
    rows = page.locator("#hover .row").all_inner_texts()
    assert [re.sub(r"\s+", " ", row) for row in rows] == [
        "benign 0 %",
        "unsure 0 %",
        "malignant 100 %",
    ]
    assert page.locator("#hover .place").inner_text() == f"x {corner[0]}, y {corner[1]}"

    page.keyboard.press("o")
    page.wait_for_timeout(100)
    hidden = seen.shot("hidden.png", tmp_path)
    assert mean_color(hidden, *seen.place(corner[0] + 200, corner[1] + 200)) != list(RED)
    assert seen.link()["overlay"] == "off"
    page.keyboard.press("o")

    page.keyboard.press("+")
    seen.settle()
    zoomed = seen.link()
    assert float(zoomed["zoom"]) == pytest.approx(1.5 * float(said["zoom"]), rel=0.01)
    seen.open(page.url)
    again = seen.link()
    for name in ("x", "y", "zoom"):
        assert float(again[name]) == pytest.approx(float(zoomed[name]), rel=0.002)
    assert {n: again[n] for n in ("slide", "class", "opacity")} == {
        "slide": "s0", "class": "malignant", "opacity": "1",
    }  # fmt: skip

    page.keyboard.press("0")
    page.keyboard.press("o")
    seen.settle()
    original = seen.shot("original.png", tmp_path)
    page.keyboard.press("s")
    seen.settle()
    assert seen.link()["style"] == "normalized"
    normalized = seen.shot("normalized.png", tmp_path)
    x, y = map(round, seen.place(512, 384))
    window = np.s_[y - 60 : y + 60, x - 60 : x + 60]
    change = np.abs(normalized[window].astype(int) - original[window]).mean()
    assert change > 4
    assert not page.locator("#style-problem").is_visible()

    page.keyboard.press("?")
    assert "next suspicious tile" in page.locator("#help").inner_text()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("moved")
    assert page.locator("#slides li").count() == 1
    assert seen.complaints == []


def test_what_cannot_be_shown_is_said_and_nothing_is_run(screen: tuple[Screen, str, Path]) -> None:
    seen, address, _ = screen
    page = seen.page
    seen.open(address)
    for name, said in (
        ("moved", "no such file"), ("broken", "damaged"), (SCRIPT_ID, "cannot be a file name"),
        ("../../etc/passwd", "cannot be a file name"),
    ):  # fmt: skip
        page.locator("#slides li").filter(has_text=name).click()
        page.locator("#message").filter(has_text=said).wait_for()
        assert name in page.locator("#message").inner_text()
        assert page.locator("#slide-name").inner_text() == name
        assert seen.link()["slide"] == name
    seen.open(
        f"{address}#slide=%3Cimg%20src%3Dx%20onerror%3Ddocument.title%3D'owned'%3E&class=x&zoom=1e99"
    )
    page.locator("#message").filter(has_text="no slide <img").wait_for()
    page.locator("#slides li").filter(has_text=ODD_ID).click()
    seen.settle()
    assert seen.link()["slide"] == ODD_ID
    assert not page.locator("#message").is_visible()
    assert page.locator("#no-predictions").is_visible()
    assert page.title() == f"{ODD_ID} · research use only"
    assert page.locator("body script, body img[src='x']").count() == 0
    assert seen.complaints == []
    page.route("**/openseadragon.min.js", lambda route: route.abort())
    page.goto("about:blank")
    page.goto(address)
    page.locator("#message").filter(has_text="OpenSeadragon could not be loaded").wait_for()
