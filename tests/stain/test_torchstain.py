"""Agreement with torchstain, an independent implementation, where both mean the same.

torchstain stores matrices (3, 2), takes density of intensity + 1 over a white level of 240, counts
pixels dark in every channel, finds the plane by the covariance, and cuts decimals off. What ours
does on purpose otherwise (glass kept, the residual carried over, stained pixels only) is left out
by comparing the functions that rendering is made of.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchstain.numpy.normalizers import NumpyMacenkoNormalizer, NumpyReinhardNormalizer
from torchstain.torch.normalizers import TorchMacenkoNormalizer, TorchReinhardNormalizer

from pathology.stain.lab import lab_to_rgb, rgb_to_lab, transfer_lab
from pathology.stain.matrix import (
    concentrations,
    rerender_matrix,
    stain_matrices,
)
from pathology.stain.tissue import od_of
from tests.stain.synthetic import OTHER, he_tiles

SOURCE, TARGET = he_tiles(1, 128)[0], he_tiles(1, 128, matrix=OTHER, white=238, seed=4)[0]
WHITE = np.full((1, 3), 240.0)


def their_density(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Optical density (1, P, 3) as torchstain takes it, and which pixels (1, P) it measures."""
    od = np.asarray(od_of(image.reshape(1, -1, 3).astype(np.int64) + 1, WHITE))
    return od, (od >= 0.15).all(axis=-1)


def our_stains(image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    od, is_measured = their_density(image)
    matrix = stain_matrices(od, is_measured, 1.0, is_centered=True)[0]
    return matrix, np.percentile(concentrations(od[0], matrix), 99, axis=0)


@pytest.mark.parametrize("image", [SOURCE, TARGET], ids=["source", "target"])
def test_macenko_s_stains_are_theirs(image: NDArray[np.uint8]) -> None:
    theirs, in_torch = NumpyMacenkoNormalizer(), TorchMacenkoNormalizer()
    theirs.fit(image)
    in_torch.fit(torch.from_numpy(image).permute(2, 0, 1))
    matrix, highest = our_stains(image)
    assert matrix == pytest.approx(theirs.HERef.T, abs=2e-5)
    assert highest == pytest.approx(theirs.maxCRef, rel=2e-4)
    assert matrix == pytest.approx(in_torch.HERef.T.numpy(), abs=2e-5)


def test_macenko_s_image_is_theirs() -> None:
    theirs = NumpyMacenkoNormalizer()
    theirs.fit(TARGET)
    wanted, _, _ = theirs.normalize(SOURCE, stains=False)
    (matrix, highest), (target, target_highest) = our_stains(SOURCE), our_stains(TARGET)
    amounts = concentrations(their_density(SOURCE)[0][0], matrix) * (target_highest / highest)
    light = 240 * np.exp(-amounts @ target)
    found = np.clip(light, 0, 255).astype(np.uint8).reshape(SOURCE.shape)
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_macenko_s_map_without_the_residual_is_theirs() -> None:
    (matrix, highest), (target, target_highest) = our_stains(SOURCE), our_stains(TARGET)
    od, _ = their_density(SOURCE)
    gain = target_highest / highest
    ours = od[0] @ rerender_matrix(matrix, target, gain, residual=0)
    assert ours == pytest.approx((concentrations(od[0], matrix) * gain) @ target, abs=1e-4)


@pytest.mark.real_data
def test_macenko_s_stains_are_theirs_on_real_tissue(data_folder: Path) -> None:
    for path in sorted((data_folder / "mitos_pairs" / "aperio").glob("*.png"))[::25]:
        image = np.array(Image.open(path).convert("RGB"))
        theirs = NumpyMacenkoNormalizer()
        theirs.fit(image)
        matrix, highest = our_stains(image)
        # theirs may be negative, which no stain is: compare where it is not
        is_stain = theirs.HERef.T >= 0
        length = np.linalg.norm(np.maximum(theirs.HERef.T, 0), axis=1, keepdims=True)
        assert matrix[is_stain] == pytest.approx((theirs.HERef.T / length)[is_stain], abs=1e-3)
        if is_stain.all():
            assert highest == pytest.approx(theirs.maxCRef, rel=1e-3)


def test_reinhard_s_image_is_theirs() -> None:
    theirs, in_torch = NumpyReinhardNormalizer(), TorchReinhardNormalizer()
    theirs.fit(TARGET)
    in_torch.fit(torch.from_numpy(TARGET).permute(2, 0, 1))
    wanted = theirs.normalize(SOURCE).astype(int)
    (mean, spread), (target_mean, target_spread) = (
        (lab.mean(axis=(0, 1)), lab.std(axis=(0, 1))) for lab in map(rgb_to_lab, (SOURCE, TARGET))
    )
    scale = target_spread / spread
    shift = target_mean - mean * scale
    found = np.floor(lab_to_rgb(rgb_to_lab(SOURCE) * scale + shift))
    assert np.abs(found - wanted).max() <= 1
    in_torch_too = in_torch.normalize(torch.from_numpy(SOURCE).permute(2, 0, 1))
    assert np.abs(found - in_torch_too.numpy()).max() <= 1
    assert np.abs(transfer_lab(SOURCE, scale, shift).astype(int) - wanted).max() <= 1
