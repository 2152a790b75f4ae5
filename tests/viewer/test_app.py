"""The application as a client meets it: what it serves and refuses, whatever slides are called."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from starlette.testclient import TestClient

from pathology.core.manifest import SlideRecord
from pathology.slides import jpeg
from pathology.viewer.app import viewer_app
from pathology.viewer.library import INTEGRITY, LOCAL, STATIC, VERSION, openseadragon
from pathology.viewer.overlay import Overlay
from pathology.viewer.scene import Scene, ViewedSlide
from tests.conftest import ROOT, tissue_pixels, write_pyramid

NASTY = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "../../etc/passwd", "a\r\nX: y",
    "{{7*7}}", "a'b&c#d?e=f%2e%2e%2f", "\u202egpj.exe", "", "\0",
)  # fmt: skip
TOKEN = "s3cret"  # noqa: S105
BASE = "http://127.0.0.1"


@pytest.fixture(scope="module")
def slide_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seen")
    return write_pyramid(folder / "s.tif", tissue_pixels(1000, 700), downsamples=(4,))


def scene_of(path: Path) -> Scene:
    corners = np.array([[0, 0], [256, 0]])
    overlay = Overlay(("benign", "bad"), corners, 256, np.array([[0.9, 0.1], [0.2, 0.8]]))
    broken = path.with_name("broken.tif")
    broken.write_bytes(path.read_bytes()[:9000])
    slides = [ViewedSlide(name, SlideRecord(name, path), overlay=overlay) for name in NASTY]
    slides += [
        ViewedSlide("plain", SlideRecord("plain", path, mpp=0.25)),
        ViewedSlide("broken", SlideRecord("broken", broken)),
        ViewedSlide("missing", SlideRecord("missing", path.with_name("gone.tif"))),
        ViewedSlide("rejected", None, problem="failed: its row is wrong"),
    ]
    return Scene(slides)


@pytest.fixture(scope="module")
def client(slide_file: Path) -> Iterator[TestClient]:
    app = viewer_app(scene_of(slide_file), "A <b>run</b>", threads=2)
    with TestClient(app, BASE, raise_server_exceptions=False) as client:
        yield client


def test_the_page_says_first_what_it_is_for(client: TestClient) -> None:
    page = client.get("/")
    body = page.text.partition("<body>")[2]
    assert re.sub(r"<[^>]*>|\s+", " ", body).split()[:3] == ["Research", "use", "only"]
    assert "A &lt;b&gt;run&lt;/b&gt;" in page.text and "<b>run" not in page.text
    assert "<script>" not in page.text and " style=" not in page.text and " onc" not in page.text


@pytest.mark.parametrize("path", ["/", "/api/slides", "/nothing", "/tiles/original/9/9/9?slide=x"])
def test_every_answer_has_strict_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")  # and a CDN, without npm
    assert "; style-src 'self'" in policy
    assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("name", NASTY)
def test_any_name_is_found_by_itself_and_does_no_harm(client: TestClient, name: str) -> None:
    listed = client.get("/api/slides")
    assert listed.headers["content-type"] == "application/json"
    assert name in [slide["id"] for slide in listed.json()["slides"]]
    said = client.get("/api/slide", params={"slide": name})
    assert said.json()["id"] == name and said.json()["width"] == 1000
    tile = client.get("/tiles/original/10/1/0", params={"slide": name})
    assert tile.status_code == 200 and tile.headers["content-type"] == "image/jpeg"
    assert "x" not in tile.headers  # the second line of a name is no header
    assert client.get("/api/predictions", params={"slide": name}).json()["classes"][1] == "bad"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd",
        "/static/index.html.j2", "/../../etc/passwd", "/tiles/original/10/0/0",
        "/tiles/original/10/0/0?slide=/etc/passwd", "/tiles/original/10/0/0?slide=s.tif",
        "/tiles/normalized/10/0/0?slide=plain", "/tiles/other/10/0/0?slide=plain",
        "/tiles/original/10/-1/0?slide=plain", "/tiles/original/10/4/0?slide=plain",
        "/tiles/original/11/0/0?slide=plain", "/tiles/original/0/0/0?slide=plain",
        f"/tiles/original/{'9' * 5000}/0/0?slide=plain", "/tiles/original/10/0/%D9%A3?slide=plain",
        "/tiles/original/10/0/0%00?slide=plain", "/api/slide?slide=none", "/api/slide",
        "/api/predictions?slide=plain", "/api/thumbnail?slide=%FF",
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_found(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_slide_that_cannot_be_shown_says_why_and_the_rest_goes_on(
    client: TestClient, slide_file: Path
) -> None:
    for name, said in (("broken", "damaged"), ("missing", "no such file"), ("rejected", "its row")):
        for path in ("/api/slide", "/tiles/original/10/0/0", "/api/thumbnail"):
            answer = client.get(path, params={"slide": name})
            assert answer.status_code == 422
            assert said in answer.json()["problem"]
            assert "Traceback" not in answer.text
            assert str(slide_file.parent) not in answer.text  # folders may hold names
    assert client.get("/api/slide?slide=plain").json()["mpp"] == 0.25


def test_a_damaged_place_costs_its_tiles_only(slide_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "scratched.tif"
    with tifffile.TiffFile(slide_file) as tiff:
        page = tiff.pages.first
        start, length = page.dataoffsets[0], page.databytecounts[0]
    data = bytearray(slide_file.read_bytes())
    data[start + length // 2 : start + length] = bytes(length - length // 2)
    path.write_bytes(data)
    scene = Scene([ViewedSlide("s", SlideRecord("s", path))])
    with TestClient(viewer_app(scene, "run"), BASE) as client:
        answer = client.get("/tiles/original/9/0/0?slide=s")
        assert answer.status_code == 422
        assert "column 0, row 0 of level 0 is damaged" in answer.json()["problem"]
        assert client.get("/tiles/original/9/1/0?slide=s").status_code == 200
        assert client.get("/tiles/original/8/0/0?slide=s").status_code == 200  # another level


def test_tiles_are_the_slide(client: TestClient, slide_file: Path) -> None:
    first = client.get("/tiles/original/10/1/1?slide=plain")
    edge = client.get("/tiles/original/10/3/2?slide=plain").content
    assert jpeg.decode(edge, (1000 - 768, 700 - 512)).shape == (188, 232, 3)
    again = client.get("/tiles/original/10/1/1?slide=plain")
    assert again.content == first.content
    small = client.get("/api/thumbnail?slide=plain").content
    assert jpeg.decode(small, (250, 175)).mean() < 250


def test_browsers_keep_pictures_by_their_version_alone(slide_file: Path, tmp_path: Path) -> None:
    """Another run's slide of the same id, or another stain model, has other addresses."""
    same = tmp_path / "s.tif"
    shutil.copy2(slide_file, same)  # of the same size and time
    versions = []
    for path, colors in ((slide_file, ""), (same, ""), (same, "other"), (same, "other")):
        scene = Scene([ViewedSlide("s", SlideRecord("s", path))], colors=colors)
        with TestClient(viewer_app(scene, "run"), BASE) as client:
            version = client.get("/api/slides").json()["slides"][0]["version"]
            assert version == client.get("/api/slide?slide=s").json()["version"]
            for address in ("/tiles/original/9/0/0?slide=s", "/api/thumbnail?slide=s"):
                kept = client.get(f"{address}&v={version}").headers["cache-control"]
                assert kept == "private, max-age=86400"
                for old in ("", "&v=", *(f"&v={v}" for v in versions if v != version)):
                    assert client.get(address + old).headers["cache-control"] == "no-store"
        versions.append(version)
    assert len(set(versions)) == 3 and versions[2] == versions[3]
    addresses = "".join(path.read_text() for path in STATIC.glob("*.js"))
    assert addresses.count("slide=${") == addresses.count("&v=${") + 1  # but for JSON, not kept


