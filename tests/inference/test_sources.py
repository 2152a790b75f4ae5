"""Real sources: a video file, a folder, a slide under a simulated microscope, an MJPEG server."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pathology.core.errors import ConfigError
from pathology.inference.capture import capture
from pathology.inference.folder_source import FolderSource
from pathology.inference.frame import Frame, FrameSource, SourceLost
from pathology.inference.newest import Newest
from pathology.inference.opencv_source import OpenCvSource
from pathology.inference.simulated_source import SimulatedSource
from pathology.simulate.microscope import MicroscopeConfig
from pipelines.live_sources import SourceOptions, size_of, source_of
from tests.inference.conftest import scene

NEVER = threading.Event()


def shot_of(
    source: FrameSource, stop: threading.Event = NEVER
) -> tuple[float, NDArray[np.uint8]] | None:
    """The next frame, decoded."""
    captured_at = source.grab(stop)
    return None if captured_at is None else (captured_at, source.pixels())


def write_video(path: Path, num: int = 8, fps: float = 40) -> Path:
    """A video whose frames are of evenly rising brightness."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (160, 120))
    for i in range(num):
        writer.write(np.full((120, 160, 3), (20 + 10 * i, 40, 200), np.uint8))  # B G R
    writer.release()
    return path


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up, "it did not come to pass"
        time.sleep(0.01)


@contextmanager
def mjpeg_server(port: int = 0) -> Iterator[int]:
    """A camera with an address, until the block ends; then the connection breaks."""
    over = threading.Event()
    _, data = cv2.imencode(".jpg", scene(160, 120)[..., ::-1])

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
            self.end_headers()
            head = b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
            try:
                while not over.wait(0.02):
                    self.wfile.write(head + data.tobytes() + b"\r\n")
            except OSError:
                return

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Camera)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Captured:
    """A source that is captured in a thread, and what came of it."""

    def __init__(self, source: FrameSource) -> None:
        self.box: Newest[Frame] = Newest()
        self.stop, self.opened, self.lost = threading.Event(), 0, []
        self.thread = threading.Thread(
            target=capture, args=(source, self.box, self.stop),
            kwargs={"on_open": self._open, "on_lost": self.lost.append, "retry_s": 0.05},
        )  # fmt: skip

    def _open(self, mpp: float | None) -> None:
        self.opened += 1

    def __enter__(self) -> Captured:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(timeout=20)
        assert not self.thread.is_alive() and self.box.is_over | (self.box.take(0) is not None)


def test_a_video_is_played_at_its_own_pace_and_ends(tmp_path: Path) -> None:
    source = OpenCvSource(write_video(tmp_path / "v.avi"))
    source.open()
    times, reds, blues = [], [], []
    while (shot := shot_of(source)) is not None:
        times.append(shot[0])
        reds.append(int(shot[1][60, 80, 0]))
        blues.append(int(shot[1][60, 80, 2]))
    source.close()
    assert len(times) == 8 and times[-1] - times[0] >= 7 / 40 - 0.03
    assert np.abs(np.array(reds) - 200).max() < 8  # RGB, not BGR
    assert blues == sorted(blues)


def test_the_end_of_a_video_ends_the_capture(tmp_path: Path) -> None:
    with Captured(OpenCvSource(write_video(tmp_path / "v.avi", 3))) as seen:
        wait_until(lambda: not seen.thread.is_alive())
    assert seen.opened == 1 and not seen.lost


@pytest.mark.parametrize("content", [b"", b"no video\n" * 99, None])
def test_a_file_that_is_no_video_is_refused_at_once(tmp_path: Path, content: bytes | None) -> None:
    """None: a video without a frame."""
    path = tmp_path / "01.avi"
    write_video(path, 0) if content is None else path.write_bytes(content)
    source = OpenCvSource(path)
    with pytest.raises(ConfigError, match=r"01\.avi: cannot be decoded as a video"):
        capture(source, Newest(), NEVER, on_lost=pytest.fail)
    with pytest.raises(ConfigError, match=r"01\.avi: cannot be decoded as a video"):
        source_of(str(path), SourceOptions())


def test_a_camera_that_is_not_there_is_said_to_be_so(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceLost, match="camera 63 is not there"):
        OpenCvSource(63).open()
    capfd.readouterr()  # the library's own remarks


