"""Which of the target's tiles are shown, and that the very tiles are read again."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from pathology.evaluation.domain_plots import DomainPoints, draw_domains
from pipelines.adapt_pictures import NUM_TILES, OF_A_SLIDE, _tiles, most_apart
from pipelines.adapt_train import AdaptOptions
from tests.pipelines.adapt_cohort import config, read_domains, write_domains
from tests.pipelines.small_encoder import write_weights


def test_tiles_on_which_answers_differ_most_few_of_a_slide() -> None:
    one_NC = np.tile([0.5, 0.5], (40, 1))
    apart_N = np.linspace(0, 0.4, 40)
    other_NC = one_NC + np.stack([apart_N, -apart_N], axis=1)
    slide_N = np.repeat(np.arange(10), 4)
    chosen = most_apart(one_NC, other_NC, slide_N)
    assert chosen[:4].tolist() == [39, 38, 35, 34]  # two of the last slide, two of that before
    assert len(chosen) == NUM_TILES
    assert np.bincount(slide_N[chosen]).max() == OF_A_SLIDE


def test_the_very_tiles_are_read_again(tmp_path: Path) -> None:
    source, target = write_domains(tmp_path)
    weights = write_weights(tmp_path / "w.pt")
    options = AdaptOptions(device="cpu", weights=weights, target_mpp=0.5)
    features = read_domains(source, target, config(size_px=32), options)
    pixels = read_domains(
        source, target, config(size_px=32, encoder_rate=0.1), options, tmp_path / "run"
    )
    numbers = np.array([3, 7, 6])
    for tile, wanted in zip(_tiles(features, numbers), _tiles(pixels, numbers), strict=True):
        np.testing.assert_array_equal(tile, wanted)
    assert _tiles(replace(features, again=None), numbers) == []


def test_a_chart_of_two_domains(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    points = [
        DomainPoints(random.normal(size=(30, 5)).astype(np.float32), np.arange(30) % 2)
        for _ in range(2)
    ]
    panels = {"before": (points[0], points[1])}
    draw_domains(panels, ("a", "b"), tmp_path / "x.png", "title")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
