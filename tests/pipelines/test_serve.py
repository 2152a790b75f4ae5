"""`pathology serve`: what of a run is shown, to whom, and what it survives."""

from __future__ import annotations

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from pathology.core.errors import ArtifactError, ConfigError
from pathology.slides import jpeg
from pathology.stain.saved_style import StainError
from pathology.viewer.app import viewer_app
from pipelines.serve import (
    ServeOptions,
    _found,
    _root,
    find_predictions,
    lost_line,
    scene_of,
    serve,
    title_of,
)
from tests.conftest import psnr
from tests.in_process import PATHOLOGY
from tests.pipelines.viewed_run import (
    ODD_ID,
    SCRIPT_ID,
    WORST,
    served,
    statuses,
    write_predictions,
    write_run,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write_run(tmp_path_factory.mktemp("served"))
    write_predictions(made, made / "predictions.csv")
    return made


def test_simulated_slides_are_called_so(run: Path, tmp_path: Path) -> None:
    assert title_of(run) == run.name
    table = (run / "process_list.csv").read_text(encoding="utf-8")
    (tmp_path / "process_list.csv").write_text(table.replace("\ns0,", "\nsim_0,"), encoding="utf-8")
    assert title_of(tmp_path) == f"{tmp_path.name}: simulated slides, not patients"


def test_every_slide_of_the_run_is_listed(run: Path) -> None:
    scene = scene_of(ServeOptions(run))
    assert list(scene.slides) == list(statuses(run))
    shown = {name: slide.as_json() for name, slide in scene.slides.items()}
    assert shown["s0"]["grade"] == "malignant" and shown["s0"]["probability"] == 0.8
    assert shown["s0"]["has_predictions"] and not shown["moved"]["has_predictions"]
    assert shown["s0"]["label"] == "adenoma"
    assert "features is damaged" in shown[ODD_ID]["problem"]
    assert "cannot be a file name" in shown[SCRIPT_ID]["problem"]
    assert not shown[SCRIPT_ID]["has_file"] and not shown["../../etc/passwd"]["has_file"]
    overlay = scene.slides["s0"].overlay
    assert overlay is not None
    said = overlay.as_json()
    assert said["suspicious"][2][0] == WORST
    assert said["thousandths"][2][WORST] == 1000


def test_slides_are_found_where_they_lie(run: Path, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    table = run / "process_list.csv"
    text = table.read_text()
    relative = tmp_path / "home" / "run"
    relative.mkdir(parents=True)
    (relative / "process_list.csv").write_text(text.replace(f"{run.parent}/", ""))
    (tmp_path / "home" / "slides").symlink_to(run.parent / "slides")
    monkeypatch.chdir("/")
    scene = scene_of(ServeOptions(relative))
    assert scene.describe(scene.slides["s0"])["width"] == 1024
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "moved.tif").symlink_to(run.parent / "slides" / "s0.tif")
    scene = scene_of(ServeOptions(run, slides=moved))
    assert scene.describe(scene.slides["moved"])["width"] == 1024
    assert scene.slides["s0"].record is None  # not in the new table


def test_slides_that_are_not_where_they_were_are_named_at_the_start(
    run: Path, tmp_path: Path
) -> None:
    said = lost_line(scene_of(ServeOptions(run)), None)
    assert said.startswith("Only 3 of 4 slide files found; missing: moved. Give --slides,")
    table = (run / "process_list.csv").read_text(encoding="utf-8")
    gone = table.replace(str(run.parent / "slides"), "/nowhere")
    (tmp_path / "process_list.csv").write_text(gone, encoding="utf-8")
    words = (*PATHOLOGY, "serve", str(tmp_path), "--port", "0")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        start = list(takewhile(lambda line: not line.startswith("Ctrl-C"), server.stdout))
        server.terminate()
    assert start[1].startswith("None of 4 slide files found; missing: s0, ")
    assert "Give --slides, a table or folder of where they lie now." in start[1]
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "s0.tif").symlink_to(run.parent / "slides" / "s0.tif")
    scene = scene_of(ServeOptions(tmp_path, slides=tmp_path / "here"))
    said = lost_line(scene, tmp_path / "here")
    assert said.startswith("Only 1 of 4") and "Correct" in said


def test_predictions_are_found_by_themselves(run: Path, tmp_path: Path) -> None:
    assert find_predictions(run) == run / "predictions.csv"
    (tmp_path / "biopsy.tiles").mkdir()
    assert find_predictions(tmp_path / "biopsy.tiles") is None
    (tmp_path / "biopsy.csv").touch()
    assert find_predictions(tmp_path / "biopsy.tiles") == tmp_path / "biopsy.csv"


