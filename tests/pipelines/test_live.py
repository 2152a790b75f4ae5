"""`pathology live` from a source to files, as a user runs it."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from pathology.adapt.config import AdaptConfig
from pathology.core.errors import ArtifactError, ConfigError
from pathology.inference.live import LiveSession
from pathology.inference.taught_limits import limits_path
from pathology.models.card import ContractError
from pipelines.adapt_train import AdaptOptions, read_domains
from pipelines.input_kinds import look_at
from pipelines.live import LiveOptions, run_live
from pipelines.live_limits import write_limits
from pipelines.live_model import load_live
from tests.inference.conftest import encoder, head, model_path, scene
from tests.inference.test_sources import wait_until
from tests.inference.test_stage_micrometer import ruling
from tests.pipelines.small_encoder import SMALLEST, write_weights

__all__ = ["encoder", "head", "model_path"]  # fixtures
WORDS = [sys.executable, "-m", "pipelines"]
Options = dict[str, object]


def command(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*WORDS, *map(str, words)], capture_output=True, text=True, timeout=120)


def write_pan(path: Path, num: int = 30) -> Path:
    """A video of tissue that stands still for a while, moves on, and ends on glass."""
    whole = scene(960, 480)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (320, 240))
    for i in range(num):
        x = 40 * max(0, i - 10)
        shown = whole[100:340, min(x, 640) : min(x, 640) + 320]
        writer.write(np.full_like(shown, 244) if i > 24 else shown[..., ::-1].copy())
    writer.release()
    return path


def options_of(model: Path, source: str, **more: object) -> LiveOptions:
    given: Options = {"mpp": 0.5, "port": None, "threads": 1, **more}
    return LiveOptions(model, source, **given)  # type: ignore[arg-type]


def test_a_video_becomes_a_recording_and_pictures_that_adaptation_takes(
    model_path: Path, tmp_path: Path
) -> None:
    video = write_pan(tmp_path / "pan.avi")
    done = command(
        "live", "--model", model_path, "--source", video, "--mpp", 0.5, "--port", 0, "--record",
        tmp_path / "out.mp4", "--save", tmp_path / "cam", "--save-every", 0, "--threads", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Research use only.")
    assert "Open http://127.0.0.1:" in done.stdout and "capture to overlay" in done.stdout
    assert cv2.VideoCapture(str(tmp_path / "out.mp4")).read()[0]
    manifest = tmp_path / "cam" / "manifest.csv"
    rows = list(csv.DictReader(manifest.read_text().splitlines()))
    assert rows and {row["mpp"] for row in rows} == {"0.5"}
    assert len({row["case_id"] for row in rows}) == 1
    # the loop closes: what was saved is a target as it is
    source = tmp_path / "source.csv"
    labels = ("benign", "malignant")
    for i in range(8):
        cv2.imwrite(str(tmp_path / f"s{i}.png"), scene(64, 64, seed=i))
    source.write_text(
        "slide_id,case_id,slide_path,label,mpp\n"
        + "".join(f"s{i},c{i},s{i}.png,{labels[i % 2]},1.0\n" for i in range(8))
    )
    settings = AdaptConfig(encoder=SMALLEST, size_px=64, steps=1)
    weights = write_weights(tmp_path / "w.pt", name=SMALLEST)
    domains = read_domains(
        look_at(source), look_at(manifest), settings,
        AdaptOptions(device="cpu", weights=weights), tmp_path / "run",
    )  # fmt: skip
    assert set(domains.target.slide_ids) == {row["slide_id"] for row in rows}
    assert domains.target.mpp == pytest.approx(1.0) and len(domains.target) >= len(rows)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_session_in_good_order(
    model_path: Path, tmp_path: Path, ending: signal.Signals
) -> None:
    out, video = tmp_path / "out.mp4", write_pan(tmp_path / "pan.avi", 600)
    words = ("--model", model_path, "--source", video, "--mpp", 0.5, "--no-page", "--record", out,
             "--save", tmp_path / "cam", "--save-every", 0, "--threads", 1)  # fmt: skip
    process = subprocess.Popen(
        [*WORDS, "live", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        wait_until(lambda: (tmp_path / "cam" / "manifest.csv").is_file(), 60)
        process.send_signal(ending)
        said, problems = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, problems) == (0, "")
    assert f"Recording: {out}" in said and "pictures saved" in said
    assert cv2.VideoCapture(str(out)).read()[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cam", "out.mp4", "pan.avi"]


def test_a_session_that_could_grade_nothing_says_why_in_the_end(
    model_path: Path, tmp_path: Path
) -> None:
    video = str(write_pan(tmp_path / "pan.avi", 6))
    for mpp, why in (
        (9, "too coarse for a model of 1 um/px"),
        (0.03, "smaller than a tile of 64 um"),
    ):
        said: list[str] = []
        session = run_live(options_of(model_path, video, mpp=mpp), say=said.append)
        num = session.speed.num_frames
        assert said[-2] == f"None of {num} frames were graded. Not graded:"
        assert said[-1].startswith(f"  {num} frame") and why in said[-1]
        assert sum(why in line for line in said) == 1


def test_a_session_says_what_it_sees_and_bounds_what_it_keeps(
    model_path: Path, tmp_path: Path
) -> None:
    """Some hundred frames of a folder: every box, list and screen keeps its size."""
    folder, facts, sizes = tmp_path / "in", [], []
    folder.mkdir()

    def feed(session: LiveSession) -> None:
        _, tissue = cv2.imencode(".jpg", scene(320, 240)[..., ::-1])
        for number in range(150):
            (folder / "now.jpg").write_bytes(tissue.tobytes())
            (folder / "now.jpg").touch()
            time.sleep(0.004)
            facts.append(session.screen.view.facts)
            if number % 30 == 29:
                sizes.append(held_by(session))
        session.stop()

    def start(session: LiveSession, address: str) -> None:
        threading.Thread(target=feed, args=(session,)).start()

    session = run_live(options_of(model_path, str(folder)), say=lambda line: None, on_start=start)
    assert session.speed.num_frames > 10
    last = facts[-1]
    assert (last["state"], last["verdict"], last["mpp_source"]) == ("live", "graded", "given")
    assert last["num_graded"] == last["num_tissue"] == 6
    assert sum(value for _, value in last["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert last["latency_ms"] > 0 and set(last["timings"]) >= {"capture", "network", "draw"}
    assert sizes[-1] == sizes[1]


def held_by(session: LiveSession) -> tuple[int, ...]:
    """How much a session keeps between frames."""
    grader = session.grader
    return (
        len(grader._age), len(grader._is_unlike), session.screen.num_waiting,
        sum(value is not None for value in vars(grader).values()), len(vars(session)),
    )  # fmt: skip


def test_a_source_that_comes_back_goes_on_without_a_restart(
    model_path: Path, tmp_path: Path
) -> None:
    folder, states = tmp_path / "in", []

    def act(session: LiveSession) -> None:
        def state() -> str:
            return str(session.screen.view.facts.get("state"))

        cv2.imwrite(str(folder / "1.png"), scene(320, 240))
        wait_until(lambda: state() == "live")
        (folder / "1.png").unlink()
        folder.rmdir()
        wait_until(lambda: state() == "lost")
        states.append(session.screen.view.facts["message"])
        folder.mkdir()
        cv2.imwrite(str(folder / "2.png"), scene(320, 240))
        wait_until(lambda: state() == "live")
        session.stop()

    folder.mkdir()
    session = run_live(
        options_of(model_path, str(folder)), say=lambda line: None,
        on_start=lambda s, a: threading.Thread(target=act, args=(s,)).start(),
    )  # fmt: skip
    assert session.num_lost == 1 and str(folder) in states[0]


def test_limits_are_learned_once_and_used(model_path: Path, tmp_path: Path) -> None:
    model = tmp_path / "scope.pt"
    model.write_bytes(model_path.read_bytes())
    taught = tmp_path / "taught"
    taught.mkdir()
    for i in range(6):
        cv2.imwrite(str(taught / f"{i}.png"), scene(160, 160, seed=i))
    cv2.imwrite(str(taught / "glass.png"), np.full((160, 160, 3), 243, np.uint8))
    assert load_live(model).checks["unlike"].startswith("not checked")
    made = write_limits(model, taught, assume_mpp=1.0)
    assert (made.num_tiles, made.num_pictures) == (54, 6)  # glass is none
    ready = load_live(model)
    assert ready.checks["unlike"] == "by 54 tiles of 6 pictures"
    assert ready.grader.limits is not None and ready.grader.limits.min_sharpness > 25
    other = tmp_path / "other.pt"
    other.write_bytes(model_path.read_bytes())
    limits_path(other).write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="holds no limits"):
        load_live(other)
    with pytest.raises(ArtifactError, match="shows tissue"):
        write_limits(model, taught / "glass.png", assume_mpp=1.0)


def test_what_does_not_fit_is_said_before_any_frame(
    model_path: Path, slide_path: Path, tmp_path: Path
) -> None:
    sim = f"simulated:{slide_path}"
    with pytest.raises(ContractError, match="Give what its tiles were normalized by"):
        run_live(options_of(model_path, sim, stain=stain_file(tmp_path)))
    with pytest.raises(ConfigError, match="'20x' is not calibrated"):
        run_live(options_of(model_path, sim, mpp=None, objective="20x", objectives=tmp_path / "o"))
    with pytest.raises(ConfigError, match="does not say its microns per pixel"):
        run_live(options_of(model_path, str(tmp_path), mpp=None), say=lambda line: None)
    done = command("live", "--model", model_path)
    assert done.returncode == 2 and "live needs --model and --source" in done.stderr


def stain_file(folder: Path) -> Path:
    from pathology.stain.macenko import TEXTBOOK

    TEXTBOOK.save(folder / "style.json")
    return folder / "style.json"


def test_an_objective_is_calibrated_once_by_a_picture(tmp_path: Path) -> None:
    picture, kept = tmp_path / "micrometer.png", tmp_path / "objectives.yaml"
    cv2.imwrite(str(picture), ruling(28.985, 2)[..., ::-1])
    done = command(
        "live", "calibrate", "--objective", "10x", "--picture", picture, "--division-um", 10,
        "--objectives", kept,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "10x: 0.345" in done.stdout and "28.98 px" in done.stdout
    done = command(
        "live", "calibrate", "--objective", "20x", "--length-um", 100, "--length-px", 579.7,
        "--objectives", kept,
    )  # fmt: skip
    assert "20x: 0.1725 um/px" in done.stdout
    assert kept.read_text().count("mpp:") == 2
    done = command("live", "calibrate", "--objective", "4x", "--objectives", kept)
    assert done.returncode == 2 and "nothing to measure by" in done.stderr
