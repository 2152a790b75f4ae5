"""A simulated stage and its optics: where it goes, and what the camera makes of a field."""

import numpy as np

from pathology.simulate.microscope import MicroscopeConfig
from pathology.simulate.stage import (
    BLURRED_S,
    PAN_S,
    REFOCUS_S,
    REST_S,
    LiveOptics,
    defocus_at,
    stage_at,
)


def test_the_stage_stays_within_its_room_moves_and_rests() -> None:
    room = (500, 300)
    places = np.array([stage_at(t / 10, room, 200.0) for t in range(3000)])
    assert places.min() >= 0 and (places.max(axis=0) <= room).all()
    assert (np.ptp(places, axis=0) > 0.9 * np.array(room)).all()  # in time it comes by everywhere
    rests = [stage_at(PAN_S + REST_S * part, room, 200.0) for part in (0.1, 0.5, 0.9)]
    assert len(set(rests)) == 1 and stage_at(0.5, room, 200.0) != stage_at(1.0, room, 200.0)
    assert stage_at(7.0, (0, 0), 200.0) == (0, 0)


def test_it_is_out_of_focus_now_and_then() -> None:
    assert defocus_at(0) == defocus_at(REFOCUS_S - BLURRED_S) == 0
    assert defocus_at(REFOCUS_S - BLURRED_S / 2) == max(
        defocus_at(t / 100) for t in range(int(100 * REFOCUS_S))
    )


def test_cast_fall_off_and_noise_are_those_of_the_settings() -> None:
    config = MicroscopeConfig(
        size_px=(160, 120), vignetting=0.4, white_balance=(1.0, 0.9, 0.8), noise=3.0
    )
    optics, field = LiveOptics(config), np.full((120, 160, 3), 200, np.uint8)
    frames = np.stack([optics.expose(field, 0.0) for _ in range(8)]).astype(float)
    middle = frames[:, 50:70, 70:90].mean(axis=(0, 1, 2))
    assert np.abs(middle - [200, 180, 160]).max() < 2
    corner = frames[:, :3, :3].mean(axis=(0, 1, 2))
    assert np.abs(corner / middle - 0.6).max() < 0.05
    assert 2 < (frames[0] - frames[1]).std() / np.sqrt(2) < 4
    edge = np.repeat(np.where(np.arange(160) < 80, 60, 220), 3).reshape(1, 160, 3)
    sharp = optics.expose(np.repeat(edge, 120, 0).astype(np.uint8), 0.0).astype(float)
    soft = optics.expose(np.repeat(edge, 120, 0).astype(np.uint8), 2.0).astype(float)
    step = [abs(f[40:80, 82].mean() - f[40:80, 77].mean()) for f in (sharp, soft)]
    assert step[1] < 0.6 * step[0]
