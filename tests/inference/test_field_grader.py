"""A real small network on fields that stand still, move, blur, and are glass."""

from __future__ import annotations

import time
from functools import partial

import cv2
import numpy as np
import pytest

from pathology.core.errors import ConfigError
from pathology.inference.field_grade import verdict_of
from pathology.inference.field_grader import FieldGrader
from pathology.inference.frame import Frame
from pathology.inference.live_stain import LiveStain
from pathology.inference.taught_limits import fit_limits
from pathology.inference.tile_network import TileNetwork
from pathology.stain.load import load_model
from pathology.weak.slide_rule import SlideRule, decide
from tests.inference.conftest import EDGE, MPP, scene

CAMERA_MPP = 0.5


def frame(pixels: np.ndarray, number: int = 0) -> Frame:
    return Frame(number, pixels, time.monotonic())


def grader(network: TileNetwork, **more: object) -> FieldGrader:
    return FieldGrader(network, EDGE, MPP, partial(decide, None), **{"budget_ms": 1e6, **more})


def test_a_field_is_decided_as_a_slide_is(network: TileNetwork) -> None:
    """By the rule, whose decision is the median grade and not the most probable."""
    pixels = scene(512, 384)
    tiles = grader(network).grade(frame(pixels), CAMERA_MPP).probability_NC
    num_grades, least = tiles.shape[1], int(tiles.mean(axis=0).argmin())
    told = FieldGrader(network, EDGE, MPP, lambda t: (least, t.mean(axis=0)), budget_ms=1e6)
    assert told.grade(frame(pixels), CAMERA_MPP).grade == least  # as it is told, no other
    rule = SlideRule(
        quantile=(0.5,) * (num_grades - 1), threshold=(0.0,) * (num_grades - 1),
        temperature=(1.0,) * (num_grades - 1),
    )  # fmt: skip
    by_rule = FieldGrader(network, EDGE, MPP, partial(decide, rule), budget_ms=1e6)
    found, wanted = by_rule.grade(frame(pixels), CAMERA_MPP), decide(rule, tiles)
    assert found.grade == wanted.grade
    assert found.probability_C == pytest.approx(wanted.probability_C)
    assert found.confidence == found.probability_C[found.grade]


def test_a_field_is_graded_as_its_tiles_are(network: TileNetwork) -> None:
    pixels = scene(512, 384)
    found = grader(network).grade(frame(pixels), CAMERA_MPP)
    assert found.verdict == "graded" and found.states == ("graded",) * 12
    small = cv2.resize(pixels, (256, 192), interpolation=cv2.INTER_AREA)
    tiles = [small[y : y + EDGE, x : x + EDGE] for y in (0, 64, 128) for x in (0, 64, 128, 192)]
    wanted = network(np.stack(tiles)).probability_NC
    assert np.abs(found.probability_NC - wanted).max() < 1e-6
    assert found.probability_C == pytest.approx(wanted.mean(axis=0), abs=1e-6)
    assert found.edge == 2 * EDGE and found.xy[-1].tolist() == [384, 256]
    assert found.timings.network > 0


def test_a_small_budget_goes_round_while_the_field_stands_still(network: TileNetwork) -> None:
    slow, pixels = grader(network, budget_ms=1e-6), scene(512, 384)
    counts = [slow.grade(frame(pixels, i), CAMERA_MPP).num_graded for i in range(13)]
    assert counts == [*range(1, 13), 12]
    moved = slow.grade(frame(scene(512, 384, seed=5)), CAMERA_MPP)
    assert (moved.num_graded, moved.num_now, moved.num_tissue) == (1, 1, 12)


def test_what_cannot_be_graded_is_flagged_and_not_shown_to_the_network(
    network: TileNetwork,
) -> None:
    made = grader(network)
    blurred = cv2.GaussianBlur(scene(512, 384), (0, 0), 8)
    glass = np.full((384, 512, 3), 243, np.uint8)
    for pixels, verdict in ((blurred, "out of focus"), (glass, "glass")):
        found = made.grade(frame(pixels), CAMERA_MPP)
        assert (found.verdict, found.grade, found.num_now) == (verdict, -1, 0)
        assert np.isnan(found.confidence) and found.timings.network == 0
    assert made.grade(frame(scene(512, 384)), CAMERA_MPP).verdict == "graded"


def test_what_is_unlike_the_taught_tiles_is_flagged(network: TileNetwork) -> None:
    large = [scene(2 * EDGE, 2 * EDGE, seed=i) for i in range(40)]
    taught = np.stack([cv2.resize(x, (EDGE, EDGE), interpolation=cv2.INTER_AREA) for x in large])
    features = network(taught).features_NF
    limits = fit_limits("m", taught, features, np.arange(40), MPP)
    made = grader(network, limits=limits)
    like = made.grade(frame(scene(512, 384, seed=99)), CAMERA_MPP)
    assert like.verdict == "graded"
    stripes = (np.arange(512) // 4 % 2 == 0)[None, :, None]
    odd = np.where(stripes, (110, 60, 140), (225, 150, 190)).astype(np.uint8).repeat(384, axis=0)
    found = made.grade(frame(odd), CAMERA_MPP)
    assert found.verdict == "out of distribution" and found.grade == -1
    assert found.states.count("unlike") >= 6


def test_a_stain_is_measured_first_and_then_used(network: TileNetwork) -> None:
    stain = LiveStain(load_model(None))
    made, pixels = grader(network, stain=stain), scene(512, 384)
    first = made.grade(frame(pixels), CAMERA_MPP)
    assert (first.verdict, first.reason) == ("waiting", "its stain is being measured")
    give_up = time.monotonic() + 20
    while (found := made.grade(frame(pixels), CAMERA_MPP)).verdict != "graded":
        assert time.monotonic() < give_up
        time.sleep(0.01)
    stain.close()
    plain = grader(network).grade(frame(pixels), CAMERA_MPP)
    assert np.abs(found.probability_NC - plain.probability_NC).max() > 1e-4
    assert found.timings.normalize > 0


def test_objectives_that_do_not_suit(network: TileNetwork) -> None:
    made = grader(network)
    with pytest.raises(ConfigError, match="Take a stronger objective"):
        made.grade(frame(scene(512, 384)), 1.6)
    small = made.grade(frame(scene(512, 384)), 0.05)
    assert small.verdict == "waiting" and "smaller than a tile of 64 um" in small.reason
    assert made.grade(frame(scene(512, 384)), CAMERA_MPP).verdict == "graded"


def test_a_field_is_what_half_of_its_tissue_is() -> None:
    assert verdict_of(("glass", "ink", "glass")) == "glass"
    assert verdict_of(("blurred", "graded", "graded", "glass")) == "graded"
    assert verdict_of(("unlike", "graded", "waiting")) == "out of distribution"
    assert verdict_of(("waiting",)) == "waiting"
