"""The training step: what it changes, what it measures, and that it goes on exactly."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pathology.core.errors import ConfigError
from pathology.stain.cycle_config import CycleConfig
from pathology.stain.cycle_step import (
    CycleBatch,
    CycleStep,
    at_once,
    learning_rate,
    told,
    varied,
)
from pathology.stain.image_pool import ImagePool
from pathology.stain.macenko import TEXTBOOK
from pathology.stain.style_vector import NUM_STYLE, style_vector
from pathology.training.loop import Loop, fit, read_metrics

TINY = CycleConfig.model_validate(
    {
        "generator": {"width": 4, "num_blocks": 1},
        "discriminator": {"width": 4, "num_layers": 1},
        "steps": 60,
        "pool_size": 6,
        "batch_size": 2,
        "crop_px": 16,
    }
)


def draw(step: int) -> CycleBatch:
    """Pinkish sources and bluish targets."""
    random = torch.Generator().manual_seed(step)
    noise = torch.rand(2, 2, 3, 16, 16, generator=random) * 0.5
    tint = torch.tensor([0.3, -0.4, 0.0]).view(3, 1, 1)
    shifts = torch.rand(4, 2, NUM_STYLE, generator=random) * 0.1
    styles = torch.from_numpy(style_vector(TEXTBOOK.stains)) + shifts
    return CycleBatch(noise[0] + tint, noise[1] - tint, *styles)


def same(one: dict[str, object], other: dict[str, object]) -> bool:
    flat, flat_other = [], []
    torch.utils._pytree.tree_map(flat.append, one)
    torch.utils._pytree.tree_map(flat_other.append, other)
    return len(flat) == len(flat_other) and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(flat, flat_other, strict=True)
    )


@pytest.mark.parametrize(
    "settings",
    [{}, {"condition": "planes"}, {"condition": "none"}, {"intermediate": "grey"}],
    ids=lambda settings: str(settings) or "film",
)
def test_a_run_that_was_stopped_goes_on_to_the_very_same_weights(
    settings: dict[str, str], tmp_path: Path
) -> None:
    config = TINY.model_copy(update={**settings, "steps": 18})
    whole, first, second = CycleStep(config), CycleStep(config), CycleStep(config)
    fit(whole, draw, Loop(18, 3, 6), tmp_path / "whole", "recipe")
    fit(first, draw, Loop(12, 3, 6), tmp_path / "halves", "recipe")
    start = fit(second, draw, Loop(18, 3, 6), tmp_path / "halves", "recipe")
    assert start == 12
    assert same(whole.state_dict(), second.state_dict())
    lines = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "halves")]
    assert lines[0] == lines[1]
    assert [line["step"] for line in lines[0]] == [3, 6, 9, 12, 15, 18]


def test_a_checkpoint_of_another_recipe_is_not_gone_on_from(tmp_path: Path) -> None:
    fit(CycleStep(TINY), draw, Loop(4, 2, 4), tmp_path, "one")
    assert fit(CycleStep(TINY), draw, Loop(4, 2, 4), tmp_path, "other") == 0
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 2


def test_lines_after_the_last_checkpoint_are_taken_back(tmp_path: Path) -> None:
    fit(CycleStep(TINY), draw, Loop(6, 2, 4), tmp_path, "recipe")
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 10, "cycle": 1.0}\n{"half')
    fit(CycleStep(TINY), draw, Loop(8, 2, 4), tmp_path, "recipe")
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [2, 4, 6, 8]


def test_training_moves_sources_towards_the_target() -> None:
    config = TINY.model_copy(update={"steps": 120, "learning_rate": 5e-3})
    update = CycleStep(config)
    for step in range(120):
        update(draw(step), step)
    batch = draw(1000)
    wanted = batch.target_B3HW.mean(dim=(0, 2, 3))
    before = (batch.source_B3HW.mean(dim=(0, 2, 3)) - wanted).abs().sum()
    made = told(update.averaged, batch.source_B3HW, batch.own_BS)
    after = (made.mean(dim=(0, 2, 3)) - wanted).abs().sum()
    assert after < 0.5 * before


def test_the_condition_off_ignores_styles_and_on_does_not() -> None:
    for condition, is_same in (("none", True), ("film", False)):
        config = TINY.model_copy(update={"condition": condition})
        one, other = CycleStep(config), CycleStep(config)
        for step in range(5):
            batch = draw(step)
            one(batch, step)
            other(batch._replace(style_BS=batch.style_BS * 1.1), step)
        assert same(one.state_dict()["networks"], other.state_dict()["networks"]) == is_same


def test_every_term_is_measured() -> None:
    weights = TINY.weights.model_copy(update={"structure": 1.0})
    config = TINY.model_copy(update={"weights": weights, "condition": "none"})
    values = CycleStep(config)(draw(0), 0)
    assert set(values) == {
        "adversarial", "cycle_source", "cycle_target", "identity", "structure",
        "judge_target", "judge_source",
    }  # fmt: skip
    assert values["cycle_source"] == pytest.approx(0, abs=1e-5)  # generators start as the identity


def test_told_generators_have_nothing_to_change_at_home() -> None:
    values = CycleStep(TINY)(draw(0), 0)
    assert values["identity"] == pytest.approx(0, abs=1e-4)  # whatever the images are
    as_published = TINY.model_copy(update={"is_source_told": False})
    assert CycleStep(as_published)(draw(0), 0)["identity"] == pytest.approx(0, abs=1e-5)


def test_learning_rate_is_level_and_then_falls_to_zero() -> None:
    config = CycleConfig(steps=100, learning_rate=0.01, decay_from=0.5)
    assert [learning_rate(step, config) for step in (0, 50, 75, 100)] == pytest.approx(
        [0.01, 0.01, 0.005, 0.0]
    )


def test_sources_and_what_is_told_of_them_vary_together() -> None:
    batch = draw(0)
    seen = varied(batch, TINY, np.random.default_rng(0))
    assert torch.equal(seen.target_B3HW, batch.target_B3HW)
    assert torch.equal(seen.home_BS, batch.home_BS)
    for name in ("source_B3HW", "style_BS", "other_BS", "own_BS"):
        assert not torch.allclose(getattr(seen, name), getattr(batch, name), atol=0.01), name
    still = TINY.model_copy(update={"stain_jitter": 0.0})
    assert varied(batch, still, np.random.default_rng(0)) is batch


def test_a_pool_hands_out_old_images_and_each_but_once_in_place() -> None:
    pool, random = ImagePool(3), np.random.default_rng(0)
    marks = [torch.full((1, 3, 2, 2), float(i)) for i in range(40)]
    given = [pool.exchange(mark, random)[0, 0, 0, 0].item() for mark in marks]
    assert given[:3] == [0.0, 1.0, 2.0]
    num_old = sum(out < i for i, out in enumerate(given))
    assert 5 < num_old < 35
    assert all(out <= i for i, out in enumerate(given))
    assert ImagePool(0).exchange(marks[5], random) is marks[5]


def test_two_batches_at_once_are_what_they_are_one_after_the_other() -> None:
    step, batch = CycleStep(TINY), draw(0)
    step.networks["to_target"].out.weight.data.normal_()
    one, other = (batch.source_B3HW, batch.own_BS), (batch.target_B3HW, batch.home_BS)
    found = at_once(step.to_target, one, other)
    for made, wanted in zip(found, (step.to_target(*one), step.to_target(*other)), strict=True):
        assert torch.allclose(made, wanted, atol=1e-5)


def test_a_training_that_learns_too_fast_ends_with_a_line() -> None:
    step = CycleStep(TINY.model_copy(update={"learning_rate": 1e30}))
    with pytest.raises(ConfigError, match=r"step \d+: the loss.*lower learning_rate than 1e\+30"):
        for number in range(10):
            step(draw(number), number)