def test_a_network_camera_goes_away_and_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    with mjpeg_server() as port:
        seen = Captured(OpenCvSource(f"http://127.0.0.1:{port}/"))
        seen.__enter__()
        wait_until(lambda: seen.box.take(0.1) is not None)
    wait_until(lambda: len(seen.lost) > 1)  # and tried again meanwhile
    while seen.box.take(0.05) is not None:
        pass
    with mjpeg_server(port):
        frames: list[Frame] = []
        wait_until(lambda: bool(frames.append(f) or True if (f := seen.box.take(0.1)) else False))
        seen.stop.set()
        seen.__exit__()
    assert seen.opened >= 2
    assert np.abs(frames[0].pixels.astype(int) - scene(160, 120)).mean() < 6
    capfd.readouterr()


def test_a_folder_gives_its_newest_picture_once_it_is_whole(tmp_path: Path) -> None:
    source = FolderSource(tmp_path)
    source.open()
    _, data = cv2.imencode(".png", np.full((40, 50, 3), (1, 2, 3), np.uint8))
    (tmp_path / "a.png").write_bytes(data.tobytes())
    (tmp_path / "notes.txt").write_text("no picture")
    shot = shot_of(source)
    assert shot is not None and shot[1][0, 0].tolist() == [3, 2, 1]
    _, data = cv2.imencode(".jpg", np.full((40, 50, 3), 200, np.uint8))
    (tmp_path / "b.jpg").write_bytes(data.tobytes()[:300])
    stop = threading.Event()
    threading.Timer(0.15, (tmp_path / "b.jpg").write_bytes, (data.tobytes(),)).start()
    shot = shot_of(source, stop)
    assert shot is not None and np.abs(shot[1].astype(int) - 200).max() < 4
    threading.Timer(0.1, stop.set).start()
    assert shot_of(source, stop) is None  # nothing new, and nobody waits any longer


def test_a_folder_goes_away_and_comes_back(tmp_path: Path) -> None:
    folder, source = tmp_path / "in", FolderSource(tmp_path / "in")
    with pytest.raises(SourceLost, match="no such folder"):
        source.open()
    folder.mkdir()
    with Captured(source) as seen:
        cv2.imwrite(str(folder / "1.png"), scene(60, 40))
        wait_until(lambda: seen.box.take(0.1) is not None)
        shutil.rmtree(folder)
        wait_until(lambda: bool(seen.lost))
        folder.mkdir()
        cv2.imwrite(str(folder / "2.png"), scene(60, 40))
        wait_until(lambda: seen.box.take(0.1) is not None)
    assert seen.opened >= 2


def test_a_simulated_microscope_pans_over_a_slide(slide_path: Path) -> None:
    optics = MicroscopeConfig(size_px=(320, 240), mpp=0.5, vignetting=0.2, noise=2)
    source = SimulatedSource(slide_path, optics, fps=200, num_frames=6)
    assert source.is_simulated and source.open() == 0.5
    frames = []
    while (shot := shot_of(source)) is not None:
        frames.append(shot[1])
    assert len(frames) == 6 and frames[0].shape == (240, 320, 3)
    assert not np.array_equal(frames[0], frames[1])
    middle = frames[0][100:140, 140:180].reshape(-1, 3).mean(axis=0)
    assert middle[1] < middle[0] and middle[1] < middle[2]  # stained: tissue, not glass


def test_a_field_larger_than_the_slide_is_glass_beyond_it(slide_path: Path) -> None:
    optics = MicroscopeConfig(size_px=(1400, 1000), mpp=0.5, vignetting=0, noise=0)
    source = SimulatedSource(slide_path, optics, fps=200, num_frames=1)
    source.open()
    shot = shot_of(source)
    assert shot is not None and shot[1][-20:, -20:].min() > 180


def test_words_become_sources(tmp_path: Path, slide_path: Path) -> None:
    asked = SourceOptions()
    video = write_video(tmp_path / "v.avi", 1)
    for word, kind, name in (
        ("0", OpenCvSource, "camera 0"), ("/dev/video2", OpenCvSource, "/dev/video2"),
        ("rtsp://scope/1", OpenCvSource, "rtsp://scope/1"), (str(video), OpenCvSource, str(video)),
        (str(tmp_path), FolderSource, str(tmp_path)),
        (f"simulated:{slide_path}", SimulatedSource, "simulated microscope over slide.tif"),
    ):  # fmt: skip
        found = source_of(word, asked)
        assert isinstance(found, kind) and found.name == name
    for word in ("nowhere", "simulated:nowhere.tif", "micromanager:nowhere.cfg"):
        with pytest.raises(ConfigError, match="no such file"):
            source_of(word, asked)
    assert size_of("1280x720") == (1280, 720) and size_of(None) is None
    with pytest.raises(ConfigError, match="expected WIDTHxHEIGHT"):
        size_of("large")
