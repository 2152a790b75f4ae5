"""A real Micro-Manager core with its demonstration camera, where both are installed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pathology.inference.micromanager_source import to_rgb

PROGRAM = """
import threading
from pathology.inference.micromanager_source import MicroManagerSource
source, stop = MicroManagerSource(), threading.Event()
for _ in range(2):  # opened again after a close
    assert source.open() is None and source.is_simulated
    shots = [(source.grab(stop), source.pixels()) for _ in range(3)]
    source.close()
source.close()
times = [shot[0] for shot in shots]
assert times == sorted(times)
print(shots[-1][1].shape, shots[-1][1].dtype, shots[-1][1].std() > 1, flush=True)
import os; os._exit(0)  # its drivers do not survive the end of the interpreter
"""


def test_the_demo_camera_gives_color_frames() -> None:
    pytest.importorskip("pymmcore_plus", reason="pip install pymmcore-plus")
    pytest.importorskip("mm_test_adapters", reason="pip install mm-test-adapters")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().splitlines()[-1] == "(512, 512, 3) uint8 True"


def test_deep_and_grey_images_become_8_bit_color() -> None:
    image = np.array([[0, 4095], [2048, 16]], np.uint16)
    rgb = to_rgb(image, 12)
    assert rgb.shape == (2, 2, 3) and rgb[..., 0].tolist() == [[0, 255], [128, 1]]
    color = np.zeros((2, 2, 4), np.uint8)
    assert to_rgb(color, 8).shape == (2, 2, 3)