def test_normalized_tiles_are_the_slide_in_the_models_colors(run: Path) -> None:
    scene = scene_of(ServeOptions(run, stain=run.parent / "style.json"))
    with TestClient(viewer_app(scene, "run"), "http://localhost") as client:
        tiles = {}
        for style in ("original", "normalized"):
            answer = client.get(f"/tiles/{style}/10/1/1?slide=s0")
            tiles[style] = jpeg.decode(answer.content, (256, 256))
        assert client.get("/api/normalization?slide=s0").json() == {"problem": ""}
        assert client.get("/api/normalization?slide=moved").status_code == 422
        before = psnr(tiles["original"], tiles["normalized"])
        assert before < 35  # another seed's texture, another mean
        (record := scene.slides["s0"].record)
        assert record is not None
        painted = scene._repaints(None, record).paint(tiles["original"])  # type: ignore[union-attr, arg-type]
        assert psnr(painted, tiles["normalized"]) > 35


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("slide_id,l0_x\ns0,1\n", "no predictions of tiles"),
        ("slide_id,l0_x,l0_y,l0_edge,prob_a,prob_b\ns0,0,0,256,0.5,nan\n", "do not lie in 0-1"),
        ("slide_id,l0_x,l0_y,l0_edge,prob_a,prob_b\ns0,0,0,256,x,0.5\n", "prob_a"),
        ("slide_id,l0_x,l0_y,l0_edge,prob_a,prob_b\nelse,0,0,256,0.5,0.5\n", "none of its slides"),
        ("", "cannot be read"),
    ],
)
def test_what_is_no_table_is_refused(run: Path, tmp_path: Path, table: str, said: str) -> None:
    (tmp_path / "p.csv").write_text(table)
    with pytest.raises(ArtifactError, match=said):
        scene_of(ServeOptions(run, predictions=tmp_path / "p.csv"))


def test_refusals_before_anything_starts(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no run here"):
        scene_of(ServeOptions(tmp_path))
    with pytest.raises(StainError):
        scene_of(ServeOptions(run, stain=tmp_path / "none.json"))
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError) as refused:
        serve(ServeOptions(run, port=taken.getsockname()[1]))
    assert "cannot listen on 127.0.0.1" in str(refused.value)


def test_clients_that_leave_and_clients_that_stay(run: Path) -> None:
    """Many hang up in the midst of a tile; others get theirs, all of them."""
    with served(run, "--stain", run.parent / "style.json") as address:
        host, port = address.removeprefix("http://").rstrip("/").split(":")

        def leave(number: int) -> None:
            with socket.create_connection((host, int(port))) as line:
                style = ("original", "normalized")[number % 2]
                path = f"/tiles/{style}/10/{number % 4}/{number // 20}?slide=s0"
                line.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                if number % 3:
                    line.recv(200)

        def stay(number: int) -> int:
            return httpx2.get(f"{address}tiles/original/10/{number % 4}/1?slide=s0").status_code

        with ThreadPoolExecutor(20) as pool:
            gone = [pool.submit(leave, number) for number in range(60)]
            assert set(pool.map(stay, range(11))) == {200}
            for future in gone:
                future.result()
        assert httpx2.get(f"{address}api/slide?slide=broken").status_code == 422
        assert httpx2.get(f"{address}api/slide?slide=s0").status_code == 200


def test_other_machines_need_the_token(run: Path) -> None:
    with served(run, "--host", "0.0.0.0") as address:  # noqa: S104
        port, _, token = address.rpartition(":")[2].partition("/?token=")
        assert len(token) >= 32
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.get("/api/slides").status_code == 401
            assert client.get(f"/?token={token}", follow_redirects=True).status_code == 200
            assert client.get("/api/slides").status_code == 200


def test_no_torch_until_it_is_needed(run: Path) -> None:
    words = (
        "import sys; import pipelines.serve, pathology.viewer.app; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_run_finds_its_own_slide_and_not_the_callers(tmp_path: Path) -> None:
    """Relative paths: two projects, each with slides/s.png, looked at from within the other."""
    for name, size in (("here", 5), ("there", 7)):
        (tmp_path / name / "slides").mkdir(parents=True)
        (tmp_path / name / "slides" / "s.png").write_bytes(bytes(size))
    path, roots = Path("slides/s.png"), [tmp_path / "here", tmp_path / "there"]
    for size, name in ((5, "here"), (7, "there"), (None, "here"), (9, "here")):
        assert _found(path, size, roots) == tmp_path / name / path
    assert _root(tmp_path / "there" / "run")[0] == tmp_path / "there"
    assert _found(Path("no.png"), 5, roots) == Path("no.png")
