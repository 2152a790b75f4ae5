"""Recordings that play in real time, and frames kept for the next adaptation."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from pathology.core.errors import ArtifactError
from pathology.inference.field_grade import FieldGrade
from pathology.inference.frame import Frame
from pathology.inference.recorder import Recorder
from pathology.inference.session_saver import SessionSaver
from tests.inference.conftest import scene


def test_a_recording_lasts_as_long_as_what_it_shows(tmp_path: Path) -> None:
    out = tmp_path / "session.mp4"
    recorder = Recorder(out, fps=10)
    for at, level in ((100.0, 40), (100.3, 120), (101.0, 220)):
        recorder.write(np.full((121, 161, 3), (level, 30, 30), np.uint8), at)
    assert not out.exists()  # it has its name once it is whole
    recorder.close()
    recorder.close()
    video = cv2.VideoCapture(str(out))
    reds = []
    while (shot := video.read())[0]:
        reds.append(int(shot[1][60, 80, 2]))
    assert video.get(cv2.CAP_PROP_FPS) == 10 and len(reds) == 11
    # what was shown last fills the time until the next came
    assert np.abs(np.array(reds) - ([40] * 3 + [120] * 7 + [220])).max() < 12
    assert [p.name for p in tmp_path.iterdir()] == ["session.mp4"]


def test_a_name_that_no_recording_can_have(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ArtifactError, match=r"ends in \.mp4"):
        Recorder(tmp_path / "session.txt").write(np.zeros((20, 20, 3), np.uint8), 0)
    capfd.readouterr()


def offered(saver: SessionSaver, pixels: np.ndarray, at: float, verdict: str = "graded") -> bool:
    none = np.zeros((0, 2), np.int64), 0.0, (), np.zeros((0, 0))
    kept = saver.offer(Frame(0, pixels, at), FieldGrade(*none, verdict, 0.345))
    while saver._pending is not None and not saver._pending.done():
        time.sleep(0.005)
    return kept


def test_other_fields_in_focus_are_kept_now_and_then(tmp_path: Path) -> None:
    saver = SessionSaver(tmp_path / "cam", "monday", every_s=5)
    one, other = scene(320, 240), scene(320, 240, seed=3)
    assert offered(saver, one, 0)
    assert not offered(saver, other, 3)  # too soon
    assert not offered(saver, one, 6)  # the same field
    for verdict in ("glass", "out of focus", "waiting"):
        assert not offered(saver, other, 7, verdict)
    assert offered(saver, other, 8, "out of distribution")
    saver.close()
    again = SessionSaver(tmp_path / "cam", "tuesday")
    assert offered(again, one, 0)
    again.close()
    rows = list(csv.DictReader(again.manifest.read_text().splitlines()))
    assert [(row["case_id"], row["mpp"]) for row in rows] == [
        ("monday", "0.345"), ("monday", "0.345"), ("tuesday", "0.345")
    ]  # fmt: skip
    kept = cv2.imread(str(tmp_path / "cam" / rows[0]["slide_path"]))[..., ::-1]
    assert np.array_equal(kept, one)  # without any overlay, pixel by pixel
    assert len({row["slide_id"] for row in rows}) == 3


def test_a_full_disk_is_heard_of(tmp_path: Path) -> None:
    (tmp_path / "cam").write_text("a file where the folder should be")
    saver = SessionSaver(tmp_path / "cam", "monday")
    offered(saver, scene(64, 48), 0)
    with pytest.raises(OSError):
        saver.close()
