"""numpy and torch give the same answer, and the table of all colors the same as both."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pathology.stain.arrays import masked_mean, masked_percentiles
from pathology.stain.classical import normalize_batch
from tests.stain.synthetic import OTHER, he_tiles
from tests.stain.test_classical import METHODS, ODD, config_of, style_of

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def mixed() -> NDArray[np.uint8]:
    """Tiles of two stainings, and one of glass."""
    return np.concatenate([he_tiles(3), he_tiles(2, matrix=OTHER, seed=3), ODD["glass"][:1]])


def on(device: str, tiles: NDArray[np.uint8]) -> torch.Tensor:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.from_numpy(tiles).to(device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("per_tile", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_torch_agrees_with_numpy(method: str, per_tile: bool, device: str) -> None:
    tiles, reference = mixed(), style_of(method)
    config = config_of(method, per_tile=per_tile)
    ours = normalize_batch(tiles, reference, config)
    theirs = normalize_batch(on(device, tiles), reference, config)
    assert ours.is_passed.tolist() == [False] * 5 + [True]
    assert isinstance(theirs.tiles, torch.Tensor) and theirs.tiles.dtype == torch.uint8
    assert theirs.tiles.device.type == device
    assert theirs.is_passed.tolist() == ours.is_passed.tolist()
    difference = np.abs(theirs.tiles.cpu().numpy().astype(int) - ours.tiles)
    assert difference.max() <= 1
    assert (ours.tiles != tiles).mean() > 0.5


@pytest.mark.parametrize("per_tile", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_the_table_agrees_with_arithmetic(method: str, per_tile: bool) -> None:
    tiles, reference = mixed(), style_of(method)
    config = config_of(method, per_tile=per_tile)
    whole = normalize_batch(tiles, reference, config)
    rendered, is_passed = reference.for_slide(tiles, config).render(tiles)
    assert (is_passed == whole.is_passed).all()
    apart = np.abs(rendered.astype(int) - whole.tiles)
    assert apart.max() <= 3  # a steep change of color between two even levels
    assert (apart > 1).mean() < 5e-3


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("method", METHODS)
def test_odd_tiles_never_raise_in_torch_either(method: str, name: str) -> None:
    for per_tile in (False, True):
        config = config_of(method, per_tile=per_tile)
        ours = normalize_batch(ODD[name], style_of(method), config)
        theirs = normalize_batch(torch.from_numpy(ODD[name]), style_of(method), config)
        assert theirs.is_passed.tolist() == ours.is_passed.tolist()
        assert np.abs(theirs.tiles.numpy().astype(int) - ours.tiles).max(initial=0) <= 1


def test_input_is_left_alone() -> None:
    tiles = torch.from_numpy(mixed())
    before = tiles.clone()
    normalize_batch(tiles, style_of("macenko"), config_of("macenko"))
    assert torch.equal(tiles, before)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_masked_statistics_are_those_of_the_rest(kind: object) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(3, 500)).astype(np.float32)
    counted = random.random((3, 500)) < 0.4
    counted[2] = False
    found = np.asarray(masked_percentiles(kind(values), kind(counted), [1, 50, 99]))  # type: ignore[operator]
    mean = np.asarray(masked_mean(kind(values[..., None]), kind(counted)))  # type: ignore[operator]
    for group in range(2):
        rest = values[group, counted[group]]
        assert found[group] == pytest.approx(np.percentile(rest, [1, 50, 99]), abs=1e-5)
        assert mean[group, 0] == pytest.approx(rest.mean(), abs=1e-6)
    assert (found[2] == 0).all() and mean[2, 0] == 0