def test_a_slide_without_a_file_has_no_version(slide_file: Path) -> None:
    scene = scene_of(slide_file)
    versions = {slide["id"]: slide["version"] for slide in scene.listed()}
    assert versions["missing"] == versions["rejected"] == "" != versions["plain"]


def test_no_other_name_leads_here(client: TestClient) -> None:
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/", headers={"host": "localhost:8000"}).status_code == 200
    assert client.post("/").status_code == 405


@pytest.fixture
def guarded(slide_file: Path) -> Iterator[TestClient]:
    app = viewer_app(scene_of(slide_file), "run", token=TOKEN, hosts=None, threads=2)
    with TestClient(app, "http://slides.example", follow_redirects=False) as client:
        yield client


def test_without_the_token_nothing_is_shown(guarded: TestClient) -> None:
    for path in ("/", "/api/slides", "/static/viewer.js", "/tiles/original/10/0/0?slide=plain"):
        for query in ("", "token=", "token=s3cre", "token=s3cret2", "token=%FF%FE"):
            answer = guarded.get(f"{path}{'&' if '?' in path else '?'}{query}")
            assert answer.status_code == 401
            assert answer.text.startswith("Research use only") and "s3cret" not in answer.text
    answer = guarded.get("/", headers={"cookie": "pathology_x=s3cret; ;;=,"})
    assert answer.status_code == 401


def test_the_token_is_asked_once(guarded: TestClient) -> None:
    answer = guarded.get("/", params={"token": TOKEN})
    assert answer.status_code == 303 and answer.headers["location"] == "./"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie
    assert guarded.get("/").status_code == 200  # by the cookie
    assert guarded.get("/api/slides").status_code == 200
    guarded.cookies.clear()
    assert guarded.get("/api/slides").status_code == 401
    assert guarded.get("//evil.example/?token=x").status_code == 401


def test_the_library_from_the_cdn_is_bound_to_its_hash(slide_file: Path, tmp_path: Path) -> None:
    script = openseadragon(tmp_path / "none.js")
    app = viewer_app(scene_of(slide_file), "run", script=script)
    with TestClient(app, BASE) as client:
        page = client.get("/")
        assert f'integrity="{INTEGRITY}" crossorigin="anonymous"' in page.text
        assert f"script-src 'self' {script.origin};" in page.headers["content-security-policy"]
    package = json.loads((ROOT / "package.json").read_text())
    assert package["dependencies"]["openseadragon"] == VERSION
    lock = (ROOT / "package-lock.json").read_text()
    assert "resolved" not in lock and f'"version": "{VERSION}"' in lock


@pytest.mark.skipif(not LOCAL.is_file(), reason="no OpenSeadragon here: `make viewer` fetches it")
def test_the_hash_is_that_of_the_library() -> None:
    import base64
    import hashlib

    digest = hashlib.sha384(LOCAL.read_bytes()).digest()
    assert f"sha384-{base64.b64encode(digest).decode()}" == INTEGRITY


def test_the_page_makes_no_html_of_text() -> None:
    for path in STATIC.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
